"""Slot files ahead of need: a session must not wait for the queue to begin a message.

Used by session.py and transaction.py. fm-queue has made the files; here are their names only, the one that came back last on top, since
its pages are still warm. Nothing is accepted here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fancymail.base.clock import boot_clock
from fancymail.ipc.message import IpcError

PATIENCE = 20.0                      # seconds; a restart of the queue is shorter
MOST = 500                           # slots asked for at once
FULL_MEMORY = 5.0                    # seconds for which "no room" is believed without asking again

Ask = Callable[..., asyncio.Future]


class SlotPool:
    """Names of slots of one queue; asked for `ahead` at a time, again when half of them are used. lifetime: seconds for which the queue surely keeps
    a slot that nothing was written into, half of them for who is still writing."""

    def __init__(self, ask: Ask, queue: str, ahead: int, lifetime: float, clock: Callable[[], float] = boot_clock) -> None:
        self._ask, self.queue, self.ahead, self.lifetime, self._clock = ask, queue, ahead, lifetime, clock
        self._since = 0.0                            # the oldest of `_ready` was given then, or later
        self._loop = asyncio.get_running_loop()
        self._ready: list[str] = []
        self._waiting: deque[asyncio.Future] = deque()
        self._asking = False
        self._stale = False                          # what is asked for was given before `forget`
        self._full_until = 0.0

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def full(self) -> bool:
        """Whether the queue said lately that the disk has no room."""
        return self._full_until > 0.0 and self._full_until > self._loop.time()

    def take(self) -> str | asyncio.Future:
        """The path of a slot, or a future that gives one or raises IpcError."""
        ready = self._ready
        if ready and self._clock() - self._since > self.lifetime / 2:
            ready.clear()
        if ready:
            path = ready.pop()
            if len(ready) <= self.ahead // 2:
                self.fill()
            return path
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        self.fill()
        return waiting

    def give_back(self, path: str) -> None:
        """A slot that was taken and holds nothing worth keeping."""
        self._ready.append(path)

    def forget(self) -> None:
        """The queue doesn't know our slots any more, or their folder is gone."""
        self._ready.clear()
        self._stale = self._asking

    def fill(self) -> None:
        """Have more slots ready soon."""
        if self._asking:
            return
        self._asking = True
        try:
            count = max(self.ahead, min(len(self._waiting), MOST))
            self._ask("queue", "slot", self.queue, count, timeout=PATIENCE).add_done_callback(self._given)
        except IpcError as error:
            self._loop.call_soon(self._failed, error)

    def _given(self, done: asyncio.Future) -> None:
        error = error_of(done)
        if error is not None:
            self._failed(error)
            return
        self._asking, self._full_until = False, 0.0
        if self._stale:
            self._stale = False
            self.fill()
            return
        if not self._ready:
            self._since = self._clock()
        self._ready[:0] = [path.decode() for path in reversed(done.result())]
        while self._ready and (waiting := self._next_waiting()) is not None:
            waiting.set_result(self._ready.pop())
        if any(not waiting.done() for waiting in self._waiting):
            self.fill()

    def _failed(self, error: IpcError) -> None:
        self._asking = self._stale = False
        if error.status == "4.3.1":
            self._full_until = self._loop.time() + FULL_MEMORY
        while (waiting := self._next_waiting()) is not None:
            waiting.set_exception(error)

    def _next_waiting(self) -> asyncio.Future | None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                return waiting
        return None


def error_of(done: asyncio.Future) -> IpcError | None:
    """The error of an answer from the queue, or None."""
    if done.cancelled():
        return IpcError("4.4.1", "no answer from queue")
    error = done.exception()
    return error if error is None or isinstance(error, IpcError) else IpcError("4.3.0", str(error))
