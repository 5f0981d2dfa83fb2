"""One PostgreSQL database (or whatever speaks its protocol) behind synchronous ports: connections, transactions that nest, retries.

Made by servers/running/nodes.py and by tests, one for each process; the engines of this package share it. Raw SQL over asyncpg.
It keeps to what distributed databases can do too: no LISTEN, no advisory locks, no LOCK TABLE; what fails as 40001 or 40P01 is done again.

    db = Database(dsn, Waiter(loop))
    with db.transaction():                      # nests; the innermost failure undoes the innermost part
        db.rows("SELECT ... WHERE account = $1", account)
    db.retried(lambda: ...)                     # in a transaction of its own, again when the database says so

BEGIN and SAVEPOINT are sent with the first statement that needs them: a transaction in which nothing happens costs nothing, and the first of
several nested ones needs no savepoint.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from greenlet import getcurrent

from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.waiting import Waiter

CONNECTIONS = 8                 # of one process
CONNECT = 5.0                   # seconds that a connection may take to be there
COMMAND = 30.0                  # seconds of one statement
AGAIN = 12                      # times that a transaction is tried
PAUSE = 0.005                   # seconds before the second time; it grows
LOST = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError,
        asyncpg.exceptions.AdminShutdownError, asyncpg.exceptions.CannotConnectNowError, asyncpg.exceptions.CrashShutdownError)
CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)          # 40001, 40P01


class Conflicted(StoreFailed):
    """Somebody else was first: do the whole transaction again."""


class Session:
    """What one flow of control (a fiber, a thread) has under way."""

    __slots__ = ("connection", "begun", "statements", "marks")

    def __init__(self) -> None:
        self.connection: asyncpg.Connection | None = None
        self.begun = False
        self.statements = 0                     # since BEGIN
        self.marks: list[str | None] = []       # of each level: what undoes it: "" is ROLLBACK, a name its savepoint, None nothing was done yet


class Transaction:
    """`with` it: one level."""

    __slots__ = ("database",)

    def __init__(self, database: Database) -> None:
        self.database = database

    def __enter__(self) -> Database:
        self.database.session().marks.append(None)
        return self.database

    def __exit__(self, kind, error, trace) -> None:
        self.database.leave(kind is None)


class Database:
    """A pool of connections and the sessions that use them."""

    def __init__(self, dsn: str, waiter: Waiter, *, connections: int = CONNECTIONS, prepared: bool = True, isolation: str = "read committed") -> None:
        self.dsn, self.waiter, self.connections = dsn, waiter, connections
        self._options: dict[str, Any] = {} if prepared else {"statement_cache_size": 0}     # a pooler between us hands out any connection
        self._isolation = isolation
        self._pool: asyncpg.Pool | None = None
        self._opening: asyncio.Lock | None = None

    # -- for synchronous ports -----------------------------------------------------------------------------------------------

    def rows(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """What a statement gives."""
        return self.waiter(self._statement(self.session(), sql, values))

    def one(self, sql: str, *values: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        return next(iter(self.rows(sql, *values)), None)

    def transaction(self) -> Transaction:
        """All or nothing; nests."""
        return Transaction(self)

    def retried(self, work: Callable[[], Any]) -> Any:
        """Do work in a transaction; when it is the outermost, do it again as long as others were first."""
        if self.depth:
            with self.transaction():
                return work()
        for attempt in range(AGAIN):
            try:
                with self.transaction():
                    return work()
            except Conflicted:
                if attempt == AGAIN - 1:
                    raise
                self.waiter(asyncio.sleep(PAUSE * 2**min(attempt, 6) * random.random()))

    @property
    def depth(self) -> int:
        """How many transactions the caller is in."""
        return len(self.session().marks)

    def session(self) -> Session:
        """The caller's: each fiber and each thread has its own."""
        sessions = getcurrent().__dict__.setdefault("sessions", {})
        found = sessions.get(self)
        if found is None:
            found = sessions[self] = Session()
        return found

    def leave(self, good: bool) -> None:
        """The end of a level."""
        session = self.session()
        mark = session.marks.pop()
        if session.connection is None or mark is None and session.marks:
            return
        self.waiter(self._leave(session, mark, good))

    def close(self) -> None:
        """End all connections."""
        if self._pool is not None:
            self._pool.terminate()

    # -- for those who wait by themselves --------------------------------------------------------------------------------------

    async def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """What a statement gives, by itself."""
        return await self._statement(Session(), sql, values)

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[Callable]:
        """One moment of the database: `fetch = ...; await fetch(sql, ...)`, all of it as it was then."""
        pool = await self.pool()
        with _failing():
            async with pool.acquire(timeout=COMMAND) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
                yield connection.fetch

    async def pool(self) -> asyncpg.Pool:
        """The pool; made when first needed, since the database may come up after us."""
        if self._pool is None:
            self._opening = self._opening or asyncio.Lock()
            async with self._opening:
                if self._pool is None:
                    with _failing():
                        self._pool = await asyncpg.create_pool(
                            self.dsn, min_size=0, max_size=self.connections, timeout=CONNECT, command_timeout=COMMAND, reset=_reset,
                            max_inactive_connection_lifetime=300, server_settings={"default_transaction_isolation": self._isolation,
                                                                                   "application_name": "fancymail"}, **self._options)
        return self._pool

    async def _statement(self, session: Session, sql: str, values: Sequence) -> list[asyncpg.Record]:
        if not session.marks:
            pool = await self.pool()
            with _failing():
                return await self._run(pool, sql, values)
        try:
            with _failing():
                await self._prepare(session)
                session.statements += 1
                return await self._run(session.connection, sql, values)
        except StoreFailed:
            session.statements += 1             # the transaction is not what it was: nobody takes it for fresh
            raise

    async def _run(self, connection: asyncpg.Connection | asyncpg.Pool, sql: str, values: Sequence) -> list[asyncpg.Record]:
        return await connection.fetch(sql, *values)

    async def _prepare(self, session: Session) -> None:
        """Send what stands before the first statement of each level."""
        if session.connection is None:
            session.connection = await (await self.pool()).acquire(timeout=COMMAND)
        if not session.begun:
            await session.connection.execute("BEGIN")
            session.begun = True
        name = "" if session.statements == 0 else f"before{session.statements}"
        if session.marks[-1] is None:
            if name:
                await session.connection.execute(f"SAVEPOINT {name}")
            session.marks = [name if mark is None else mark for mark in session.marks]

    async def _leave(self, session: Session, mark: str | None, good: bool) -> None:
        if not session.marks:
            return await self._end(session, good and session.begun)
        shared = mark in session.marks          # an outer level began with the same statement: it is not over
        try:
            with _failing():
                if good:
                    if mark and not shared:
                        await session.connection.execute(f"RELEASE SAVEPOINT {mark}")
                elif mark:
                    await session.connection.execute(f"ROLLBACK TO SAVEPOINT {mark}")
                else:
                    await self._afresh(session)
        except StoreFailed:
            if good:
                raise

    async def _afresh(self, session: Session) -> None:
        """What failed was all there was: the levels around it have done nothing yet."""
        await session.connection.execute("ROLLBACK")
        session.begun, session.statements = False, 0
        session.marks = [None] * len(session.marks)

    async def _end(self, session: Session, good: bool) -> None:
        connection = session.connection
        try:
            with _failing():
                await self._commit(connection) if good else await self._undo(session)
        finally:
            session.connection, session.begun, session.statements = None, False, 0
            await asyncio.shield((await self.pool()).release(connection, timeout=CONNECT))

    async def _commit(self, connection: asyncpg.Connection) -> None:
        if await connection.execute("COMMIT") != "COMMIT":
            raise StoreFailed("the transaction was rolled back by an earlier error")

    async def _undo(self, session: Session) -> None:
        if session.begun:
            try:
                await session.connection.execute("ROLLBACK")
            except LOST:
                session.connection.terminate()


async def _reset(connection: asyncpg.Connection) -> None:
    """Before another uses a connection."""
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


class _failing:
    """`with _failing():` says what the database cannot do in the words of the ports. Constraints are left to those who set them."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, CONFLICTS):
            raise Conflicted(str(error)) from error
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            return
        if isinstance(error, LOST):
            raise StoreFailed(f"the database is away: {error or type(error).__name__}") from error
        if isinstance(error, asyncpg.PostgresError):
            raise StoreFailed(f"the database refuses: {error}") from error


def transactional(method: Callable) -> Callable:
    """A method of an engine whose `db` is a Database: in a transaction, done again when others were first."""
    @functools.wraps(method)
    def done(self, *values: Any, **named: Any) -> Any:
        return self.db.retried(lambda: method(self, *values, **named))
    return done
