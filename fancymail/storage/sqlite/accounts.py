"""Domains, accounts and aliases in SQLite: STATE/accounts.db, opened by fm-auth alone.

Two connections: one reads (WAL lets it read while the other waits for the disk), one changes, each behind its lock, so that a
change being synced never holds up a look-up. Keys are compared as octets (BINARY collation), the same everywhere.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import msgspec

from fancymail.mail.scram import ScramKeys
from fancymail.storage.ports.accounts import CHANGES_KEPT, Account, Alias, Conflict, Exists, InUse, Missing, StoreFailed

from .database import Step, open_database, transaction

STEPS = (
    Step("accounts", """
CREATE TABLE secret (octets BLOB NOT NULL) STRICT;
CREATE TABLE domain (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE account (
    key TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    domain TEXT NOT NULL REFERENCES domain,
    skeleton TEXT NOT NULL,
    password TEXT NOT NULL,
    scram BLOB NOT NULL,                -- MessagePack {mechanism: [salt, iterations, stored key, server key]}
    version INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    quota INTEGER NOT NULL,
    created REAL NOT NULL
) STRICT;
CREATE INDEX account_domain ON account (domain, key);
CREATE INDEX account_skeleton ON account (domain, skeleton);
CREATE INDEX account_created ON account (created, key) WHERE enabled;
CREATE TABLE alias (
    key TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    domain TEXT NOT NULL REFERENCES domain,
    targets BLOB NOT NULL,              -- MessagePack [address, ...]
    skeleton TEXT NOT NULL,
    wildcard INTEGER NOT NULL
) STRICT;
CREATE INDEX alias_domain ON alias (domain, key);
CREATE INDEX alias_skeleton ON alias (domain, skeleton);
CREATE INDEX alias_wildcard ON alias (domain) WHERE wildcard;
CREATE TABLE access (
    account TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    privilege TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (account, privilege, address)
) STRICT, WITHOUT ROWID;
CREATE TABLE change (serial INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL) STRICT;
"""),
)
_ACCOUNT = "key, address, domain, skeleton, password, scram, version, enabled, quota, created"
_ALIAS = "key, address, domain, targets, skeleton, wildcard"


class SqliteAccounts:
    """An AccountStore in one database file."""

    def __init__(self, path: Path | str, changes_kept: int = CHANGES_KEPT) -> None:
        """Open or create the file; raises database.DatabaseError."""
        self._writer = open_database(path, STEPS, cache=4 << 20, mode=0o600)
        self._reader = open_database(path, STEPS, cache=8 << 20)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._changes_kept = changes_kept
        with self._change() as db:
            db.execute("INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT 1 FROM secret)", (secrets.token_bytes(32),))
        self._secret: bytes = self._rows("SELECT octets FROM secret")[0][0]

    def secret(self) -> bytes:
        return self._secret

    def domains(self) -> list[str]:
        return [name for name, in self._rows("SELECT name FROM domain ORDER BY name")]

    def has_domain(self, name: str) -> bool:
        return bool(self._rows("SELECT 1 FROM domain WHERE name = ?", name))

    def add_domain(self, name: str) -> None:
        with self._change() as db:
            _once(db, "INSERT INTO domain VALUES (?) ON CONFLICT DO NOTHING", (name,), Exists)

    def remove_domain(self, name: str) -> None:
        with self._change() as db:
            try:
                _once(db, "DELETE FROM domain WHERE name = ?", (name,), Missing)
            except apsw.ConstraintError:
                raise InUse(name) from None

    def account(self, key: str) -> Account | None:
        rows = self._rows(f"SELECT {_ACCOUNT} FROM account WHERE key = ?", key)
        return _account(rows[0]) if rows else None

    def accounts(self, domain: str = "", after: str = "", count: int = 1000) -> list[Account]:
        return [_account(row) for row in self._page(_ACCOUNT, "account", domain, after, count)]

    def oldest(self, domain: str = "") -> Account | None:
        where, values = ("AND domain = ?", (domain,)) if domain else ("", ())
        rows = self._rows(f"SELECT {_ACCOUNT} FROM account WHERE enabled {where} ORDER BY created, key LIMIT 1", *values)
        return _account(rows[0]) if rows else None

    def add_account(self, account: Account) -> None:
        with self._change() as db:
            _require_domain(db, account.domain)
            _once(db, f"INSERT INTO account ({_ACCOUNT}) VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                  _account_row(account), Exists)
            self._changed(db, account.key)

    def change_account(self, account: Account, quiet: bool = False) -> Account:
        changed = replace(account, version=account.version + 1)
        with self._change() as db:
            db.execute(
                "UPDATE account SET address=?, domain=?, skeleton=?, password=?, scram=?, version=?, enabled=?, quota=?, created=? "
                "WHERE key = ? AND version = ?", (*_account_row(changed)[1:], account.key, account.version))
            if not db.changes():
                known = db.execute("SELECT 1 FROM account WHERE key = ?", (account.key,)).fetchone()
                raise Conflict(account.key) if known else Missing(account.key)
            if not quiet:
                self._changed(db, account.key)
        return changed

    def remove_account(self, key: str) -> None:
        with self._change() as db:
            self._changed(db, key)
            _once(db, "DELETE FROM account WHERE key = ?", (key,), Missing)
            db.execute("DELETE FROM access WHERE privilege = 'act' AND address = ?", (key,))

    def alias(self, key: str) -> Alias | None:
        rows = self._rows(f"SELECT {_ALIAS} FROM alias WHERE key = ?", key)
        return _alias(rows[0]) if rows else None

    def aliases(self, domain: str = "", after: str = "", count: int = 1000) -> list[Alias]:
        return [_alias(row) for row in self._page(_ALIAS, "alias", domain, after, count)]

    def wildcards(self, domain: str) -> list[Alias]:
        return [_alias(row) for row in self._rows(f"SELECT {_ALIAS} FROM alias WHERE domain = ? AND wildcard ORDER BY key", domain)]

    def set_alias(self, alias: Alias) -> None:
        row = (alias.key, alias.address, alias.domain, msgspec.msgpack.encode(alias.targets), alias.skeleton, int(alias.wildcard))
        with self._change() as db:
            _require_domain(db, alias.domain)
            db.execute(f"INSERT OR REPLACE INTO alias ({_ALIAS}) VALUES (?,?,?,?,?,?)", row)

    def remove_alias(self, key: str) -> None:
        with self._change() as db:
            _once(db, "DELETE FROM alias WHERE key = ?", (key,), Missing)

    def lookalikes(self, domain: str, skeleton: str) -> list[str]:
        rows = self._rows("SELECT key FROM account WHERE domain = ?1 AND skeleton = ?2 UNION "
                          "SELECT key FROM alias WHERE domain = ?1 AND skeleton = ?2 ORDER BY key", domain, skeleton)
        return [key for key, in rows]

    def grant(self, account: str, right: str, address: str) -> None:
        with self._change() as db:
            if not db.execute("SELECT 1 FROM account WHERE key = ?", (account,)).fetchone():
                raise Missing(account)
            db.execute("INSERT INTO access VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (account, right, address))

    def revoke(self, account: str, right: str, address: str) -> None:
        with self._change() as db:
            _once(db, "DELETE FROM access WHERE account = ? AND privilege = ? AND address = ?", (account, right, address), Missing)
            if right == "act":
                self._note(db, address)

    def grants(self, account: str) -> list[tuple[str, str]]:
        return self._rows("SELECT privilege, address FROM access WHERE account = ? ORDER BY privilege, address", account)

    def changes(self, since: int) -> tuple[int, list[str] | None]:
        # AUTOINCREMENT never gives a serial twice; the oldest kept one tells how far back the memory goes.
        first, last = self._rows("SELECT coalesce(min(serial), 1), coalesce(max(serial), 0) FROM change")[0]
        if not first - 1 <= since <= last:
            return last, None
        rows = self._rows("SELECT account FROM change WHERE serial > ? AND serial <= ? ORDER BY serial", since, last)
        return last, list(dict.fromkeys(key for key, in rows))

    def close(self) -> None:
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

    def _changed(self, db: apsw.Connection, key: str) -> None:
        acted = db.execute("SELECT address FROM access WHERE account = ? AND privilege = 'act'", (key,)).fetchall()
        for name in (key, *(name for name, in acted)):
            self._note(db, name)

    def _note(self, db: apsw.Connection, key: str) -> None:
        db.execute("INSERT INTO change (account) VALUES (?)", (key,))
        db.execute("DELETE FROM change WHERE serial <= ?", (db.last_insert_rowid() - self._changes_kept,))

    @contextmanager
    def _change(self) -> Iterator[apsw.Connection]:
        try:
            with self._writing, transaction(self._writer) as db:
                yield db
        except apsw.Error as error:
            raise StoreFailed(str(error)) from error

    def _rows(self, sql: str, *values: Any) -> list[tuple]:
        try:
            with self._reading:
                return self._reader.execute(sql, values).fetchall()
        except apsw.Error as error:
            raise StoreFailed(str(error)) from error

    def _page(self, columns: str, table: str, domain: str, after: str, count: int) -> list[tuple]:
        if domain:
            return self._rows(f"SELECT {columns} FROM {table} WHERE domain = ? AND key > ? ORDER BY key LIMIT ?", domain, after, count)
        return self._rows(f"SELECT {columns} FROM {table} WHERE key > ? ORDER BY key LIMIT ?", after, count)


def _once(db: apsw.Connection, sql: str, values: Sequence, error: type[Exception]) -> None:
    """Run a change that has to touch one row, or raise `error`."""
    db.execute(sql, values)
    if not db.changes():
        raise error(values[0])


def _require_domain(db: apsw.Connection, name: str) -> None:
    if not db.execute("SELECT 1 FROM domain WHERE name = ?", (name,)).fetchone():
        raise Missing(name)


def _account_row(account: Account) -> tuple:
    scram = {name: (k.salt, k.iterations, k.stored_key, k.server_key) for name, k in account.scram.items()}
    return (account.key, account.address, account.domain, account.skeleton, account.password, msgspec.msgpack.encode(scram),
            account.version, int(account.enabled), account.quota, account.created)


def _account(row: tuple) -> Account:
    key, address, domain, skeleton, password, scram, version, enabled, quota, created = row
    keys = {name: ScramKeys(*values) for name, values in msgspec.msgpack.decode(scram).items()}
    return Account(key, address, domain, skeleton, password, keys, version, bool(enabled), quota, created)


def _alias(row: tuple) -> Alias:
    key, address, domain, targets, skeleton, wildcard = row
    return Alias(key, address, domain, tuple(msgspec.msgpack.decode(targets)), skeleton, bool(wildcard))
