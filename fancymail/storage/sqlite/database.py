"""Opening SQLite for every engine that keeps its state there.

One place decides how we use SQLite: WAL, synchronous FULL (a commit that returned is on the disk), a bounded page cache, a
busy timeout, files closed to others, and numbered migration steps whose text may never change once it has been applied.
Called by the engines of storage/sqlite. It never holds a connection itself and knows no table but `migration`.

    steps = (Step("accounts", "CREATE TABLE account (...)"), Step("aliases", "CREATE TABLE alias (...)"))
    connection = open_database(state / "accounts.db", steps)
    with transaction(connection):
        connection.execute("INSERT ...", (...))
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import apsw

from fancymail.storage.migrations import Applied, DatabaseError, Step, missing

OLDEST_SQLITE = (3, 51, 3)      # the first release without the WAL-reset race that could damage a database
PAGE_SIZE = 4096


class DatabaseDamaged(DatabaseError):
    """What is in the file is no database, or no whole one."""


class transaction:
    """`with transaction(connection):` is BEGIN IMMEDIATE ... COMMIT, or ROLLBACK when the block raises.

    IMMEDIATE takes the write lock at once: a transaction that first reads and then writes can not fail half way with BUSY.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    def __enter__(self) -> apsw.Connection:
        self.connection.execute("BEGIN IMMEDIATE")
        return self.connection

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            try:
                self.connection.execute("COMMIT")
                return
            except apsw.Error:
                self._rollback()
                raise
        self._rollback()

    def _rollback(self) -> None:
        if self.connection.in_transaction:      # FULL and IOERR have already rolled back by themselves
            self.connection.execute("ROLLBACK")


def open_database(path: Path | str, steps: tuple[Step, ...], *, cache: int = 16 << 20, busy: float = 5.0,
                  synchronous: str = "FULL", mode: int = 0o660) -> apsw.Connection:
    """Open (or create) the database at `path` and bring it to the newest of `steps`.

    cache: octets of page cache. busy: seconds to wait for a lock. synchronous: FULL, unless the engine makes its commits
    durable by itself. mode: of the file, less the umask; with a folder's access list users of other daemons may come in.
    Raises DatabaseError for an old SQLite, a foreign file, a newer or altered schema.
    """
    require_sqlite()
    path = Path(path)
    try:
        named = not _create_private(path, mode) and os.path.exists(f"{path}-wal")
        connection = apsw.Connection(str(path))
        _configure(connection, cache, busy, synchronous)
        migrate(connection, path, steps)
    except (apsw.Error, OSError) as error:
        kind = DatabaseDamaged if isinstance(error, (apsw.NotADBError, apsw.CorruptError)) else DatabaseError
        raise kind(f"{path}: {_reason(error)}") from error
    if not named:
        sync_directory(path.parent)     # of the database and its log. SQLite does so where it is built to, but nobody promises that
    return connection


def require_sqlite(version: str | None = None) -> None:
    """Refuse a library older than OLDEST_SQLITE."""
    found = version or apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")[:3]) < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise DatabaseError(f"SQLite {found} is too old: {wanted} or newer is needed (pip install -U apsw)")


def migrate(connection: apsw.Connection, path: Path, steps: tuple[Step, ...]) -> None:
    """Apply the steps that the database lacks, each in its own transaction. Raises DatabaseError when its past isn't ours."""
    connection.execute("CREATE TABLE IF NOT EXISTS migration "
                       "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT")
    if "additive" not in [column for (column,) in connection.execute("SELECT name FROM pragma_table_info('migration')")]:
        with transaction(connection):       # made by the first version, whose every step is one that all know
            connection.execute("ALTER TABLE migration ADD COLUMN additive INTEGER NOT NULL DEFAULT 0")
    for number, step in missing(_applied(connection), steps, str(path)):
        with transaction(connection):
            connection.execute(step.sql)
            connection.execute("INSERT INTO migration VALUES (?, ?, ?, ?)", (number, step.name, step.checksum, int(step.additive)))


def _applied(connection: apsw.Connection) -> list[Applied]:
    return [Applied(*row) for row in connection.execute("SELECT number, name, checksum, additive FROM migration ORDER BY number")]


def sync_directory(path: Path | str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def problems(path: Path) -> list[str]:
    """What SQLite finds wrong with the file; reads all of it, over a connection of its own, so in any thread."""
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            return [text for (text,) in connection.execute("PRAGMA quick_check(20)") if text != "ok"]
    except (apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError) as error:
        return [str(error)]


def _create_private(path: Path, mode: int) -> bool:
    """Create the file (WAL and SHM inherit its mode). True when it wasn't there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, mode))
        return True
    except FileExistsError:
        if path.is_symlink() or not path.is_file():
            raise DatabaseError(f"{path}: is not a regular file") from None
        return False


def plan_once(connection: apsw.Connection) -> None:
    """Keep the plan of a statement whatever is bound to it: else SQLite parses it anew for each execution, which costs more than the execution."""
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def _configure(connection: apsw.Connection, cache: int, busy: float, synchronous: str) -> None:
    connection.set_busy_timeout(int(busy * 1000))
    plan_once(connection)
    mode = connection.pragma("journal_mode", "WAL")
    if mode != "wal":
        raise DatabaseError(f"{connection.filename}: this filesystem cannot do WAL (SQLite says {mode!r})")
    connection.pragma("synchronous", synchronous)
    connection.pragma("cache_size", -max(cache // 1024, 256))       # negative: KiB
    connection.pragma("journal_size_limit", 64 << 20)
    connection.pragma("foreign_keys", True)
    connection.pragma("trusted_schema", False)
    connection.pragma("temp_store", "MEMORY")


def _reason(error: Exception) -> str:
    if isinstance(error, apsw.NotADBError):
        return "is not an SQLite database"
    if isinstance(error, apsw.CorruptError):
        return f"is damaged ({error})"
    return str(error) or type(error).__name__
