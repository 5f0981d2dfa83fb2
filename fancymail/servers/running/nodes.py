"""What a daemon of a cluster stands on instead of files: the database, the bucket, and the hints between nodes (docs/scale.md).

Made by daemon.py when the configuration names a database; on a single machine nothing of it is imported. Verbs and tasks of daemons with
stores run as fibers (storage/waiting.py), so that rules written for files at hand may wait for a database without keeping the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fancymail.servers.running.daemon import Daemon
    from fancymail.storage.postgres.database import Database


def open_cluster(daemon: Daemon) -> Cluster:
    """Raises ValueError in words for the operator when the libraries are missing."""
    try:
        return Cluster(daemon)
    except ImportError as error:
        raise ValueError(f"storage.database needs {error.name}: pip install 'fancymail[cluster]'") from None


class Cluster:
    """The engines of one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        from fancymail.storage.waiting import around, fibered
        self.daemon, self.options, self._around, self.fibered = daemon, daemon.settings.storage, around, fibered
        self._begun = asyncio.Event()
        self.node = self.options.node or daemon.settings.server.hostname
        self._database: Database | None = None
        self._objects: Any = None
        self._hints: Any = None

    @property
    def objects(self):
        """The bucket."""
        if self._objects is None:
            from fancymail.storage.s3.objects import Objects
            self._objects = Objects(self.options.blobs)
        return self._objects

    @property
    def db(self) -> Database:
        """The database; made in the daemon's loop."""
        if self._database is None:
            from fancymail.storage.postgres.database import Database
            from fancymail.storage.waiting import Waiter
            self._database = Database(self.options.database, Waiter(asyncio.get_running_loop()), connections=self.options.connections,
                                      prepared=self.options.prepared)
        return self._database

    def accounts(self):
        """The store of fm-auth."""
        from fancymail.storage.postgres.accounts import PostgresAccounts
        return self._settled(PostgresAccounts(self.db))

    def mailboxes(self, changes: int):
        """The store of fm-mailbox."""
        from fancymail.storage.postgres.mailboxes import PostgresMailboxes
        return self._settled(PostgresMailboxes(self.db, changes))

    def blobs(self):
        """The contents of fm-mailbox."""
        from fancymail.storage.s3.blobs import S3Blobs
        from fancymail.storage.s3.cache import CacheFiles
        return S3Blobs(CacheFiles(self.daemon.paths.blobs), self.objects, self.daemon.paths.queues)

    def reader(self, derive: Callable | None, threads: Executor | None = None):
        """Reading for fm-imap, fm-pop3 and fm-mailbox."""
        from fancymail.storage.postgres.reader import PostgresReader
        from fancymail.storage.s3.blobs import S3Contents
        return PostgresReader(self.db, S3Contents(self.daemon.paths.blobs, self.objects, threads), derive)

    def queue(self):
        """The index of fm-queue, and its slot files."""
        from fancymail.storage.postgres.queue import PostgresQueueIndex
        from fancymail.storage.s3.spool import NodeSpool
        index = self._settled(PostgresQueueIndex(self.db, self.node, self.options.lease))
        return index, NodeSpool(self.daemon.paths.queues, self.daemon.settings.queue.queues, self.objects)

    def _settled(self, store):
        """A store of a database whose mail is not under way to or from somewhere else. Raises DatabaseError."""
        from fancymail.storage.postgres.moving import require_settled
        require_settled(self.db)
        return store

    def turn(self) -> FiberTurn:
        """How fm-mailbox changes something."""
        return FiberTurn(self.db, self.fibered)

    # -- waiting ---------------------------------------------------------------------------------------------------------------

    def around(self, method: Callable) -> Callable:
        """A verb's method as one that may wait; it waits first until the daemon has what it stands on. Those of all daemons stay as they are."""
        if method.__module__ == Cluster.__module__.replace("nodes", "daemon"):
            return method
        return self._around(method, self._begun.wait)

    def begin(self) -> None:
        """The daemon has what it stands on."""
        self._begun.set()
        self.listen()

    # -- hints ---------------------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Begin to hear of other nodes."""
        if self.options.hints and self.daemon.stores and self.daemon.name != "queue":       # a queue's messages are its node's own
            from fancymail.servers.running.hints import Hints
            self._hints = Hints(self.options.hints, self.daemon.name, self.daemon.heard, self.daemon.log)
            self._hints.start()
            for topic in self.daemon.callbacks.topics:
                self._hints.watch(topic)

    def watch(self, topic: str) -> None:
        """Somebody here wants to hear of a topic."""
        if self._hints is not None:
            self._hints.watch(topic)

    def tell(self, topic: str) -> None:
        """There is something new under a topic."""
        if self._hints is not None:
            self._hints.tell(topic)

    async def close(self) -> None:
        """End all connections."""
        if self._hints is not None:
            await self._hints.close()
        if self._database is not None:
            self._database.close()


class FiberTurn:
    """As core/turn.py, where commits do not wait for each other: each work is a transaction of its own, many of them at the same time."""

    def __init__(self, db: Database, fibered: Callable[[Coroutine], Coroutine]) -> None:
        self.db, self.fibered = db, fibered

    def run(self, work: Callable[[], Any]) -> asyncio.Future:
        """Do `work`, again when others were first; the future gives what it returned, after the commit, or what it raised."""
        return asyncio.ensure_future(self.fibered(self._done(work)))

    async def _done(self, work: Callable[[], Any]) -> Any:
        return self.db.retried(work)


class Alone:
    """`with alone:` lets one fiber in at a time. What is remembered between two index calls is still true after the second."""

    def __init__(self, db: Database) -> None:
        self._db, self._lock = db, asyncio.Lock()

    def __enter__(self) -> None:
        self._db.waiter(self._lock.acquire())

    def __exit__(self, *error: Any) -> None:
        self._lock.release()
