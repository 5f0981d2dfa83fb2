"""When to try again, how hard to press, whom to leave alone: the numbers behind outbound mail.

`Schedule` says when a message is due again and when it is given up; `Window` how many connections an address bears; `DeadHosts`
which addresses are not worth a try now; `Pace` how many messages a minute a destination takes. Used by servers/smtpout/daemon.py and
servers/smtpout/destination.py. Time and chance come in as parameters.
"""

from __future__ import annotations

from collections import OrderedDict

from fancymail.base.settings.smtpout import SmtpOut

JITTER = 0.2                         # waits are spread by this part of themselves, both ways
BUSY_WAIT = 60.0                     # seconds until a message comes back that found no room
DEAD_LONGEST = 3600.0
HOSTS_KEPT = 20_000                  # hosts of which something is remembered


class Schedule:
    """The life of a message in the queue."""

    def __init__(self, settings: SmtpOut) -> None:
        self.settings = settings

    def wait(self, attempts: int, age: float, chance: float) -> float:
        """Seconds to the next attempt. `attempts`: made so far, at least 1; `age`: seconds in the queue; `chance`: in [0, 1).

        Waits double with each attempt, but never beyond the message's age: attempts that met no host do not count as patience.
        """
        first, longest = self.settings.retry_first, self.settings.retry_longest
        wait = min(first * 2 ** min(max(attempts, 1) - 1, 40), max(first, age), longest)
        return wait * (1 - JITTER + 2 * JITTER * chance)

    def busy(self, chance: float) -> float:
        """Seconds until a message is tried again for which there was no room."""
        return BUSY_WAIT * (1 + chance)

    def expired(self, attempts: int, age: float) -> bool:
        """Whether a message is given up: old enough, and really tried; a clock that leaps makes no mail expire."""
        return age >= self.settings.expire and attempts >= self.settings.least_attempts

    def late(self, age: float) -> bool:
        """Whether its sender should know that it still waits."""
        return 0 < self.settings.delay_notice <= age


class Window:
    """Connections to one address at the same time: grows with each success, is halved by each failure."""

    __slots__ = ("limit", "most", "used", "_threshold")

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(2, most))
        self.used = 0
        self._threshold = float(most)

    @property
    def free(self) -> int:
        return max(int(self.limit) - self.used, 0)

    @property
    def open(self) -> bool:
        return self.used < int(self.limit)

    def succeeded(self) -> None:
        """Slow start: one more for each success up to where it once failed, from there on one more for each full round."""
        step = 1.0 if self.limit < self._threshold else 1.0 / self.limit
        self.limit = min(self.limit + step, float(self.most))

    def failed(self) -> None:
        self._threshold = max(self.limit / 2, 1.0)
        self.limit = self._threshold


class Pace:
    """Messages a minute to one destination."""

    __slots__ = ("interval", "_next")

    def __init__(self, per_minute: int) -> None:
        self.interval = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    def wait(self, now: float, patience: float) -> float | None:
        """Seconds until the next message may go, which is reserved; None when that is beyond `patience`."""
        begin = max(self._next, now)
        if begin - now > patience:
            return None
        self._next = begin + self.interval
        return begin - now


class DeadHosts:
    """Addresses that did not answer. Each failure in a row doubles the time for which they are left alone."""

    def __init__(self, first: float) -> None:
        self.first = first
        self._known: OrderedDict[tuple[str, int], tuple[float, float, str]] = OrderedDict()

    def failed(self, address: str, port: int, now: float, reason: str) -> None:
        known = self._known.pop((address, port), None)
        if known and now < known[0]:   # several messages met the same failure: that is one
            self._known[address, port] = known
            return
        pause = min(known[1] * 2, DEAD_LONGEST) if known else self.first
        self._known[address, port] = (now + pause, pause, reason)
        if len(self._known) > HOSTS_KEPT:
            self._known.popitem(last=False)

    def answered(self, address: str, port: int) -> None:
        self._known.pop((address, port), None)

    def reason(self, address: str, port: int, now: float) -> str:
        """Why it is left alone now; "" when it may be tried."""
        known = self._known.get((address, port))
        return known[2] if known and now < known[0] else ""
