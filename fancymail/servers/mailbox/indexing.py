"""Filling the full-text index behind fm-mailbox, in a thread of its own, a few messages at a time.

A part of fm-mailbox; storage/sqlite/fulltext.py knows how. Mail that comes in goes first: between two steps it rests, and while much is written it
waits for a while. Whatever happens to the index, searches stay right; when it cannot be written, it is tried again later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fancymail.base.log import Log
from fancymail.storage.sqlite.database import DatabaseError
from fancymail.storage.sqlite.fulltext import TextIndex, damaged

REST = 0.2                      # seconds between two steps
BUSY = 5                        # commits in a rest, with which others go first
PATIENCE = 20.0                 # seconds for which they do
IDLE = 5.0                      # seconds until the next look when there was nothing
TROUBLE = 60.0                  # seconds until it is tried again when it could not be written
AGAIN = 600.0                   # seconds after which all messages are looked at, not only new ones


class Indexing:
    """Over the shards in a folder; `least`: messages that an account must have; `commits` tells how many there were so far."""

    def __init__(self, directory: Path, shards: int, least: int, log: Log, commits: Callable[[], int] = int) -> None:
        self.directory, self.shards, self.least, self.log, self.commits = directory, shards, least, log, commits
        self.thread = ThreadPoolExecutor(1, "index")
        self.index: TextIndex | None = None
        self.runs = False                       # a cluster has no such index
        self.count = 0                          # messages taken in since the start

    async def run(self) -> None:
        """Take in what comes."""
        loop, looked = asyncio.get_running_loop(), 0.0
        self.runs = True
        while True:
            try:
                if self.index is None or loop.time() > looked + AGAIN:
                    looked = loop.time()
                    await loop.run_in_executor(self.thread, self._begin)
                count = await loop.run_in_executor(self.thread, lambda: self.index.step())
            except Exception as error:          # whatever it is, it is tried again
                self.log.error("not indexed", reason=f"{type(error).__name__}: {error}")
                await loop.run_in_executor(self.thread, self._end)
                await asyncio.sleep(TROUBLE)
                continue
            self.count += count
            await asyncio.sleep(IDLE if not count else 0)
            await self._quiet()

    async def _quiet(self) -> None:
        """Rest until little is written, or for as long as it may be put off."""
        for _ in range(int(PATIENCE / REST)):
            before = self.commits()
            await asyncio.sleep(REST)
            if self.commits() - before <= BUSY:
                return

    async def forget(self, account: str) -> None:
        """Take an account's messages in again."""
        if self.index is not None:
            await asyncio.get_running_loop().run_in_executor(self.thread, self.index.forget, account)

    async def mend(self) -> int:
        """Look whether the files are there and whole, and make those anew that are not; how many. They fill behind, as ever."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._mend)

    def close(self) -> None:
        """Let go of the files, after the step that runs."""
        self.thread.shutdown()
        self._end()

    def _begin(self) -> None:
        if self.index is None:
            try:
                self.index = TextIndex(self.directory, self.shards, self.least)
            except DatabaseError as error:      # all of it can be made again
                self.log.warning("index given up", reason=str(error))
                for path in self.directory.glob("text-*.db*"):
                    path.unlink()
                self.index = TextIndex(self.directory, self.shards, self.least)
        self.index.restart()

    def _mend(self) -> int:
        lost = damaged(self.directory, self.shards) if self.runs else []
        if self.index is None:                  # what was not made yet is not lost
            lost = [path for path in lost if path.exists()]
        if lost:
            self.log.warning("index given up", files=",".join(path.name for path in lost))
            self._end()
            for path in lost:
                for file in self.directory.glob(f"{path.name}*"):
                    file.unlink()
            self._begin()
        return len(lost)

    def _end(self) -> None:
        if self.index is not None:
            self.index.close()
            self.index = None
