"""Finished slots on their way: made durable together, answered, then entered into the queue.

Used by session.py. A slot file on the disk is the message: once it is there the client hears 250 and the queue hears of it (verb `enter`), of
all together that came while it took the last ones. Should we die between, the queue finds the whole slot by itself (verb `recover`, and
its own start). A slot whose sync failed is removed and answered "try later"; it is never synced again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import msgspec

from fancymail.base.crash import crash_point
from fancymail.base.log import Log
from fancymail.core.commit import GroupCommit
from fancymail.ipc.message import IpcError
from fancymail.ipc.packing import pack
from fancymail.servers.smtpin.slots import Ask, error_of
from fancymail.storage.ports.spool import Told
from fancymail.storage.sync import FEW, Syncer

PATIENCE = 60.0                      # seconds that the queue has to take what is durable
GATHER = 0.002                       # seconds that finished slots wait for more to share their sync, when there are more
PACE = 0.01                          # seconds between two words to the queue about finished slots
AGAIN = 2.0                          # seconds after which it is told again what it could not take
MOST = 400                           # messages told at once

Settle = Callable[[IpcError | None], None]
_encode = msgspec.json.Encoder().encode


class Finished(NamedTuple):
    """A slot that is written: where, what it holds, and who waits for it to be durable."""

    queue: str
    path: str
    told: Told
    settle: Settle


class Outbox:
    """All finished slots of the daemon; `folder` is a descriptor of STATE/queues."""

    def __init__(self, ask: Ask, folder: int, log: Log) -> None:
        self._ask, self._log = ask, log
        self._loop = asyncio.get_running_loop()
        self._folder = os.dup(folder)
        self._syncer = Syncer(self._folder)
        self._thread = ThreadPoolExecutor(1, "sync")
        self._commit = GroupCommit(self._sync, self._thread, finish=self._committed, gather=GATHER)
        self._news: dict[str, list[Finished]] = {}              # by queue: durable, not told yet
        self._told: dict[str, list[Finished]] = {}              # by queue: told, not answered yet
        self.pace = PACE
        self._told_at: dict[str, float] = {}                    # by queue: when it was last told
        self._timers: dict[str, asyncio.TimerHandle] = {}       # by queue: when it will be told
        self._quiet: asyncio.Future | None = None

    def add(self, finished: Finished) -> None:
        """Make a slot durable whose writer is closed; `settle` is called once, with the error or None."""
        self._commit.add(finished)

    @property
    def waiting(self) -> int:
        """How many messages the queue has not taken yet."""
        return sum(map(len, (*self._news.values(), *self._told.values())))

    async def stop(self, seconds: float) -> None:
        """Let what was finished reach the disk and the queue; what does not in time is found by the queue later."""
        await self._commit.idle()
        for queue in list(self._timers):
            self._tell(queue)
        if self.waiting:
            self._quiet = self._loop.create_future()
            await asyncio.wait((self._quiet,), timeout=seconds)
        self._thread.shutdown()
        self._syncer.close()
        os.close(self._folder)

    # Durable

    def _sync(self, finished: list[Finished]) -> None:
        """In the thread. The names are durable since the queue gave them, so a few files need no more than their contents synced."""
        crash_point("smtpin.sync")
        if len(finished) <= FEW or not self._syncer.filesystem():
            self._syncer.files([one.path for one in finished])
        crash_point("smtpin.synced")

    def _committed(self, finished: list[Finished], error: BaseException | None) -> None:
        if error is not None:
            self._burn(finished, error)
            return
        for one in finished:
            self._news.setdefault(one.queue, []).append(one)
        for one in finished:
            one.settle(None)
        for queue in dict.fromkeys(one.queue for one in finished):
            self._tell_soon(queue)

    def _burn(self, finished: list[Finished], error: BaseException) -> None:
        """The kernel tells of a lost write once: what these files hold is not to be trusted, whatever it says later."""
        self._log.error("sync failed", reason=str(error), slots=len(finished))
        for one in finished:
            with suppress(OSError):
                os.unlink(one.path)
            one.settle(IpcError("4.3.0", f"not stored: {error}"))

    # Known to the queue

    def _tell_soon(self, queue: str) -> None:
        """At once after a pause; under load a little later, of many together, which costs both sides hardly more than of one."""
        wait = self._told_at.get(queue, 0.0) + self.pace - self._loop.time()
        if wait <= 0:
            self._tell(queue)
        elif queue not in self._timers:
            self._timers[queue] = self._loop.call_later(wait, self._tell, queue)

    def _tell(self, queue: str) -> None:
        if timer := self._timers.pop(queue, None):
            timer.cancel()
        news = self._news.get(queue)
        if queue in self._told or not news:
            return
        crash_point("smtpin.tell")
        self._told_at[queue] = self._loop.time()
        told, self._news[queue] = news[:MOST], news[MOST:]
        self._told[queue] = told
        try:
            asked = self._ask("queue", "enter", queue, *_frames(told), timeout=PATIENCE)
        except IpcError as error:
            self._answered(queue, error)
        else:
            asked.add_done_callback(lambda done: self._answered(queue, error_of(done)))

    def _answered(self, queue: str, error: IpcError | None) -> None:
        told = self._told.pop(queue)
        if error is None:
            if self._news.get(queue):
                self._tell_soon(queue)
        else:
            # They are on the disk, and 250 was said: they are told again until somebody takes them.
            self._log.error("not entered", queue=queue, slots=len(told), reason=error.text)
            self._news[queue][:0] = told
            self._loop.call_later(AGAIN, self._tell, queue)
        if self._quiet is not None and not self._quiet.done() and not self.waiting:
            self._quiet.set_result(None)


def _frames(told: list[Finished]) -> list[bytes]:
    """What is told of slots."""
    return pack([_encode((one.path, one.told)) for one in told])
