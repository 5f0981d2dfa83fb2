"""Domains, accounts and aliases in PostgreSQL (ports.accounts.AccountStore), shared by the fm-auth of all nodes.

Every look-up is one statement by primary key or index. Changes are numbered by a counter whose row is locked until the commit: the serials of
`changes` appear in their order, whatever node made them.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import asyncpg
import msgspec

from fancymail.mail.scram import ScramKeys
from fancymail.storage.ports import mailboxes
from fancymail.storage.ports.accounts import CHANGES_KEPT, Account, Alias, Conflict, Exists, InUse, Missing, StoreFailed

from .database import Database, transactional
from .schema import migrate

_ACCOUNT = "key, address, domain, skeleton, password, scram, version, enabled, quota, created"
_ALIAS = "key, address, domain, targets, skeleton, wildcard"


class PostgresAccounts:
    """An AccountStore in the cluster's database."""

    def __init__(self, db: Database, changes_kept: int = CHANGES_KEPT) -> None:
        """Raises DatabaseError, StoreFailed."""
        self.db, self._changes_kept = _Said(db), changes_kept
        migrate(db)
        self.db.rows("INSERT INTO secret VALUES (1, $1) ON CONFLICT DO NOTHING", secrets.token_bytes(32))
        self.db.rows("INSERT INTO counter VALUES ('account', 0) ON CONFLICT DO NOTHING")
        self._secret: bytes = self.db.rows("SELECT octets FROM secret")[0][0]

    def secret(self) -> bytes:
        return self._secret

    def domains(self) -> list[str]:
        return [name for name, in self.db.rows("SELECT name FROM domain ORDER BY name")]

    def has_domain(self, name: str) -> bool:
        return bool(self.db.rows("SELECT 1 FROM domain WHERE name = $1", name))

    def add_domain(self, name: str) -> None:
        self._once("INSERT INTO domain VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1", (name,), Exists)

    @transactional
    def remove_domain(self, name: str) -> None:
        self._require_domain(name, "FOR UPDATE", Missing)
        if self.db.rows("SELECT 1 FROM account WHERE domain = $1 UNION ALL SELECT 1 FROM alias WHERE domain = $1 LIMIT 1", name):
            raise InUse(name)
        self.db.rows("DELETE FROM domain WHERE name = $1", name)

    def account(self, key: str) -> Account | None:
        rows = self.db.rows(f"SELECT {_ACCOUNT} FROM account WHERE key = $1", key)
        return _account(rows[0]) if rows else None

    def accounts(self, domain: str = "", after: str = "", count: int = 1000) -> list[Account]:
        return [_account(row) for row in self._page(_ACCOUNT, "account", domain, after, count)]

    def oldest(self, domain: str = "") -> Account | None:
        where, values = ("AND domain = $1", (domain,)) if domain else ("", ())
        rows = self.db.rows(f"SELECT {_ACCOUNT} FROM account WHERE enabled {where} ORDER BY created, key LIMIT 1", *values)
        return _account(rows[0]) if rows else None

    @transactional
    def add_account(self, account: Account) -> None:
        self._require_domain(account.domain, "FOR SHARE", Missing)
        self._once(f"INSERT INTO account ({_ACCOUNT}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) ON CONFLICT DO NOTHING RETURNING 1",
                   _account_row(account), Exists)
        self._changed(account.key)

    @transactional
    def change_account(self, account: Account, quiet: bool = False) -> Account:
        changed = replace(account, version=account.version + 1)
        if not self.db.rows(
                "UPDATE account SET address=$2, domain=$3, skeleton=$4, password=$5, scram=$6, version=$7, enabled=$8, quota=$9, created=$10 "
                "WHERE key = $1 AND version = $11 RETURNING 1", *_account_row(changed), account.version):
            known = self.db.rows("SELECT 1 FROM account WHERE key = $1", account.key)
            raise Conflict(account.key) if known else Missing(account.key)
        if not quiet:
            self._changed(account.key)
        return changed

    @transactional
    def remove_account(self, key: str) -> None:
        self._once("DELETE FROM account WHERE key = $1 RETURNING 1", (key,), Missing)
        self._changed(key)
        self.db.rows("DELETE FROM access WHERE account = $1 OR privilege = 'act' AND address = $1", key)

    def alias(self, key: str) -> Alias | None:
        rows = self.db.rows(f"SELECT {_ALIAS} FROM alias WHERE key = $1", key)
        return _alias(rows[0]) if rows else None

    def aliases(self, domain: str = "", after: str = "", count: int = 1000) -> list[Alias]:
        return [_alias(row) for row in self._page(_ALIAS, "alias", domain, after, count)]

    def wildcards(self, domain: str) -> list[Alias]:
        return [_alias(row) for row in self.db.rows(f"SELECT {_ALIAS} FROM alias WHERE domain = $1 AND wildcard ORDER BY key", domain)]

    @transactional
    def set_alias(self, alias: Alias) -> None:
        self._require_domain(alias.domain, "FOR SHARE", Missing)
        self.db.rows(f"INSERT INTO alias ({_ALIAS}) VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT (key) DO UPDATE SET address = excluded.address, "
                     "domain = excluded.domain, targets = excluded.targets, skeleton = excluded.skeleton, wildcard = excluded.wildcard",
                     alias.key, alias.address, alias.domain, msgspec.msgpack.encode(alias.targets), alias.skeleton, alias.wildcard)

    def remove_alias(self, key: str) -> None:
        self._once("DELETE FROM alias WHERE key = $1 RETURNING 1", (key,), Missing)

    def lookalikes(self, domain: str, skeleton: str) -> list[str]:
        rows = self.db.rows("SELECT key FROM account WHERE domain = $1 AND skeleton = $2 UNION "
                            "SELECT key FROM alias WHERE domain = $1 AND skeleton = $2 ORDER BY key", domain, skeleton)
        return [key for key, in rows]

    @transactional
    def grant(self, account: str, right: str, address: str) -> None:
        if not self.db.rows("SELECT 1 FROM account WHERE key = $1 FOR SHARE", account):
            raise Missing(account)
        self.db.rows("INSERT INTO access VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", account, right, address)

    @transactional
    def revoke(self, account: str, right: str, address: str) -> None:
        self._once("DELETE FROM access WHERE account = $1 AND privilege = $2 AND address = $3 RETURNING 1", (account, right, address), Missing)
        if right == "act":
            self._note(address)

    def grants(self, account: str) -> list[tuple[str, str]]:
        return [tuple(row) for row in self.db.rows("SELECT privilege, address FROM access WHERE account = $1 ORDER BY privilege, address", account)]

    def changes(self, since: int) -> tuple[int, list[str] | None]:
        # The counter's row is the last serial; what is older than `changes_kept` of them is forgotten.
        rows = self.db.rows("SELECT value, NULL FROM counter WHERE name = 'account' UNION ALL "
                            "(SELECT serial, account FROM account_change WHERE serial > $1 ORDER BY serial)", since)
        last = rows[0][0]
        if not last - self._changes_kept <= since <= last or len(rows) - 1 != last - since:
            return last, None
        return last, list(dict.fromkeys(key for _, key in rows[1:]))

    def close(self) -> None:
        """The database is its maker's to close."""

    def _changed(self, key: str) -> None:
        for name in (key, *(address for right, address in self.grants(key) if right == "act")):
            self._note(name)

    def _note(self, key: str) -> None:
        (serial,), = self.db.rows("UPDATE counter SET value = value + 1 WHERE name = 'account' RETURNING value")
        self.db.rows("INSERT INTO account_change VALUES ($1, $2)", serial, key)
        self.db.rows("DELETE FROM account_change WHERE serial <= $1", serial - self._changes_kept)

    def _once(self, sql: str, values: tuple, error: type[Exception]) -> None:
        """Run a change that has to touch one row, or raise `error`."""
        if not self.db.rows(sql, *values):
            raise error(values[0])

    def _require_domain(self, name: str, lock: str, error: type[Exception]) -> None:
        if not self.db.rows(f"SELECT 1 FROM domain WHERE name = $1 {lock}", name):
            raise error(name)

    def _page(self, columns: str, table: str, domain: str, after: str, count: int) -> list[asyncpg.Record]:
        if domain:
            return self.db.rows(f"SELECT {columns} FROM {table} WHERE domain = $1 AND key > $2 ORDER BY key LIMIT $3", domain, after, count)
        return self.db.rows(f"SELECT {columns} FROM {table} WHERE key > $1 ORDER BY key LIMIT $2", after, count)


class _Said:
    """The database, whose failures are those of this port. A text that PostgreSQL cannot hold (NUL) is one that it has not."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def rows(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        if any(isinstance(value, str) and "\0" in value for value in values):
            return []
        try:
            return self._db.rows(sql, *values)
        except mailboxes.StoreFailed as error:
            if self._db.depth:
                raise                           # whoever began the transaction may do it again
            raise StoreFailed(str(error)) from error

    def retried(self, work) -> Any:
        try:
            return self._db.retried(work)
        except mailboxes.StoreFailed as error:
            raise StoreFailed(str(error)) from error


def _account_row(account: Account) -> tuple:
    scram = {name: (k.salt, k.iterations, k.stored_key, k.server_key) for name, k in account.scram.items()}
    return (account.key, account.address, account.domain, account.skeleton, account.password, msgspec.msgpack.encode(scram),
            account.version, account.enabled, account.quota, account.created)


def _account(row: asyncpg.Record) -> Account:
    key, address, domain, skeleton, password, scram, version, enabled, quota, created = row
    keys = {name: ScramKeys(*values) for name, values in msgspec.msgpack.decode(scram).items()}
    return Account(key, address, domain, skeleton, password, keys, version, enabled, quota, created)


def _alias(row: asyncpg.Record) -> Alias:
    key, address, domain, targets, skeleton, wildcard = row
    return Alias(key, address, domain, tuple(msgspec.msgpack.decode(targets)), skeleton, wildcard)
