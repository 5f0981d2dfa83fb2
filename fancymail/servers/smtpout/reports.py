"""What became of messages on its way to the queue: one request for all that came while it answered the last one.

    await reports.tell(path, results)         # returns when they are durable
    reports.finish(path)                      # everybody has it: nobody waits for that to be durable

Used by dispatch.py. What a remote host has taken must be written down: it is told until the queue answers, however long it is away. It
never decides what became of anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable

from fancymail.base.crash import crash_point
from fancymail.base.log import Log
from fancymail.ipc.message import IpcError
from fancymail.ipc.packing import pack
from fancymail.mail.results import RecipientResult, dump_parts

PATIENCE = 30.0                      # seconds that the queue may take to answer; then it is asked again
MOST = 200                           # messages of one request: two frames for each must fit into it
OCTETS = 4 << 20                     # octets of results in one request
PACE = 0.01                          # seconds between two words about messages that have ended
AGAIN = 2.0                          # seconds after which the queue is told again what it could not write down

Ask = Callable[..., asyncio.Future]


class Reports:
    """Reports of all messages of one queue. ask(daemon, verb, ...) is Daemon.ask."""

    def __init__(self, ask: Ask, queue: str, log: Log) -> None:
        self._ask, self._queue, self._log = ask, queue, log
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[str, str, asyncio.Future]] = []
        self._busy = False
        self._ended: list[str] = []                  # not told yet
        self._telling: set[str] = set()              # not known to the queue yet
        self._due: asyncio.TimerHandle | None = None
        self._told_at = 0.0
        self._quiet: asyncio.Future | None = None

    def __len__(self) -> int:
        """Messages that have ended, and of which the queue may not know it yet."""
        return len(self._telling)

    def __contains__(self, path: str) -> bool:
        """Whether this message has ended, and the queue may not know it yet."""
        return path in self._telling

    def finish(self, path: str) -> None:
        """All recipients of a message have it: have it end. At once after a pause; under load a little later, of many together."""
        self._telling.add(path)
        self._ended.append(path)
        if self._due is None:
            self._due = self._loop.call_later(max(self._told_at + PACE - self._loop.time(), 0.0), self._tell)

    async def quiet(self) -> None:
        """Return when the queue knows of all that has ended."""
        while self._telling:
            self._quiet = self._quiet or self._loop.create_future()
            await asyncio.shield(self._quiet)

    def _tell(self) -> None:
        self._due, self._told_at = None, self._loop.time()
        ended, self._ended = self._ended, []
        asyncio.ensure_future(self._finish(ended))

    async def _finish(self, ended: list[str]) -> None:
        frames = pack([json.dumps(path).encode() for path in ended])
        try:
            await self._until_answered("finish", *frames, again=True)
        except IpcError as error:
            self._log.error("not written down", messages=len(ended), reason=error.text)
        crash_point("smtpout.recorded")
        self._telling.difference_update(ended)
        if self._quiet is not None and not self._telling:
            self._quiet.set_result(None)
            self._quiet = None

    async def tell(self, path: str, results: Iterable[RecipientResult], again: bool = False) -> None:
        """Make results durable. Raises IpcError when the queue refuses them; again: not while its disk does."""
        results = list(results)
        while True:
            try:
                return await self._tell_once(path, results)
            except IpcError as error:
                if not (again and error.temporary):
                    raise
                self._log.warning("queue cannot write it down", what="results", reason=error.text)
            await asyncio.sleep(AGAIN)

    async def _tell_once(self, path: str, results: list[RecipientResult]) -> None:
        parts = dump_parts(results)
        if len(parts) > 1:                           # thousands of recipients: all or nothing, in a request of its own
            await self._until_answered("result", path, *parts)
            return
        answered = self._loop.create_future()
        self._waiting.append((path, parts[0], answered))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._begin)        # after this turn of the loop: all that it brings is in
        await answered

    def _begin(self) -> None:
        batch, room = [], OCTETS
        while self._waiting and len(batch) < MOST and room > 0:
            batch.append(self._waiting.pop(0))
            room -= len(batch[-1][1])
        if not batch:
            self._busy = False
            return
        words = [word for path, results, _ in batch for word in (path, results)]
        asyncio.ensure_future(self._until_answered("settle", *words)).add_done_callback(lambda done: self._answered(batch, done))

    async def _until_answered(self, verb: str, *words: str | bytes, again: bool = False) -> list[bytes]:
        """Ask until the queue is there. again: also until its disk is."""
        while True:
            try:
                return await self._ask("queue", verb, self._queue, *words, timeout=PATIENCE)
            except IpcError as error:
                if error.status == "4.4.1":
                    self._log.warning("queue does not answer", what=verb)
                elif again and error.temporary:
                    self._log.warning("queue cannot write it down", what=verb, reason=error.text)
                    await asyncio.sleep(AGAIN)
                else:
                    raise

    def _answered(self, batch: list[tuple[str, str, asyncio.Future]], done: asyncio.Future) -> None:
        failed = asyncio.CancelledError() if done.cancelled() else done.exception()
        answers = [b""] * len(batch) if failed else done.result()
        for (_, _, answered), answer in zip(batch, answers):
            if answered.done():
                continue                             # whoever waited is gone; it is written down all the same
            status, _, text = answer.decode().partition(" ")
            error = failed or (IpcError(status, text) if text else None)
            if error is None:
                answered.set_result(None)
            else:
                answered.set_exception(error)
        self._begin()
