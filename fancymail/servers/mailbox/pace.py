"""Saying the same thing less often: at once the first time, then once for all that comes within a while.

    pace = Pace(tell, 0.01, loop)
    pace.say("alice@example.test")      # tell("alice@example.test") at once, unless it was told a moment ago: then at the end of the while

Used by fm-mailbox for the alerts about accounts: a client that changes a hundred messages one by one wakes the others ten times, not a hundred.
Nothing is ever swallowed: what was said last is always told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pace:
    """`tell` is called with each topic at most once in `seconds`."""

    def __init__(self, tell: Callable[[str], None], seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self._tell, self._seconds, self._loop = tell, seconds, loop
        self._again: dict[str, bool] = {}       # topics told a moment ago; True: to be told again

    def say(self, topic: str) -> None:
        """Tell it now or soon."""
        if topic in self._again:
            self._again[topic] = True
            return
        self._begin(topic)

    def _begin(self, topic: str) -> None:
        self._again[topic] = False
        self._loop.call_later(self._seconds, self._end, topic)
        self._tell(topic)

    def _end(self, topic: str) -> None:
        if self._again.pop(topic):
            self._begin(topic)
