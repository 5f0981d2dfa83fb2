"""Group commit: everything that arrived while the last sync ran becomes durable with the next one.

    commit = GroupCommit(spool.sync, one_thread)
    await commit.join(entry)          # returns when it is on the disk; raises what write or sync raised
    await commit.join()               # returns when all that was written before is on the disk
    commit.add(entry)                 # nobody waits; `finish` hears of it

Used where an answer promises durability (fm-queue, fm-smtpin). `write` runs in the loop with the items of a batch (maybe none), `sync` in the
thread. A failed sync is never repeated for the same items: the kernel tells of a lost write only once (fsync, then "ok").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any


class GroupCommit:
    """Collects items into batches; one batch is under way at a time.

    gather: seconds that a batch waits for company after one that had some: who came together comes together again, and a sync costs the same
    for all of them. One that is alone never waits.
    finish(items, error): called in the loop after each batch, before its waiters wake. between(): asked after a batch, while no sync
    is under way, for housekeeping that needs the same thread: None, or an awaitable that the next batch waits for.
    """

    def __init__(self, sync: Callable[[list], None], executor: Executor, *, write: Callable[[list], None] = lambda items: None,
                 finish: Callable[[list, BaseException | None], None] = lambda items, error: None,
                 between: Callable[[], Awaitable | None] = lambda: None, gather: float = 0.0) -> None:
        self._write, self._sync, self._executor = write, sync, executor
        self._finish, self._between, self._gather = finish, between, gather
        self._items: list = []
        self._futures: list[asyncio.Future] = []
        self._idle: asyncio.Future | None = None         # while something is under way: ends when nothing is
        self._company = False                            # the last batch had more than one item
        self.batches = 0
        self.largest = 0

    def add(self, item: Any) -> None:
        """Add an item to the next batch."""
        self._items.append(item)
        self._begin()

    def join(self, item: Any = None) -> asyncio.Future:
        """Add an item (None: just wait) to the next batch; the future ends when the batch is durable or failed."""
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        if item is not None:
            self._items.append(item)
        self._begin()
        return future

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        if self._idle is not None:
            await asyncio.shield(self._idle)

    def _begin(self) -> None:
        if self._idle is None:
            self._idle = asyncio.get_running_loop().create_future()
            self._soon()

    def _soon(self) -> None:
        """Begin the next batch: after this turn of the loop, when all that it brings is in, or when some more have come."""
        if self._company and self._gather:
            self._later(self._gather, self._next)
        else:
            asyncio.get_running_loop().call_soon(self._next)

    @staticmethod
    def _later(seconds: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, call)

    def _next(self) -> None:
        items, self._items = self._items, []
        futures, self._futures = self._futures, []
        if not items and not futures:
            self._idle.set_result(None)
            self._idle = None
            return
        self.batches += 1
        self._company = len(items) > 1
        self.largest = max(self.largest, len(items), len(futures))
        try:
            self._write(items)
        except Exception as error:
            self._end(items, futures, error)
            return
        try:
            self._executor.submit(self._work, asyncio.get_running_loop(), items, futures)
        except RuntimeError as error:                    # it was shut down
            self._end(items, futures, error)

    def _work(self, loop: asyncio.AbstractEventLoop, items: list, futures: list[asyncio.Future]) -> None:
        """In the thread. It calls back by itself: a future that is chained to another costs as much again as the rest of a batch."""
        error = None
        try:
            self._sync(items)
        except BaseException as caught:
            error = caught
        with suppress(RuntimeError):                     # the loop has ended
            loop.call_soon_threadsafe(self._end, items, futures, error)

    def _end(self, items: list, futures: list[asyncio.Future], error: BaseException | None) -> None:
        try:
            self._finish(items, error)
        except Exception as caught:
            error = error or caught
        for future in futures:
            if future.done():
                continue                # whoever waited is gone; what it wrote is in the batch all the same
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()      # a waiter that went away must not make asyncio complain
        work = self._between()
        if work is None:
            self._soon() if self._items or self._futures else self._next()
        else:
            asyncio.ensure_future(work).add_done_callback(self._tidied)

    def _tidied(self, done: asyncio.Future) -> None:
        if not done.cancelled() and done.exception():    # those who wait must not wait for ever
            done.get_loop().call_exception_handler({"message": "between two batches", "exception": done.exception()})
        self._next()
