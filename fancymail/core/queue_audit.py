"""The queue's books against its folders: the audit, and taking in again what an index that was lost no longer names.

Used by servers/queue/daemon.py. The index counts what was accepted and how it ended in the transactions that did it, so of every queue
accepted = delivered + bounced + removed + dropped + lost + what is here, to the message. It reads content only of slots that no row
names, never changes a file, and what it cannot judge it reports. How many messages ended is known from nowhere else; so a tally that was spoiled
is made to add up again by what was accepted, and said so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from fancymail.storage.ports.queue import ACCEPTED, Entry, QueueIndex, State, Total
from fancymail.storage.ports.spool import SlotUnfit, Spool

from .intake import Refusal
from .queue import SLOT_ID, QueueManager

ENDS = ("delivered", "bounced", "removed", "dropped", "lost")
PIECE = 500             # rows or files looked at before others get their turn
NAMED = 100             # ids of one kind in an answer
ALL = 1 << 62           # more than there are


@dataclass
class Books:
    """One queue: its tally, its rows by state, and what does not fit together."""

    accepted: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    here: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)        # rows without a file
    unknown: list[str] = field(default_factory=list)        # whole slots without a row: being written, never pushed, or forgotten

    @property
    def difference(self) -> int:
        """Messages that came in and are nowhere; 0 is right."""
        return self.accepted - sum(self.ended.values()) - sum(self.here.values())

    def told(self) -> dict:
        """As a verb's answer."""
        return {"accepted": self.accepted, **self.ended, **self.here, "difference": self.difference, "missing": len(self.missing),
                "unknown": len(self.unknown), "missing_ids": self.missing[:NAMED], "unknown_ids": self.unknown[:NAMED]}


class QueueAudit:
    """Over a running queue."""

    def __init__(self, manager: QueueManager) -> None:
        self.manager, self.index, self.spool = manager, manager.index, manager.spool

    async def books(self) -> dict[str, Books]:
        """All queues. Tally and rows are of one moment; files are looked at afterwards, a few at a time."""
        with suppress(Refusal):                     # a broken disk is no reason to say nothing
            await self.manager.intake.durable()     # what is under way comes to rest
        books = self._counted(self.index.tally(), self.index.totals())
        for queue, book in books.items():
            book.missing = await self._missing(queue)
            book.unknown = await self._unknown(queue)
        return books

    def _counted(self, tally: dict[tuple[str, str], int], totals: dict[tuple[str, State], Total]) -> dict[str, Books]:
        names = dict.fromkeys((*self.manager.options.queues, *(queue for queue, _ in (*tally, *totals))))
        return {queue: Books(tally.get((queue, ACCEPTED), 0), {word: tally.get((queue, word), 0) for word in ENDS},
                             {state.name.lower(): totals[queue, state].messages if (queue, state) in totals else 0 for state in State})
                for queue in names}

    async def mend(self, adopt: bool) -> dict[str, int | list[str]]:
        """Bring the counters in memory in step with the index, end rows whose file is gone for good, if told to take in whole slots that
        the index does not know, and have the tally add up. Answers how many of each, and what was changed in the tally, in words."""
        manager, done = self.manager, {"miscounted": 0, "lost": 0, "adopted": 0}
        if not manager.intake.busy:
            counted = {key: list(total) for key, total in self.index.totals().items()}
            wrong = {key for key in {*counted, *manager.totals} if counted.get(key, [0, 0]) != manager.totals.get(key, [0, 0])}
            done["miscounted"], manager.totals = len(wrong), counted if wrong else manager.totals
        for queue, book in (await self.books()).items():
            done["lost"] += manager.give_up(queue, book.missing)
            if adopt and book.unknown:
                done["adopted"] += manager.adopt(list(recovered(self.spool, queue, book.unknown)))
        changed = self._tallied()
        await manager.intake.durable()
        return done | {"tally": changed}

    def _tallied(self) -> list[str]:
        """Have the tally add up; what was changed. Without a pause, so all of it is of one moment."""
        tally, changes = self.index.tally(), {}
        for queue, book in self._counted(tally, self.index.totals()).items():
            below = {(queue, word): -count for word, count in book.ended.items() if count < 0}
            if missing := sum(below.values()) - book.difference:
                changes |= below | {(queue, ACCEPTED): missing}
        self.index.correct(changes)
        was = {key: tally.get(key, 0) for key in changes}
        for (queue, word), count in changes.items():
            self.manager.note("tally mended", queue=queue, word=word, was=was[queue, word], now=was[queue, word] + count)
        return [f"{queue}: {word} {was[queue, word]}, now {was[queue, word] + count}" for (queue, word), count in changes.items()]

    async def _missing(self, queue: str) -> list[str]:
        found = []
        for seen, entry in enumerate(self.manager.each(queue, State)):
            if seen % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            if not self.spool.find(queue, entry.id) and self.index.find(entry.id) is not None:
                found.append(entry.id)
        if found:                                   # a file that was removed by whoever popped its message is not missing
            self.manager.settle_removed(queue, ALL)
        return [id for id in found if self.index.find(id) is not None]

    async def _unknown(self, queue: str) -> list[str]:
        found = []
        names = (name for name in self.spool.names(queue) if SLOT_ID.match(name))
        while piece := list(islice(names, PIECE)):
            found += [id for id in set(piece) - self.index.known(piece) if self.spool.envelope(queue, id)]
            await asyncio.sleep(0)
        intake = self.manager.intake
        return [id for id in found if not (intake.is_given(id) or intake.is_pushing(id) or self.index.known([id]))]


def rebuild(index: QueueIndex, spool: Spool, queues: list[str]) -> int:
    """Fill an index that was begun anew, because the old one was lost, from the slots in the folders; how many messages.

    Among them may be some that were never answered with 250: better twice than not at all.
    """
    count = 0
    for queue in queues:
        names = (name for name in spool.names(queue) if SLOT_ID.match(name))
        while piece := list(islice(names, PIECE)):
            entries = list(recovered(spool, queue, piece))
            index.add(entries)
            count += len(entries)
    return count


def recovered(spool: Spool, queue: str, ids: list[str]) -> Iterator[Entry]:
    """Entries of those slots whose content is what their header says."""
    for id in ids:
        try:
            written = spool.whole(queue, id)
        except (OSError, SlotUnfit):
            continue
        envelope = written.envelope
        yield Entry(id=id, queue=queue, pushed=envelope.received, size=written.size, sha256=written.sha256, bare=False,
                    sender=envelope.sender, recipients=" ".join(recipient.address for recipient in envelope.recipients)[:1000],
                    count=len(envelope.recipients), message=envelope.id, reason="found in its folder")
