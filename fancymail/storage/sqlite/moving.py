"""All rows of an installation on files, to be moved to another engine or from one (ports.moving), over the tables of its neighbours.

Opened by servers/moving/files.py. Reading goes on beside the daemons that write (WAL); writing is for files that nobody else has open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import apsw

from fancymail.mail import uidset
from fancymail.mail.derived import Derived
from fancymail.storage.ports.moving import STATE, Key, Letter, Row, Table
from fancymail.storage.sqlite import accounts, contents, derived, marks
from fancymail.storage.sqlite.database import Step, open_database, transaction
from fancymail.storage.sqlite.mailboxes import UNUSED, SqliteMailboxes, drop_unused
from fancymail.storage.sqlite.shard import Shard

OURS = {"owner": "account", "relative": "reference"}           # tables that have another name here
COLUMNS = {"box": "mailbox", "letter": "mid"}
BY_ACCOUNT = ("mailbox", "removed", "metadata", "subscription", "delivered", "relative")
KNOWN = "(SELECT id FROM mailbox WHERE account = ?1 UNION ALL SELECT mailbox FROM removed WHERE account = ?1)"
FLAGS = ("enabled", "wildcard")
SLICE = 500                     # numbers in one question
FIELDS = ", ".join(f'derived."{field}"' for field in derived.FIELDS)
LETTER = f"""SELECT msg.mid, blob, length, prefix, internaldate, emailid, threadid, octets, {FIELDS}, text.header, text.body FROM msg
    LEFT JOIN content ON content.number = msg.content LEFT JOIN derived ON derived.mid = msg.mid LEFT JOIN text ON text.mid = msg.mid
    WHERE msg.mid IN (%s) ORDER BY msg.mid"""
FIXED = len(Letter._fields) - 1


def _column(table: Table, name: str) -> str:
    return "id" if (table.name, name) == ("mailbox", "box") else COLUMNS.get(name, name)


def _insert(table: Table, more: tuple[str, ...] = ()) -> str:
    names = (*more, *(_column(table, name) for name in table.columns))
    return f"INSERT INTO {OURS.get(table.name, table.name)}({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _delete(table: Table) -> str:
    where = " AND ".join(f"{_column(table, name)} = ?" for name in table.columns[:table.key]) or "1"
    return f"DELETE FROM {OURS.get(table.name, table.name)} WHERE {where}"


@contextmanager
def _reading(connection: apsw.Connection) -> Iterator[None]:
    """One moment; nobody who writes has to wait for it."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


class SqliteDirectory:
    """ports.moving.Rows over accounts.db."""

    def __init__(self, path: Path) -> None:
        """Raises DatabaseError."""
        self._db = open_database(path, accounts.STEPS, cache=4 << 20)
        self._db.pragma("foreign_keys", False)          # rows are exchanged for their successors: nothing hangs on that

    def moment(self):
        return _reading(self._db)

    def change(self):
        return transaction(self._db)

    def rows(self, table: Table) -> list[Row]:
        flags = [place for place, name in enumerate(table.columns) if name in FLAGS]
        rows = self._db.execute(f"SELECT {', '.join(table.columns)} FROM {table.name}").fetchall()
        return [tuple(bool(value) if place in flags else value for place, value in enumerate(row)) for row in rows] if flags else rows

    def replace(self, table: Table, keys: Sequence[Key], rows: Sequence[Row]) -> None:
        self._db.executemany(_delete(table), keys if table.key else [()])
        self._db.executemany(_insert(table), rows)

    def close(self) -> None:
        self._db.close()


class SqliteMoving:
    """ports.moving.MovingMail over the shards."""

    def __init__(self, directory: Path, shards: int) -> None:
        """Raises DatabaseError."""
        self.store = SqliteMailboxes(directory, shards)

    def names(self) -> list[str]:
        return sorted(name for shard in self.store.shards for (name,) in shard.execute("SELECT name FROM account"))

    def count(self) -> int:
        return sum(shard.one("SELECT ifnull(sum(messages), 0) FROM mailbox")[0] for shard in self.store.shards)

    def account(self, name: str) -> SqliteMovingAccount:
        return SqliteMovingAccount(self.store.account(name).shard, name)

    def close(self) -> None:
        self.store.close()


class SqliteMovingAccount:
    """ports.moving.MovingAccount in its shard."""

    def __init__(self, shard: Shard, name: str) -> None:
        self.shard, self.name = shard, name

    def moment(self):
        return _reading(self.shard.connection)

    def change(self):
        return self.shard

    def rows(self, table: Table) -> list[Row]:
        if table is STATE:
            return self._states()
        names = ", ".join(_column(table, name) for name in table.columns)
        where = "id = ?1" if table.name == "owner" else "account = ?1" if table.name in BY_ACCOUNT else f"mailbox IN {KNOWN}"
        return self.shard.execute(f"SELECT {names} FROM {OURS.get(table.name, table.name)} WHERE {where}", (self._number(),)).fetchall()

    def replace(self, table: Table, keys: Sequence[Key], rows: Sequence[Row]) -> None:
        account = self._made()
        if table.name == "owner":
            self.shard.connection.executemany(f"UPDATE account SET uidvalidity = ? WHERE id = {account}", rows)
            return
        if table is STATE:
            self._replace_states(keys, rows)
            return
        more = ("account",) if table.name in BY_ACCOUNT else ()
        own = f" AND account = {account}" if more else ""
        self.shard.connection.executemany(_delete(table) + own, keys)
        self.shard.connection.executemany(_insert(table, more), [(account, *row) for row in rows] if more else rows)

    def letters(self, numbers: Sequence[int]) -> list[Letter]:
        found = []
        for start in range(0, len(numbers), SLICE):
            piece = numbers[start:start + SLICE]
            found += map(_letter, self.shard.execute(LETTER % ", ".join("?" * len(piece)), piece))
        return found

    def add(self, letters: Sequence[Letter]) -> list[int]:
        account, numbers = self._made(), []
        for letter in letters:
            content = None if letter.octets is None else contents.keep(self.shard, letter.blob, letter.octets)
            self.shard.execute("INSERT INTO msg(account, blob, length, prefix, internaldate, emailid, threadid, content) "
                               "VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (account, *letter[1:7], content))
            numbers.append(self.shard.connection.last_insert_rowid())
        derived.keep(self.shard, [(number, letter.derived) for number, letter in zip(numbers, letters) if letter.derived is not None])
        return numbers

    def boxes(self, count: int) -> range:
        """Given by the counter that gives them otherwise: none is ever given twice."""
        execute = self.shard.execute
        execute("INSERT INTO sqlite_sequence SELECT 'mailbox', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'mailbox')")
        ((last,),) = execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'mailbox' RETURNING seq", (count,)).fetchall()
        return range(last - count + 1, last + 1)

    def tidy(self) -> None:
        unused = self.shard.execute(f"SELECT mid FROM msg WHERE account = ? AND {UNUSED}", (self._number(),)).fetchall()
        drop_unused(self.shard, 0, [mid for (mid,) in unused])

    def _states(self) -> list[Row]:
        """Entries with their marks."""
        found: list[Row] = []
        sql = f"SELECT mailbox, uid, mid, savedate FROM entry WHERE mailbox IN {KNOWN} ORDER BY mailbox, uid"
        for box, entries in groupby(self.shard.execute(sql, (self._number(),)).fetchall(), itemgetter(0)):
            known = {uid: (flags, modseq) for uid, flags, modseq in marks.states(self.shard, box)}
            found += [(box, uid, *known[uid], mid, savedate) for _, uid, mid, savedate in entries]
        return found

    def _replace_states(self, keys: Sequence[Key], rows: Sequence[Row]) -> None:
        self.shard.connection.executemany("DELETE FROM entry WHERE mailbox = ? AND uid = ?", keys)
        for box, gone in groupby(sorted(keys), itemgetter(0)):
            marks.take(self.shard, box, uidset.ranges(uid for _, uid in gone))
        self.shard.connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", [(box, uid, mid, date) for box, uid, _, _, mid, date in rows])
        for box, added in groupby(sorted(rows), itemgetter(0)):
            marks.add(self.shard, box, [row[1:4] for row in added])

    def _number(self) -> int:
        row = self.shard.one("SELECT id FROM account WHERE name = ?", (self.name,))
        return row[0] if row else 0

    def _made(self) -> int:
        self.shard.execute("INSERT INTO account(name) VALUES (?) ON CONFLICT DO NOTHING", (self.name,))
        return self._number()


def _letter(row: tuple) -> Letter:
    fixed, (*fields, header, text) = row[:FIXED], row[FIXED:]
    if fields[0] is None or header is None:
        return Letter(*fixed, None)
    return Letter(*fixed, Derived(*fields, derived.unpack(header), derived.unpack(text)))


class SqliteJournal:
    """ports.moving.Journal in a file of its own, STATE/moving/to-cluster.db or to-files.db, and the name of the move."""

    STEPS = (Step("journal", """
        CREATE TABLE move (id TEXT NOT NULL, peer TEXT NOT NULL) STRICT;
        INSERT INTO move VALUES (lower(hex(randomblob(16))), '');
        CREATE TABLE account (name TEXT PRIMARY KEY, digest BLOB NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE content (hash BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
    """),)

    def __init__(self, path: Path) -> None:
        """Raises DatabaseError."""
        self._db = open_database(path, self.STEPS, cache=16 << 20)
        ((self.id, self.peer),) = self._db.execute("SELECT id, peer FROM move").fetchall()

    def meet(self, peer: str) -> None:
        """Where the other side is; what was carried is there and nowhere else."""
        if peer != self.peer:
            self._db.execute("UPDATE move SET peer = ?, id = lower(hex(randomblob(16)))", (peer,))
            ((self.id, self.peer),) = self._db.execute("SELECT id, peer FROM move").fetchall()
            self.begin_anew()

    def begin_anew(self) -> None:
        with transaction(self._db) as db:
            db.execute("DELETE FROM account")
            db.execute("DELETE FROM content")

    def all_contents(self) -> Iterator[bytes]:
        return (blob for (blob,) in self._db.execute("SELECT hash FROM content"))

    def account(self, name: str) -> bytes:
        row = self._db.execute("SELECT digest FROM account WHERE name = ?", (name,)).fetchone()
        return row[0] if row else b""

    def verified(self, name: str, digest: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO account VALUES (?, ?)", (name, digest))

    def contents(self, blobs: Iterable[bytes]) -> set[bytes]:
        return {blob for blob in blobs if self._db.execute("SELECT 1 FROM content WHERE hash = ?", (blob,)).fetchone()}

    def carried(self, blobs: Iterable[bytes]) -> None:
        with transaction(self._db):
            self._db.executemany("INSERT OR IGNORE INTO content VALUES (?)", [(blob,) for blob in blobs])

    def close(self) -> None:
        self._db.close()
