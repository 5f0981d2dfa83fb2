"""One commit for all that a turn of the event loop changes: many small changes share one sync, and fail each by itself.

    turn = Turn(store.transaction)
    uid = await turn.run(lambda: mailboxes.append(...))     # returns when it is on the disk

Used by fm-mailbox. Work runs in the loop, synchronously, in the order in which it came; when the commit fails, all of it failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


class Turn:
    """Collects the work of a turn; `transaction` is the store's, and nests; `committed` is called after each commit, when all was told."""

    def __init__(self, transaction: Callable[[], AbstractContextManager], committed: Callable[[], None] | None = None) -> None:
        self._transaction, self._committed = transaction, committed
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future]] = []
        self.count = 0              # commits so far

    def run(self, work: Callable[[], Any]) -> asyncio.Future:
        """Do `work` with the rest of this turn; the future gives what it returned, after the commit, or what it raised."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._commit)
        self._waiting.append((work, future))
        return future

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.count += 1
        try:
            with self._transaction():
                # What is alone needs no transaction inside the transaction: if it fails, there is nothing else to keep.
                outcomes = [(waiting[0][0](), None)] if len(waiting) == 1 else [self._one(work) for work, _ in waiting]
        except Exception as error:
            outcomes = [(None, error)] * len(waiting)
        for (_, future), (value, error) in zip(waiting, outcomes):
            if future.done():
                continue                    # whoever asked is gone; what was done is done
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        if self._committed is not None:
            self._committed()

    def _one(self, work: Callable[[], Any]) -> tuple[Any, Exception | None]:
        try:
            with self._transaction():
                return work(), None
        except Exception as error:
            return None, error
