"""One shard of mailbox state: a connection whose transactions nest, so that the work of a whole loop turn shares one commit.

Made by storage/sqlite/mailboxes.py, and by reader.py in its form that only reads. The outermost transaction is BEGIN IMMEDIATE ... COMMIT (one
fsync), inner ones are savepoints: a verb that fails undoes itself and nobody else. It knows no table but `shard`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import apsw

from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.sqlite.database import DatabaseError, plan_once

BUSY = 5000                     # milliseconds that a reader waits while the writer recovers a database
CROWDED = 2000                  # pages of log (8 MiB) from which copying them back pays
REMEMBERED = 5000               # rows (of some hundred octets) that a reader keeps until the shard changes


class Shard:
    """A database of one share of the accounts. `with shard:` is a transaction.

    copier: a second connection; with it somebody calls `copy_back` and `restart_log` when the log is crowded, else every thousandth page makes a
    commit do that work.
    """

    def __init__(self, connection: apsw.Connection, path: Path, number: int, count: int, copier: apsw.Connection | None = None) -> None:
        self.connection, self.path, self.number = connection, path, number
        self.execute = connection.execute
        self._pages = 0                                     # of the log
        self._copier = copier
        if copier is not None:
            copier.pragma("wal_autocheckpoint", 0)
            connection.pragma("wal_autocheckpoint", 0)
            connection.set_wal_hook(self._written)
        self.depth = 0
        self.recent_contents: dict[bytes, int] = {}         # hash -> number, of storage/sqlite/contents.py
        self._claim(number, count)

    def one(self, sql: str, bindings: Sequence = ()) -> tuple | None:
        """The first row, or None."""
        return self.execute(sql, bindings).fetchone()

    def __enter__(self) -> Shard:
        if self.depth and not self.connection.in_transaction:
            # A full disk or an I/O error has rolled all back by itself: nothing more may slip in by autocommit.
            raise StoreFailed("the transaction was rolled back by an earlier error")
        try:
            self.execute(f"SAVEPOINT level{self.depth}" if self.depth else "BEGIN IMMEDIATE")
        except apsw.Error as error:
            raise StoreFailed(_reason(error)) from error
        self.depth += 1
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.depth -= 1
        try:
            if self.depth == 0:
                self._end(kind is None)
            elif self.connection.in_transaction:
                if kind is not None:
                    self.execute(f"ROLLBACK TO level{self.depth}")
                self.execute(f"RELEASE level{self.depth}")
            elif kind is None:
                raise StoreFailed("the transaction was rolled back by an earlier error")
        except apsw.Error as failure:
            raise StoreFailed(_reason(failure)) from failure
        if isinstance(error, apsw.Error):
            raise StoreFailed(_reason(error)) from error

    def crowded(self) -> bool:
        """Whether so much was written that `copy_back` and `restart_log` are worth their syncs."""
        return self._pages >= CROWDED

    def copy_back(self) -> None:
        """Copy the log into the database, beside whoever reads and writes; in a thread of the caller's, since it waits for the disk."""
        try:
            self._copier.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            raise StoreFailed(_reason(error)) from error

    def restart_log(self) -> None:
        """After `copy_back`, in the thread of all other calls: copy what came meanwhile. The next commit begins the log anew."""
        try:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            raise StoreFailed(_reason(error)) from error
        self._pages = 0

    def close(self) -> None:
        if self._copier is not None:
            self._copier.close()
        self.connection.close()

    def _written(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def _end(self, good: bool) -> None:
        try:
            if good:
                self.execute("COMMIT")          # which fails when an error has rolled all back by itself
        finally:
            if self.connection.in_transaction:
                self.execute("ROLLBACK")

    def _claim(self, number: int, count: int) -> None:
        """An account's shard follows from the number of shards: a wrong number would hide mail."""
        row = self.one("SELECT number, count FROM shard")
        if row is None:
            self.execute("INSERT INTO shard VALUES (?, ?)", (number, count))
        elif row != (number, count):
            raise DatabaseError(f"{self.path}: is shard {row[0]} of {row[1]}, but the configuration says {number} of {count}: "
                                f"set mailbox.shards back to {row[1]}")


class ReadShard:
    """A shard for reading beside its writer. `with shard:` is one moment of it; the file is opened at the first.

    Small answers are kept until anybody commits anything: whether one did costs a microsecond to know (PRAGMA data_version), whatever the question.
    """

    def __init__(self, path: Path, mapped: int, index: Path | None = None) -> None:
        self.path, self.mapped, self.index = path, mapped, index
        self.connection: apsw.Connection | None = None
        self._attached = False
        self._memory: dict[tuple, Any] = {}
        self._version: int | None = None        # of the shard, when the memory was right
        self._remembered = 0                    # rows in it

    def indexed(self) -> bool:
        """Whether the full-text index is at hand, as `fulltext`."""
        return self._attached

    def one(self, sql: str, bindings: Sequence = ()) -> tuple | None:
        """The first row, or None."""
        return self.execute(sql, bindings).fetchone()

    def __enter__(self) -> ReadShard:
        try:
            if self.connection is None:
                self._open()
            if not self._attached and self.index is not None and self.index.exists():
                self._attach()
            self.execute("BEGIN")
        except apsw.Error as error:
            raise StoreFailed(f"{self.path}: {_reason(error)}") from error
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self.connection is not None and self.connection.in_transaction:
            self.execute("ROLLBACK")            # nothing was written
        if isinstance(error, apsw.Error):
            raise StoreFailed(_reason(error)) from error

    def read(self, sql: str, bindings: Sequence = ()) -> list[tuple]:
        """All rows of one question, which is a moment by itself."""
        try:
            if self.connection is None:
                self._open()
            return self.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise StoreFailed(f"{self.path}: {_reason(error)}") from error

    # -- what was read already ---------------------------------------------------------------------------------------

    def recall(self, key: tuple) -> Any:
        """What was kept under a key, unless anybody has committed since; None when nothing is."""
        (version,), = self.read("PRAGMA data_version")
        if version != self._version:
            self._version = version
            self._forget()
        return self._memory.get(key)

    def keep(self, key: tuple, value: Any, rows: int = 1) -> None:
        """Keep what was read after `recall`. It may be of a later moment, which the next `recall` finds out; it is never older."""
        if self._remembered + rows > REMEMBERED:
            self._forget()
        if rows <= REMEMBERED:
            self._memory[key] = value
            self._remembered += rows

    def rows(self, sql: str, bindings: tuple, make: Callable[[tuple], Any] | None = None) -> list[Any]:
        """All rows of an answer, as it is now, or what is made of each. The list is kept: do not change it."""
        key = (sql, bindings)
        rows = self.recall(key)
        if rows is None:
            rows = self.read(sql, bindings)
            if make is not None:
                rows = list(map(make, rows))
            self.keep(key, rows, len(rows) + 1)
        return rows

    def _forget(self) -> None:
        self._memory.clear()
        self._remembered = 0

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection, self._attached = None, False
            self._version = None                # versions are told apart within one connection only

    def _attach(self) -> None:
        try:
            self.execute("ATTACH ? AS fulltext", (f"{self.index.absolute().as_uri()}?mode=ro",))
            self._attached = True
        except apsw.Error:
            self.index = None           # broken: all is found without it

    def _open(self) -> None:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        connection.set_busy_timeout(BUSY)
        plan_once(connection)
        connection.pragma("mmap_size", self.mapped)         # pages of all processes are the same memory
        connection.pragma("cache_size", -1024)
        connection.pragma("query_only", True)
        connection.pragma("trusted_schema", False)
        self.connection, self.execute = connection, connection.execute


def shard_of(account: str, count: int) -> int:
    """The number of an account's shard."""
    return int.from_bytes(blake2b(account.encode(), digest_size=8).digest(), "big") % count if count > 1 else 0


def _reason(error: apsw.Error) -> str:
    return "the disk is full" if isinstance(error, apsw.FullError) else str(error) or type(error).__name__
