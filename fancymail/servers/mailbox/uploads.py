"""Keeping what clients bring: all that waits is written together, and made durable with one sync.

A part of fm-mailbox. Work is done in one thread, in the order in which it came; each piece fails by itself, but a failed sync fails all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


class Uploads:
    """`thread` does the work, `sync` makes it durable."""

    def __init__(self, thread: Executor, sync: Callable[[], None]) -> None:
        self.thread, self.sync = thread, sync
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future]] = []
        self._running: asyncio.Task | None = None

    def keep(self, work: Callable[[], Any]) -> asyncio.Future:
        """Do work in the thread; the future gives what it returned once that is durable, or what it raised."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
        return future

    async def _run(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            outcomes = await asyncio.get_running_loop().run_in_executor(self.thread, self._together, [work for work, _ in waiting])
            for (_, future), (value, error) in zip(waiting, outcomes):
                if future.done():
                    continue                # whoever asked is gone
                if error is None:
                    future.set_result(value)
                else:
                    future.set_exception(error)
        self._running = None

    def _together(self, works: list[Callable[[], Any]]) -> list[tuple[Any, Exception | None]]:
        """In the thread."""
        outcomes = [_outcome(work) for work in works]
        _, error = _outcome(self.sync)
        return [(None, error)] * len(works) if error else outcomes


def _outcome(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error
