"""Group commit: everything that arrived while the last sync ran becomes durable with the next one.

    commit = GroupCommit(write=index.add, sync=spool.sync, executor=one_thread)
    await commit.join(entry)          # returns when it is on the disk; raises what write or sync raised
    await commit.join()               # returns when all that was written before is on the disk

Used where an answer promises durability (fm-queue). `write` runs in the loop with the items of a batch (maybe none), `sync` in the thread. A
failed sync is never repeated for the same items: the kernel tells of a lost write only once (fsync, then "ok").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


class GroupCommit:
    """Collects items into batches; one batch is under way at a time.

    finish(items, error): called in the loop after each batch, before its waiters wake. between(): a coroutine function that
    runs after a batch while no sync is under way, for housekeeping that needs the same thread.
    """

    def __init__(self, write: Callable[[list], None], sync: Callable[[list], None], executor: Executor, *,
                 finish: Callable[[list, BaseException | None], None] | None = None,
                 between: Callable[[], Any] | None = None) -> None:
        self._write, self._sync, self._executor = write, sync, executor
        self._finish, self._between = finish, between
        self._waiting: list[tuple[Any, asyncio.Future]] = []
        self._task: asyncio.Task | None = None
        self.batches = 0
        self.largest = 0

    def join(self, item: Any = None) -> asyncio.Future:
        """Add an item (None: just wait) to the next batch; the future ends when the batch is durable or failed."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = loop.create_task(self._run())      # it starts after this turn of the loop: all of the turn's joins are in
        return future

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._task:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._commit([item for item, _ in batch if item is not None], [future for _, future in batch])
                if self._between:
                    try:
                        await self._between()
                    except Exception as error:          # those who wait must not wait for ever
                        asyncio.get_running_loop().call_exception_handler({"message": "between two batches", "exception": error})
        finally:
            self._task = None

    async def _commit(self, items: list, futures: list[asyncio.Future]) -> None:
        self.batches += 1
        self.largest = max(self.largest, len(futures))
        error = None
        try:
            self._write(items)
            await asyncio.get_running_loop().run_in_executor(self._executor, self._sync, items)
        except Exception as caught:
            error = caught
        if self._finish:
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
