"""Finished slots on their way, on a node of a cluster: the queue takes each over, and only then the client hears 250.

Used by session.py in the place of outbox.py. There the file on this machine's disk is the message; here a message is one when its content is in the
bucket and its row in the database, which is what `push` answers. fm-queue gathers pushes, so each is asked by itself.
"""

from __future__ import annotations

import asyncio

from fancymail.ipc.message import IpcError
from fancymail.servers.smtpin.outbox import Finished
from fancymail.servers.smtpin.slots import Ask, error_of

PATIENCE = 60.0                 # seconds that the queue has to answer


class Pushing:
    """All finished slots of the daemon."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._under_way: set[asyncio.Future] = set()

    @property
    def waiting(self) -> int:
        """How many messages the queue has not taken yet."""
        return len(self._under_way)

    def add(self, finished: Finished) -> None:
        """Push a slot whose writer is closed; `settle` is called once, with the error or None."""
        try:
            asked = self._ask("queue", "push", finished.queue, finished.path, timeout=PATIENCE)
        except IpcError as error:
            finished.settle(error)
            return
        self._under_way.add(asked)
        asked.add_done_callback(lambda done: self._answered(finished, done))

    async def stop(self, seconds: float) -> None:
        """Let what is under way be answered."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)

    def _answered(self, finished: Finished, done: asyncio.Future) -> None:
        self._under_way.discard(done)
        finished.settle(error_of(done))
