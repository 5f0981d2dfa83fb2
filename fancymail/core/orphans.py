"""Slots that were given and never pushed: their files are removed, late and only then.

Run by servers/queue.py now and then. A file counts as an orphan while the index doesn't know it; its age is the time for which this
process has seen it so, on a clock that does not jump, never its date: an operator's clock may be wrong, a writer may be slow. A
message that was accepted is in the index, so nothing that was promised is ever removed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice

from fancymail.storage.ports.queue import QueueIndex
from fancymail.storage.ports.spool import Spool

from .queue import SLOT_ID

PIECE = 500         # files looked up at once


class Orphans:
    """Remembers when each unknown file was seen first. `busy(id)` tells whether a push of it is under way."""

    def __init__(self, index: QueueIndex, spool: Spool, age: float, busy: Callable[[str], bool], clock: Callable[[], float]) -> None:
        self.index, self.spool, self.age, self.busy, self.clock = index, spool, age, busy, clock
        self._seen: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._seen)

    async def sweep(self, queues: list[str]) -> int:
        """Look at every file of these queues; return how many were removed."""
        seen: dict[str, float] = {}
        removed = 0
        for queue in queues:
            names = (name for name in self.spool.names(queue) if SLOT_ID.match(name))
            while piece := list(islice(names, PIECE)):
                removed += sum(self._judge(queue, id, seen) for id in self._unknown(piece))
                await asyncio.sleep(0)
        self._seen = seen           # what is gone or was pushed meanwhile is forgotten
        return removed

    def _unknown(self, ids: list[str]) -> Iterator[str]:
        known = self.index.known(ids)
        return (id for id in ids if id not in known and not self.busy(id))

    def _judge(self, queue: str, id: str, seen: dict[str, float]) -> bool:
        now = self.clock()
        first = self._seen.get(id, now)
        if now - first < self.age:
            seen[id] = first
            return False
        self.spool.remove(queue, id)
        return True
