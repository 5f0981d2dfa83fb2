"""The queue's index in SQLite: STATE/queues/index.db, opened by fm-queue only.

Commits are not synced one by one (synchronous OFF): the queue makes slot files, their names and this index's log durable with
one syncfs for a whole batch. That is safe as long as the log is only moved into the database, and only begun anew, with syncs
at the right places: so automatic checkpoints are off, and `copy_back` and `restart_log` do both under synchronous FULL.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import apsw

from fancymail.storage.ports.queue import ACCEPTED, Entry, IndexFailed, Position, State, Total

from .database import DatabaseDamaged, Step, open_database, sync_directory, transaction

STEPS = (
    Step("message", """
        CREATE TABLE message (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, queue TEXT NOT NULL, state INTEGER NOT NULL, due REAL NOT NULL,
            attempts INTEGER NOT NULL, deaths INTEGER NOT NULL, pushed REAL NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL,
            bare INTEGER NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL, count INTEGER NOT NULL,
            results TEXT NOT NULL, reason TEXT NOT NULL) STRICT;
        CREATE INDEX message_order ON message (queue, state, due, seq);
        CREATE TABLE log_restart (number INTEGER NOT NULL) STRICT;
        INSERT INTO log_restart VALUES (0)"""),
    Step("message id", "ALTER TABLE message ADD COLUMN message TEXT NOT NULL DEFAULT ''"),
    Step("tally", """
        CREATE TABLE tally (queue TEXT NOT NULL, word TEXT NOT NULL, messages INTEGER NOT NULL, PRIMARY KEY (queue, word)) STRICT, WITHOUT ROWID;
        INSERT INTO tally SELECT queue, 'accepted', count(*) FROM message GROUP BY queue"""),
)
COLUMNS = "id, queue, pushed, size, sha256, bare, sender, recipients, count, state, due, attempts, deaths, results, reason, message, seq"
CROWDED = 4000                  # pages of log (16 MiB) from which moving them pays
CACHE = 32 << 20                # octets of page cache
_STATES = tuple(State)          # by number: to ask the enumeration costs as much as to read the row

_INSERT = f"INSERT INTO message ({COLUMNS.removesuffix(', seq')}) VALUES ({', '.join('?' * 16)}) RETURNING seq"
_SAVE = "UPDATE message SET state = ?, due = ?, attempts = ?, deaths = ?, results = ?, reason = ? WHERE id = ?"
_REMOVE = f"DELETE FROM message WHERE id = ? RETURNING {COLUMNS}"
_CLAIM = f"UPDATE message SET state = 1, due = 0, attempts = attempts + 1 WHERE seq IN (%s) RETURNING {COLUMNS}"
_CLAIM_READY = _CLAIM % "SELECT seq FROM message WHERE queue = ? AND state = 0 AND due = 0 AND seq < ? ORDER BY seq LIMIT ?"
_CLAIM_DUE = _CLAIM % "SELECT seq FROM message WHERE queue = ? AND state = 2 AND due <= ? ORDER BY due, seq LIMIT ?"
_TALLY = "INSERT INTO tally VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET messages = messages + excluded.messages"
_SCAN = f"SELECT {COLUMNS} FROM message WHERE queue = ? AND state = ? AND (due, seq) > (?, ?) ORDER BY due, seq LIMIT ?"


def _guarded(method):
    """Turn what SQLite raises into IndexFailed."""
    @functools.wraps(method)
    def guarded(self, *args):
        try:
            return method(self, *args)
        except apsw.Error as error:
            raise IndexFailed(f"{self.path.name}: {error}") from error
    return guarded


class SqliteQueueIndex:
    """The index over one connection; see storage/ports/queue.py for every call."""

    def __init__(self, path: Path | str, *, cache: int = CACHE) -> None:
        self.path = Path(path)
        self._db = open_database(path, STEPS, cache=cache, synchronous="OFF")
        self._db.pragma("wal_autocheckpoint", 0)
        self._db.set_wal_hook(self._written)
        self._copier = open_database(path, STEPS, cache=1 << 20)            # synchronous FULL; runs in another thread
        self._copier.pragma("wal_autocheckpoint", 0)
        self._guard = open_database(path, STEPS, cache=1 << 20)             # holds a snapshot while the copier works
        self._pages = 0
        self.copy_back()
        self.restart_log()          # what the last process left is moved, and the first frame of the new log is durable

    @_guarded
    def add(self, entries: Iterable[Entry]) -> None:
        with transaction(self._db) as db:
            count: Counter[tuple[str, str]] = Counter()
            for e in entries:
                count[e.queue, ACCEPTED] += 1
                e.seq = db.execute(_INSERT, (e.id, e.queue, e.pushed, e.size, e.sha256, e.bare, e.sender, e.recipients, e.count,
                                             e.state, e.due, e.attempts, e.deaths, e.results, e.reason, e.message)).fetchone()[0]
            self._counted(count)

    @_guarded
    def find(self, id: str) -> Entry | None:
        row = self._db.execute(f"SELECT {COLUMNS} FROM message WHERE id = ?", (id,)).fetchone()
        return _entry(row) if row else None

    @_guarded
    def known(self, ids: Iterable[str]) -> set[str]:
        ids = list(ids)
        marks = ",".join("?" * len(ids))
        return {row[0] for row in self._db.execute(f"SELECT id FROM message WHERE id IN ({marks})", ids)}

    @_guarded
    def claim_ready(self, queue: str, count: int, before: int) -> list[Entry]:
        return self._claim(_CLAIM_READY, (queue, before, count))

    @_guarded
    def claim_due(self, queue: str, count: int, now: float) -> list[Entry]:
        return self._claim(_CLAIM_DUE, (queue, now, count))

    @_guarded
    def save(self, entries: Iterable[Entry]) -> None:
        with transaction(self._db) as db:
            db.executemany(_SAVE, [(e.state, e.due, e.attempts, e.deaths, e.results, e.reason, e.id) for e in entries])

    @_guarded
    def remove(self, ids: Iterable[str], ended: Callable[[Entry], str] | None = None) -> list[Entry]:
        with transaction(self._db) as db:
            removed = [_entry(row) for row in db.executemany(_REMOVE, [(id,) for id in ids])]
            count = Counter([(entry.queue, ended(entry) if ended else ACCEPTED) for entry in removed])
            self._counted(count if ended else {key: -messages for key, messages in count.items()})
            return removed

    @_guarded
    def tally(self) -> dict[tuple[str, str], int]:
        return {(queue, word): messages for queue, word, messages in self._db.execute("SELECT queue, word, messages FROM tally")}

    @_guarded
    def correct(self, changes: Mapping[tuple[str, str], int]) -> None:
        with transaction(self._db):
            self._counted(changes)

    @_guarded
    def next_due(self, queue: str) -> float | None:
        row = self._db.execute("SELECT due FROM message WHERE queue = ? AND state = 2 ORDER BY due LIMIT 1", (queue,)).fetchone()
        return row[0] if row else None

    @_guarded
    def clamp(self, queue: str, latest: float) -> int:
        self._db.execute("UPDATE message SET due = ?1 WHERE queue = ?2 AND state = 2 AND due > ?1", (latest, queue))
        return self._db.changes()

    @_guarded
    def totals(self) -> dict[tuple[str, State], Total]:
        rows = self._db.execute("SELECT queue, state, count(*), sum(size) FROM message GROUP BY queue, state")
        return {(queue, State(state)): Total(messages, octets) for queue, state, messages, octets in rows}

    @_guarded
    def scan(self, queue: str, state: State, after: Position, limit: int) -> list[Entry]:
        return [_entry(row) for row in self._db.execute(_SCAN, (queue, state, *after, limit))]

    def crowded(self) -> bool:
        return self._pages >= CROWDED

    @_guarded
    def copy_back(self) -> None:
        # The guard's snapshot keeps the log from being begun anew by an unsynced commit while (and after) we copy: a power cut
        # could then leave new frames behind the old header, and SQLite would play back old ones over newer pages.
        if not self._guard.in_transaction:
            self._guard.execute("BEGIN; SELECT number FROM log_restart")
        self._copier.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    @_guarded
    def restart_log(self) -> None:
        if self._guard.in_transaction:
            self._guard.execute("COMMIT")
        self._db.pragma("synchronous", "FULL")
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)        # what came while copy_back ran
            with transaction(self._db) as db:                                   # begins the log anew, header and frame synced
                db.execute("UPDATE log_restart SET number = number + 1")
        finally:
            self._db.pragma("synchronous", "OFF")

    def close(self) -> None:
        for connection in (self._guard, self._copier):
            connection.close()
        self._db.pragma("synchronous", "FULL")
        self._db.close()            # the last one out moves the log into the database

    def _claim(self, statement: str, values: tuple) -> list[Entry]:
        claimed = [_entry(row) for row in self._db.execute(statement, values)]
        claimed.sort(key=lambda entry: entry.seq)       # RETURNING promises no order
        return claimed

    def _counted(self, count: Mapping[tuple[str, str], int]) -> None:
        for (queue, word), messages in count.items():
            self._db.execute(_TALLY, (queue, word, messages))

    def _written(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK


def open_index(path: Path, *, cache: int = CACHE) -> tuple[SqliteQueueIndex, bool, str]:
    """Open the index, or begin it anew when it is lost or damaged: (index, whether it is new, what was wrong with the old one).

    A damaged one is kept beside it, for whoever wants to look. A disk that refuses is no damage and is raised.
    """
    new, wrong = not path.exists(), ""
    try:
        return SqliteQueueIndex(path, cache=cache), new, ""
    except (DatabaseDamaged, IndexFailed) as error:
        if isinstance(error, IndexFailed) and not isinstance(error.__cause__, (apsw.CorruptError, apsw.NotADBError)):
            raise
        wrong = str(error)
    set_aside(path)
    return SqliteQueueIndex(path, cache=cache), True, wrong


def set_aside(path: Path) -> None:
    """Give the files of a damaged index other names, durably."""
    for end in ("-shm", "-wal", ""):        # the log first: it must never be read beside another database
        with suppress(FileNotFoundError):
            os.rename(f"{path}{end}", f"{path}.damaged{end}")
    sync_directory(path.parent)


def _entry(row: tuple) -> Entry:
    entry = Entry(*row)
    entry.state, entry.bare = _STATES[entry.state], bool(entry.bare)
    return entry
