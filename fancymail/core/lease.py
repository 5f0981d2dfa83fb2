"""Leases: who works on which message, until when. In memory only: a lease says nothing about the message's fate.

Kept by core/queue.py. Deadlines are on the monotonic clock, given as a parameter; about 250 octets for each message that is being
worked on, nothing for those that wait.
"""

from __future__ import annotations

import heapq
from collections import deque


class Lease:
    """One message in somebody's hands. `holder` is "" when the hands are those of a process before our last start."""

    __slots__ = ("queue", "id", "holder", "deadline")

    def __init__(self, queue: str, id: str, holder: str, deadline: float) -> None:
        self.queue, self.id, self.holder, self.deadline = queue, id, holder, deadline


class Leases:
    """All leases, by id and by deadline."""

    def __init__(self) -> None:
        self._by_id: dict[str, Lease] = {}
        self._deadlines: list[tuple[float, str]] = []       # may hold outdated ones, which are passed over
        self._popped: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def take(self, queue: str, id: str, holder: str, deadline: float, popped: bool = False) -> Lease:
        """Begin a lease. popped: the holder may be a client that settles by removing the file."""
        lease = self._by_id[id] = Lease(queue, id, holder, deadline)
        heapq.heappush(self._deadlines, (deadline, id))
        if popped:
            self._popped.setdefault(queue, deque()).append(id)
        return lease

    def get(self, id: str) -> Lease | None:
        """The lease of a message."""
        return self._by_id.get(id)

    def renew(self, lease: Lease, deadline: float) -> None:
        """Move the end of a lease."""
        lease.deadline = deadline
        heapq.heappush(self._deadlines, (deadline, lease.id))
        if len(self._deadlines) > 64 + 4 * len(self._by_id):
            self._deadlines = [(lease.deadline, id) for id, lease in self._by_id.items()]
            heapq.heapify(self._deadlines)

    def end(self, id: str) -> Lease | None:
        """End a lease, if there is one."""
        return self._by_id.pop(id, None)

    def of(self, queue: str, holder: str) -> list[Lease]:
        """The leases of one holder in one queue."""
        return [lease for lease in self._by_id.values() if lease.holder == holder and lease.queue == queue]

    def expired(self, now: float) -> list[Lease]:
        """End and return the leases whose time is over."""
        over = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, id = heapq.heappop(self._deadlines)
            lease = self._by_id.get(id)
            if lease and lease.deadline == deadline:
                over.append(self._by_id.pop(id))
        return over

    def next_deadline(self) -> float | None:
        """When the next lease may end; never later than it does."""
        while self._deadlines and self._deadlines[0][1] not in self._by_id:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def some_popped(self, queue: str, count: int) -> list[str]:
        """Up to `count` ids that were popped and are still leased, each in its turn."""
        turn, found = self._popped.get(queue), []
        for _ in range(min(count, len(turn)) if turn else 0):
            id = turn.popleft()
            if id in self._by_id:
                turn.append(id)
                found.append(id)
        return found
