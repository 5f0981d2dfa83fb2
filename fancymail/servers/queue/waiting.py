"""Consumers that wait for messages: who has nothing to do hears of the next one by being given it, without an alert and a question.

    entries = await waiting.take("outgoing", 64, "smtpout", 15.0)
    waiting.wake("outgoing")            # there may be something

Used by daemon.py for the verb `consume`. One of a role waits for a queue: who asks anew has forgotten what it asked before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fancymail.storage.ports.queue import Entry


class Waiting:
    """Over `take(queue, count, role)`, which hands out what there is and never waits."""

    def __init__(self, take: Callable[[str, int, str], list[Entry]]) -> None:
        self._take = take
        self._there: dict[tuple[str, str], asyncio.Future] = {}         # by queue and role: done when there may be something

    async def take(self, queue: str, count: int, role: str, seconds: float) -> list[Entry]:
        """Up to `count` messages as soon as there is one, nothing after `seconds`, or when another of this role asks."""
        loop = asyncio.get_running_loop()
        place, end = (queue, role), loop.time() + seconds
        self.leave(*place)
        while not (entries := self._take(queue, count, role)) and loop.time() < end:
            there = self._there[place] = loop.create_future()
            timer = loop.call_at(end, _pass, there)
            try:
                if not await there:
                    break
            finally:
                timer.cancel()
                if self._there.get(place) is there:
                    del self._there[place]
        return entries

    def leave(self, queue: str, role: str) -> None:
        """Let the one of this role that waits go with nothing."""
        if (there := self._there.pop((queue, role), None)) is not None:
            _pass(there)

    def wake(self, queue: str) -> None:
        """Let those look who wait for this queue."""
        for (name, _), there in self._there.items():
            if name == queue and not there.done():
                there.set_result(True)


def _pass(there: asyncio.Future) -> None:
    if not there.done():
        there.set_result(False)
