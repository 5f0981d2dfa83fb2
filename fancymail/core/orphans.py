"""Slot files that no row of the index names: whole ones become messages, the others are removed, late and only then.

Run by servers/queue/daemon.py at its start and now and then. A whole slot that names itself was written by somebody who may have promised it
already, and could not tell the queue any more (or the power took the row): so it is a message. What isn't whole was never promised; it
goes when this process has seen it so for long enough, on a clock that does not jump, never by its date: an operator's clock may be wrong,
a writer may be slow. Files that the spool keeps for reuse are none of these.
"""

from __future__ import annotations

from collections.abc import Callable

from fancymail.storage.ports.queue import QueueIndex
from fancymail.storage.ports.spool import SlotUnfit, Spool

from .intake import Intake


class Orphans:
    """Remembers when each unknown file was seen first."""

    def __init__(self, index: QueueIndex, spool: Spool, intake: Intake, age: float, clock: Callable[[], float]) -> None:
        self.index, self.spool, self.intake, self.age, self.clock = index, spool, intake, age, clock
        self._seen: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._seen)

    async def sweep(self, queues: list[str]) -> int:
        """Look at every file of these queues; return how many were removed."""
        seen: dict[str, float] = {}
        removed = 0
        for queue in queues:
            _, rest = await self.intake.recover(queue)
            removed += sum(self._judge(queue, id, seen) for id in rest)
        self._seen = seen           # what is gone or was pushed meanwhile is forgotten
        return removed

    def _judge(self, queue: str, id: str, seen: dict[str, float]) -> bool:
        now = self.clock()
        first = self._seen.get(id, now)
        if now - first < self.age or self.index.known([id]) or self._is_whole(queue, id):
            seen[id] = first
            return False
        self.spool.remove(queue, id)
        return True

    def _is_whole(self, queue: str, id: str) -> bool:
        """Whether its writer has finished it, and may have promised it, since it was looked at."""
        try:
            return self.spool.whole(queue, id).envelope is not None
        except (OSError, SlotUnfit):
            return False
