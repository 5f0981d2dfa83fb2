"""What became of messages on its way to the queue: one request for all that came while it answered the last one.

    await reports.tell(path, results)         # returns when they are durable

Used by dispatch.py. What a remote host has taken must be written down: it is told until the queue answers, however long it is away. It
never decides what became of anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fancymail.base.log import Log
from fancymail.ipc.message import IpcError
from fancymail.mail.results import RecipientResult, dump_parts

PATIENCE = 30.0                      # seconds that the queue may take to answer; then it is asked again
MOST = 200                           # messages of one request: two frames for each must fit into it
OCTETS = 4 << 20                     # octets of results in one request

Ask = Callable[..., asyncio.Future]


class Reports:
    """Reports of all messages of one queue. ask(daemon, verb, ...) is Daemon.ask."""

    def __init__(self, ask: Ask, queue: str, log: Log) -> None:
        self._ask, self._queue, self._log = ask, queue, log
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[str, str, asyncio.Future]] = []
        self._busy = False

    async def tell(self, path: str, results: Iterable[RecipientResult]) -> None:
        """Make results durable. Raises IpcError when the queue refuses them."""
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

    async def _until_answered(self, verb: str, *words: str) -> list[bytes]:
        while True:
            try:
                return await self._ask("queue", verb, self._queue, *words, timeout=PATIENCE)
            except IpcError as error:
                if error.status != "4.4.1":
                    raise
                self._log.warning("queue does not answer", what=verb)

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
