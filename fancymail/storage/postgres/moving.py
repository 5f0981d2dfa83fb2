"""All rows of a cluster's database, to be moved to files or from them (ports.moving), and what its nodes have to know about that.

Opened by servers/moving/cluster.py and, for `require_settled`, by servers/running/nodes.py. A move in has the database for itself; a move out reads
beside the nodes and in the end, for as long as its lease lasts, instead of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fancymail.mail.derived import Derived
from fancymail.storage.migrations import DatabaseError
from fancymail.storage.ports.moving import Key, Letter, Row, Table

from .database import Database, transactional
from .delivery import keep
from .mailboxes import UNUSED
from .schema import migrate

COLUMNS = {"box": "mailbox", "letter": "mid"}
TYPES = {"targets": "bytea", "scram": "bytea", "value": "bytea", "enabled": "bool", "wildcard": "bool",
         "created": "float8", "subscribed": "int", "bit": "int", "recipient": "int", "version": "bigint", "quota": "bigint"}
TEXTS = ("key", "address", "domain", "skeleton", "password", "account", "privilege", "name", "special_use", "objectid", "keywords", "kind", "uids",
         "identifier", "rights", "queue_id", "threadid")
LETTER = f"""SELECT msg.mid, blob, length, prefix, internaldate, emailid, threadid, octets, {', '.join(f'derived."{f}"' for f in Derived._fields)}
    FROM msg LEFT JOIN derived ON derived.account = msg.account AND derived.mid = msg.mid
    WHERE msg.account = $1 AND msg.mid = ANY($2) ORDER BY msg.mid"""
FIXED = len(Letter._fields) - 1
SLICE = 20_000                  # rows of one statement


def _type(table: Table, name: str) -> str:
    if table.name == "mailbox" and name == "created":
        return "bigint"
    if table.name == "delivered" and name == "mailbox":
        return "text"
    return TYPES.get(name, "text" if name in TEXTS else "bigint")


def _column(table: Table, name: str) -> str:
    return "id" if (table.name, name) == ("mailbox", "box") else COLUMNS.get(name, name)


@contextmanager
def _moment(db: Database) -> Iterator[None]:
    with db.transaction():
        db.rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def _replace(db: Database, table: Table, before: tuple, keys: Sequence[Key], rows: Sequence[Row]) -> None:
    """Statements for any number of rows; `before`: (column, type, value) of what stands in front of them, the account."""
    names = [_column(table, name) for name in table.columns]
    own, values = ([f"{before[0]} = $1"], (before[2],)) if before else ([], ())
    arrays = [f"${number}::{_type(table, name)}[]" for number, name in enumerate(table.columns, len(values) + 1)]
    pairs = " AND ".join([f"{table.name}.{name} = gone.{name}" for name in names[:table.key]] + [f"{table.name}.{word}" for word in own])
    for start in range(0, len(keys), SLICE):
        columns = map(list, zip(*keys[start:start + SLICE]))
        db.rows(f"DELETE FROM {table.name} USING unnest({', '.join(arrays[:table.key])}) AS gone({', '.join(names[:table.key])}) WHERE {pairs}",
                *values, *columns)
    into = ", ".join([before[0], *names] if before else names)
    for start in range(0, len(rows), SLICE):
        columns = map(list, zip(*rows[start:start + SLICE]))
        db.rows(f"INSERT INTO {table.name} ({into}) SELECT {'$1, ' if before else ''}* FROM unnest({', '.join(arrays)})", *values, *columns)


class PostgresDirectory:
    """ports.moving.Rows over accounts, domains and aliases."""

    def __init__(self, db: Database) -> None:
        self.db = db
        migrate(db)

    def moment(self):
        return _moment(self.db)

    def change(self):
        return self.db.transaction()

    def rows(self, table: Table) -> list[Row]:
        return [tuple(row) for row in self.db.rows(f"SELECT {', '.join(table.columns)} FROM {table.name}")]

    def replace(self, table: Table, keys: Sequence[Key], rows: Sequence[Row]) -> None:
        if table.key:
            _replace(self.db, table, (), keys, rows)
            return
        self.db.rows("DELETE FROM secret")
        self.db.rows("INSERT INTO secret VALUES (1, $1)", *rows[0])
        self.db.rows("INSERT INTO counter VALUES ('account', 0) ON CONFLICT DO NOTHING")

    def close(self) -> None:
        """The database is its maker's to close."""


class PostgresMoving:
    """ports.moving.MovingMail."""

    def __init__(self, db: Database) -> None:
        self.db = db
        migrate(db)

    def names(self) -> list[str]:
        return [name for name, in self.db.rows("SELECT name FROM owner ORDER BY name")]

    def count(self) -> int:
        return self.db.one("SELECT coalesce(sum(messages), 0)::bigint FROM mailbox")[0]

    def account(self, name: str) -> PostgresMovingAccount:
        return PostgresMovingAccount(self.db, name)

    def close(self) -> None:
        """The database is its maker's to close."""


class PostgresMovingAccount:
    """ports.moving.MovingAccount."""

    def __init__(self, db: Database, name: str) -> None:
        self.db, self.name, self._known = db, name, 0

    def moment(self):
        return _moment(self.db)

    def change(self):
        return self.db.transaction()

    def rows(self, table: Table) -> list[Row]:
        names = ", ".join(_column(table, name) for name in table.columns)
        account = "id" if table.name == "owner" else "account"
        return [tuple(row) for row in self.db.rows(f"SELECT {names} FROM {table.name} WHERE {account} = $1", self._number())]

    def replace(self, table: Table, keys: Sequence[Key], rows: Sequence[Row]) -> None:
        account = self._made()
        if table.name == "owner":
            for validity, in rows:
                self.db.rows("UPDATE owner SET uidvalidity = $2 WHERE id = $1", account, validity)
            return
        _replace(self.db, table, ("account", "bigint", account), keys, rows)

    def letters(self, numbers: Sequence[int]) -> list[Letter]:
        return [_letter(tuple(row)) for row in self.db.rows(LETTER, self._number(), list(numbers))]

    def add(self, letters: Sequence[Letter]) -> list[int]:
        account = self._made()
        (last,) = self.db.one("UPDATE owner SET mids = mids + $2 WHERE id = $1 RETURNING mids", account, len(letters))
        numbers = list(range(last - len(letters) + 1, last + 1))
        self.db.rows("INSERT INTO msg SELECT $1, * FROM unnest($2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[], $7::text[], "
                     "$8::text[], $9::bytea[])", account, numbers, *map(list, list(zip(*letters))[1:FIXED]))
        keep(self.db, [((account, number), letter.derived) for number, letter in zip(numbers, letters) if letter.derived is not None])
        return numbers

    def boxes(self, count: int) -> range:
        (last,) = self.db.one("UPDATE owner SET boxes = boxes + $2 WHERE id = $1 RETURNING boxes", self._made(), count)
        return range(last - count + 1, last + 1)

    def tidy(self) -> None:
        for table in ("msg", "derived"):        # nobody was told of these contents: a node's sweep finds what nothing names
            self.db.rows(f"DELETE FROM {table} AS msg WHERE msg.account = $1 AND {UNUSED}", self._number())

    def _number(self) -> int:
        """0 when there is none, which no row has."""
        if not self._known:
            row = self.db.one("SELECT id FROM owner WHERE name = $1", self.name)
            self._known = row[0] if row else 0
        return self._known

    def _made(self) -> int:
        if not self._number():
            self.db.rows("INSERT INTO owner (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", secrets.randbits(62), self.name)
        return self._number()


def _letter(row: tuple) -> Letter:
    return Letter(*row[:FIXED], None if row[FIXED] is None else Derived(*row[FIXED:]))


# Whose the database is

ARRIVING, ARRIVED, LEAVING, LEFT = "arriving", "arrived", "leaving", "left"
MOVER = "migrate"               # the node that has the messages of queues until a node takes them over
LAPSED = "this took so long that nodes were allowed to start again: begin once more"
LEASE = 60                      # seconds that the last part of a move out keeps nodes away after it was heard of last


def require_settled(db: Database) -> None:
    """Raise DatabaseError, in words for the operator, where a node may not run."""
    words = {ARRIVING: "mail is being moved into this database: let `fancymail migrate` come to its end first",
             LEAVING: "mail is being moved out of this database: wait for `fancymail migrate`, or a minute after it was stopped",
             LEFT: "the mail of this database has been moved away: what is in here is old"}
    for phase, on in db.rows("SELECT phase, until > now() FROM moving"):
        if phase in words and on:
            raise DatabaseError(words[phase])


class PostgresMark:
    """One move's row of the table `moving`."""

    def __init__(self, db: Database, id: str) -> None:
        self.db, self.id = db, id
        migrate(db)

    def phase(self) -> str:
        """How far this move was; "" when it is not known here."""
        row = self.db.one("SELECT phase FROM moving WHERE id = $1", self.id)
        return row[0] if row else ""

    @transactional
    def arrive(self) -> bool:
        """Begin, or go on, to move into this database; whether this is the beginning. Raises DatabaseError when it is not empty."""
        if fresh := not self.phase():
            if any(self.db.rows(f"SELECT 1 FROM {table} LIMIT 1") for table in ("owner", "domain", "message", "moving")):
                raise DatabaseError("there is mail in this database already, or it was: give an empty one (CREATE DATABASE)")
            self._set(ARRIVING, "infinity")
        return fresh

    def leave(self) -> list[str]:
        """Keep nodes from starting for LEASE seconds more; the names of those that still run."""
        self.db.rows("INSERT INTO moving VALUES ($1, $2, now() + $3 * interval '1 second') ON CONFLICT (id) DO UPDATE SET until = excluded.until "
                     "WHERE moving.phase = $2", self.id, LEAVING, LEASE)
        return self.alive()

    @transactional
    def stay(self) -> None:
        """Keep them from it for as long again. Raises DatabaseError when that was over: who began meanwhile may have changed what was looked at."""
        if not self.db.rows("UPDATE moving SET until = now() + $3 * interval '1 second' WHERE id = $1 AND phase = $2 AND until > now() RETURNING 1",
                            self.id, LEAVING, LEASE) and self.phase() != LEFT:
            raise DatabaseError(LAPSED)

    def alive(self) -> list[str]:
        """Nodes that run."""
        return [name for name, in self.db.rows("SELECT name FROM node WHERE until > now() AND name <> $1 ORDER BY name", MOVER)]

    @transactional
    def left(self) -> None:
        """All is on the other side. Raises DatabaseError when nodes may have begun again meanwhile."""
        if self.phase() == LEFT:
            return
        if not self.db.rows("UPDATE moving SET phase = $2, until = 'infinity' WHERE id = $1 AND phase = $3 AND until > now() RETURNING 1",
                            self.id, LEFT, LEAVING):
            raise DatabaseError(LAPSED)

    @transactional
    def arrived(self) -> None:
        """Nodes may run on what was moved here."""
        self._set(ARRIVED, "infinity")

    def _set(self, phase: str, until: str) -> None:
        self.db.rows(f"INSERT INTO moving VALUES ($1, $2, '{until}') ON CONFLICT (id) DO UPDATE SET phase = excluded.phase, until = excluded.until",
                     self.id, phase)
