"""Rows whose file is gone, after a crash: a message ends by its file first and its row second, so these have ended.

Run once by servers/queue/daemon.py when its last process did not end in order. Whoever takes such a message finds the same out (core/queue.py);
but nobody takes one that is held or put off, and until then the books would say that it is here. It looks at names only, never at content.
"""

from __future__ import annotations

import asyncio

from fancymail.storage.ports.queue import State

from .queue import QueueManager

PIECE = 100             # rows looked at before others get their turn
WAITING = (State.READY, State.LEASED, State.DEFERRED, State.HELD)       # of a dead or corrupt message the row goes first


async def settle_remains(manager: QueueManager, queues: list[str]) -> int:
    """Look at every row that waits; return how many were not where their rows say."""
    count = 0
    for queue in queues:
        for seen, entry in enumerate(manager.each(queue, WAITING)):
            if seen % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            if manager.spool.find(queue, entry.id) == queue:
                continue
            known = manager.index.find(entry.id)        # others had their turn since the row was read
            if known is not None and known.state in WAITING:
                count += not manager.present(known)
    return count
