"""Failed logins in SQLite: STATE/logins.db, opened by fm-auth alone, so that who makes it crash gets no new budget.

What is counted is core/budget.py's; here are rows: kind, name (a digest, or a network), failures, and two moments of time.time(). Written without a
sync: the file is as right as it has to be after a killed process, and a power cut forgives some. Bounded: the oldest rows go.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from fancymail.storage.ports.accounts import StoreFailed
from fancymail.storage.sqlite.database import DatabaseDamaged, Step, open_database, transaction

STEPS = (Step("failures", """
CREATE TABLE failure (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    failures INTEGER NOT NULL,
    last REAL NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX failure_last ON failure (last);
"""),)
MOST = 200_000              # rows
TIDY = 1000                 # rows between two looks for too many

Row = tuple[str, str, int, float, float]        # kind, name, failures, last, until


class SqliteFailures:
    """The counts of one installation, for one thread at a time."""

    def __init__(self, path: Path | str, most: int = MOST) -> None:
        """Open or create the file; one that is damaged is begun anew. Raises database.DatabaseError."""
        try:
            self._db = self._open(path)
        except DatabaseDamaged:
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").unlink()
            self._db = self._open(path)
        self._lock, self._most, self._written = threading.Lock(), most, 0

    @staticmethod
    def _open(path: Path | str) -> apsw.Connection:
        return open_database(path, STEPS, cache=1 << 20, synchronous="NORMAL", mode=0o600)

    def rows(self, before: dict[str, float]) -> list[Row]:
        """Forget what is older than `before` says of its kind, and return the rest, the newest first."""
        with self._changing() as db:
            for kind, moment in before.items():
                db.execute("DELETE FROM failure WHERE kind = ? AND last < ? AND until < ?", (kind, moment, moment))
            self._tidy(db)
            return list(db.execute("SELECT kind, name, failures, last, until FROM failure ORDER BY last DESC"))

    def keep(self, rows: Iterable[Row]) -> None:
        """Write rows, in place of those of the same kind and name."""
        with self._changing() as db:
            for row in rows:
                db.execute("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?, ?)", row)
                self._written += 1
            if self._written >= TIDY:
                self._tidy(db)

    def forget(self, names: Iterable[tuple[str, str]] | None) -> None:
        """Take rows away by kind and name; None: all but the networks from which accounts have logged in."""
        with self._changing() as db:
            if names is None:
                db.execute("DELETE FROM failure WHERE kind <> 'network'")
            for name in names or ():
                db.execute("DELETE FROM failure WHERE kind = ? AND name = ?", name)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def _tidy(self, db: apsw.Connection) -> None:
        self._written = 0
        oldest = db.execute("SELECT last FROM failure ORDER BY last DESC LIMIT 1 OFFSET ?", (self._most,)).fetchone()
        if oldest:
            db.execute("DELETE FROM failure WHERE last <= ?", oldest)

    @contextmanager
    def _changing(self) -> Iterator[apsw.Connection]:
        try:
            with self._lock, transaction(self._db) as db:
                yield db
        except apsw.Error as error:
            raise StoreFailed(str(error)) from error
