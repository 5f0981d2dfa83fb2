"""The queue's index in memory: for tests and for benchmarks of what isn't the disk.

Behaves as storage/sqlite/queue.py does (tests/contracts/test_queue_index.py); entries are copied at the border, so that
nobody changes the index by changing a value. Nothing survives the process.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from copy import copy

from fancymail.storage.ports.queue import ACCEPTED, Entry, IndexFailed, Position, State, Total


class MemoryQueueIndex:
    """Entries by id, and for each queue and state their ids in order of (due, seq)."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._order: defaultdict[tuple[str, State], list[tuple[float, int, str]]] = defaultdict(list)
        self._seq = 0
        self._tally: Counter[tuple[str, str]] = Counter()

    def add(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        if len({entry.id for entry in entries} - set(self._entries)) != len(entries):
            raise IndexFailed("an id is there twice")
        for entry in entries:
            self._seq += 1
            entry.seq = self._seq
            self._enter(copy(entry))
            self._tally[entry.queue, ACCEPTED] += 1

    def find(self, id: str) -> Entry | None:
        entry = self._entries.get(id)
        return copy(entry) if entry else None

    def known(self, ids: Iterable[str]) -> set[str]:
        return {id for id in ids if id in self._entries}

    def claim_ready(self, queue: str, count: int, before: int) -> list[Entry]:
        order = self._order[queue, State.READY]
        return self._claim(order[:min(count, bisect_left(order, (0.0, before, "")))])

    def claim_due(self, queue: str, count: int, now: float) -> list[Entry]:
        order = self._order[queue, State.DEFERRED]
        return self._claim(order[:min(count, bisect_right(order, (now, self._seq, "~")))])

    def save(self, entries: Iterable[Entry]) -> None:
        for changed in entries:
            if entry := self._leave(changed.id):
                for field in ("state", "due", "attempts", "deaths", "results", "reason"):
                    setattr(entry, field, getattr(changed, field))
                self._enter(entry)

    def remove(self, ids: Iterable[str], ended: Callable[[Entry], str] | None = None) -> list[Entry]:
        removed = [entry for id in ids if (entry := self._leave(id))]
        for entry in removed:
            self._tally[entry.queue, ended(entry) if ended else ACCEPTED] += 1 if ended else -1
        return removed

    def tally(self) -> dict[tuple[str, str], int]:
        return dict(self._tally)

    def correct(self, changes: Mapping[tuple[str, str], int]) -> None:
        self._tally.update(changes)

    def next_due(self, queue: str) -> float | None:
        order = self._order[queue, State.DEFERRED]
        return order[0][0] if order else None

    def clamp(self, queue: str, latest: float) -> int:
        late = [copy(self._entries[id]) for due, _, id in self._order[queue, State.DEFERRED] if due > latest]
        for entry in late:
            entry.due = latest
        self.save(late)
        return len(late)

    def totals(self) -> dict[tuple[str, State], Total]:
        return {key: Total(len(order), sum(self._entries[id].size for _, _, id in order))
                for key, order in self._order.items() if order}

    def scan(self, queue: str, state: State, after: Position, limit: int) -> list[Entry]:
        order = self._order[queue, state]
        first = bisect_right(order, (*after, "~"))
        return [copy(self._entries[id]) for _, _, id in order[first:first + limit]]

    def crowded(self) -> bool:
        return False

    def copy_back(self) -> None:
        """Memory has no log."""

    def restart_log(self) -> None:
        """Memory has no log."""

    def close(self) -> None:
        """Memory has nothing to give back."""

    def _claim(self, chosen: list[tuple[float, int, str]]) -> list[Entry]:
        claimed = []
        for _, _, id in chosen:
            entry = self._leave(id)
            entry.state, entry.due, entry.attempts = State.LEASED, 0.0, entry.attempts + 1
            self._enter(entry)
            claimed.append(copy(entry))
        return claimed

    def _enter(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        insort(self._order[entry.queue, entry.state], (entry.due, entry.seq, entry.id))

    def _leave(self, id: str) -> Entry | None:
        entry = self._entries.pop(id, None)
        if entry:
            order = self._order[entry.queue, entry.state]
            del order[bisect_left(order, (entry.due, entry.seq, entry.id))]
        return entry
