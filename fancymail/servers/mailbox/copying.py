"""Copying the logs of the shards back into their files behind fm-mailbox, in a thread of its own, so that no commit has to wait for it.

A part of fm-mailbox; storage/sqlite/shard.py does it. A log that cannot be copied grows and is tried again after a while: all that is in it is
durable. What came while the thread worked is copied in the loop; it is little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fancymail.base.log import Log
from fancymail.storage.ports.mailboxes import StoreFailed

if TYPE_CHECKING:
    from fancymail.storage.sqlite.shard import Shard


TROUBLE = 60.0                  # seconds until a log is tried again that could not be copied


class Copying:
    """`crowded` names the shards that are due."""

    def __init__(self, crowded: Callable[[], list[Shard]], log: Log) -> None:
        self.crowded, self.log = crowded, log
        self.count = 0                          # logs copied so far
        self._thread = ThreadPoolExecutor(1, "log")
        self._running: asyncio.Task | None = None
        self._after = 0.0                       # no sooner

    def look(self) -> None:
        """After a commit: begin, if it is time and nothing is under way."""
        if self._running is None and (shards := self.crowded()):
            loop = asyncio.get_running_loop()
            if loop.time() >= self._after:
                self._running = loop.create_task(self._run(shards))

    async def stop(self) -> None:
        """Wait until what is under way is through."""
        if self._running is not None:
            await self._running
        self._thread.shutdown()

    async def _run(self, shards: list[Shard]) -> None:
        try:
            for shard in shards:
                await asyncio.get_running_loop().run_in_executor(self._thread, shard.copy_back)
                shard.restart_log()
                self.count += 1
        except StoreFailed as error:
            self._after = asyncio.get_running_loop().time() + TROUBLE
            self.log.warning("log not copied", reason=str(error))
        finally:
            self._running = None
