"""Slot files ahead of need, and the pushes of one loop turn in one message.

Used by session.py. A session must not wait for queue or disk to begin a message, and the queue must not be told of each message
by itself: `SlotPool` keeps a store of open slots per queue, `Outbox` collects what was finished in this turn of the loop.
Nothing is accepted here: only the queue's ok to a push makes a message ours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fancymail.ipc.message import IpcError
from fancymail.storage.slots import SlotError, SlotWriter

SLOT_PATIENCE = 20.0                 # seconds; a restart of the queue is shorter
PUSH_PATIENCE = 60.0                 # the client waits for minutes (RFC 5321 4.5.3.2.6)
BATCH = 500                          # paths in one push
FULL_MEMORY = 5.0                    # seconds for which "no room" is believed without asking again

Ask = Callable[..., asyncio.Future]
Settle = Callable[[IpcError | None], None]


class SlotPool:
    """Open slots of one queue; asked for `ahead` at a time, again when half of them are used.

    Making a file may wait for the disk, so a thread opens the whole lot at once and the loop only ever finds them open.
    """

    def __init__(self, ask: Ask, queue: str, ahead: int) -> None:
        self._ask, self.queue, self.ahead = ask, queue, ahead
        self._loop = asyncio.get_running_loop()
        self._ready: deque[SlotWriter] = deque()
        self._unused: list[str] = []                 # slots that were given back
        self._waiting: deque[asyncio.Future] = deque()
        self._filling = False
        self._stale = False                          # what is being opened was given before `forget`
        self._full_until = 0.0

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def full(self) -> bool:
        """Whether the queue said lately that the disk has no room."""
        return self._full_until > self._loop.time()

    def take(self) -> SlotWriter | asyncio.Future:
        """An open slot, or a future that gives one or raises IpcError, OSError or SlotError."""
        if self._ready:
            writer = self._ready.popleft()
            if len(self._ready) <= self.ahead // 2:
                self.fill()
            return writer
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        self.fill()
        return waiting

    def give_back(self, writer: SlotWriter) -> None:
        """A slot that was taken and holds nothing worth keeping."""
        writer.abort()
        self._unused.append(writer.path)

    def forget(self) -> None:
        """The queue doesn't know our slots any more, or their folder is gone."""
        for writer in self._ready:
            writer.abort()
        self._ready.clear()
        self._unused.clear()
        self._stale = self._filling

    def fill(self) -> None:
        """Have more slots ready soon."""
        if self._filling:
            return
        self._filling = True
        count = max(self.ahead, min(len(self._waiting), BATCH)) - len(self._unused)
        if count <= 0:
            self._open([])
            return
        try:
            self._ask("queue", "slot", self.queue, count, timeout=SLOT_PATIENCE).add_done_callback(self._allocated)
        except IpcError as error:
            self._loop.call_soon(self._failed, error)

    def _allocated(self, done: asyncio.Future) -> None:
        error = _error_of(done)
        if error is not None:
            self._failed(error)
            return
        self._full_until = 0.0
        self._open([path.decode() for path in done.result()])

    def _open(self, paths: list[str]) -> None:
        paths = self._unused + paths
        self._unused = []
        self._loop.run_in_executor(None, _open_all, paths).add_done_callback(self._opened)

    def _opened(self, done: asyncio.Future) -> None:
        self._filling = False
        if done.cancelled():
            return
        writers, error = done.result()
        if self._stale:
            self._stale = False
            for writer in writers:
                writer.abort()
            self.fill()
            return
        for writer in writers:
            waiting = self._next_waiting()
            if waiting is not None:
                waiting.set_result(writer)
            else:
                self._ready.append(writer)
        if error is not None:
            self._fail_waiting(error)
        elif any(not waiting.done() for waiting in self._waiting):
            self.fill()

    def _failed(self, error: IpcError) -> None:
        self._filling = self._stale = False
        if error.status == "4.3.1":
            self._full_until = self._loop.time() + FULL_MEMORY
        self._fail_waiting(error)

    def _fail_waiting(self, error: Exception) -> None:
        while (waiting := self._next_waiting()) is not None:
            waiting.set_exception(error)

    def _next_waiting(self) -> asyncio.Future | None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                return waiting
        return None


def _open_all(paths: list[str]) -> tuple[list[SlotWriter], Exception | None]:
    """In a thread: open what can be opened; the first error ends it."""
    writers: list[SlotWriter] = []
    try:
        for path in paths:
            writers.append(SlotWriter(path))
    except (OSError, SlotError) as error:
        return writers, error
    return writers, None


class Outbox:
    """Finished slots of one queue, pushed together at the end of the loop turn. `settle(None)` means durable."""

    def __init__(self, ask: Ask, queue: str, lost: Callable[[], None]) -> None:
        self._ask, self.queue = ask, queue
        self._lost = lost                            # told when the queue refuses a slot: it may know none of ours
        self._loop = asyncio.get_running_loop()
        self._finished: list[tuple[str, Settle]] = []

    def add(self, path: str, settle: Settle) -> None:
        """Push a slot whose writer is closed; `settle` is called once, with the error or None."""
        if not self._finished:
            self._loop.call_soon(self._push)
        self._finished.append((path, settle))

    def _push(self) -> None:
        finished, self._finished = self._finished, []
        for start in range(0, len(finished), BATCH):
            self._push_batch(finished[start:start + BATCH])

    def _push_batch(self, batch: list[tuple[str, Settle]]) -> None:
        try:
            asked = self._ask("queue", "push", self.queue, *[path for path, _ in batch], timeout=PUSH_PATIENCE)
        except IpcError as error:
            self._settle(batch, error)
            return
        asked.add_done_callback(lambda done: self._pushed(batch, done))

    def _pushed(self, batch: list[tuple[str, Settle]], done: asyncio.Future) -> None:
        error = _error_of(done)
        if error is None:
            self._settle(batch, None)
        elif len(batch) == 1 or error.status == "4.4.1":
            if not error.temporary:
                self._lost()
            self._settle(batch, error)
        else:
            for one in batch:                        # one bad slot must not cost its neighbours; a push may be repeated
                self._push_batch([one])

    @staticmethod
    def _settle(batch: list[tuple[str, Settle]], error: IpcError | None) -> None:
        for _, settle in batch:
            settle(error)


def _error_of(done: asyncio.Future) -> IpcError | None:
    if done.cancelled():
        return IpcError("4.4.1", "no answer from queue")
    error = done.exception()
    return error if error is None or isinstance(error, IpcError) else IpcError("4.3.0", str(error))
