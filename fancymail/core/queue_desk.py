"""The operator's side of the queue: look at messages, hold, release, retry and drop them.

Used by servers/queue/operating.py. Messages are chosen by id or file name, by `all`, or by conditions that must all be true:

    state=deferred  sender=*@example.org  recipient=*@example.net  older=3600  younger=60  larger=1000000

A million messages are walked through in pieces, so that nobody waits meanwhile. It never reads content.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from fnmatch import fnmatchcase

import msgspec

from fancymail.storage.ports.queue import Entry, State
from fancymail.storage.ports.spool import SlotUnfit

from .intake import Refusal
from .queue import PLACE, SLOT_ID, QueueManager
from .settlement import pending, shown

PIECE = 200             # messages handled before others get their turn
SHOWN = 40              # recipients that are shown of one message: an answer has 64 KiB, and each may have said much

_decode = msgspec.json.Decoder().decode


class Choice:
    """Which messages are meant: ids, or conditions. Raises Refusal for a word that is neither."""

    def __init__(self, manager: QueueManager, queue: str, words: tuple[str, ...]) -> None:
        if not any(queue == known for known, _ in manager.totals):      # one that is configured no more may still hold messages
            manager.check(queue)
        self.ids: list[str] = []
        self.states = tuple(State)
        self.conditions = []
        for word in words:
            name, equals, value = word.partition("=")
            if equals and not SLOT_ID.match(word):
                self._add(name, value)
            elif word != "all":
                self.ids.append(self._id(manager, queue, word))
        if self.ids and (self.conditions or len(self.ids) != len(words)):
            raise Refusal("5.5.4", "give either messages or conditions")

    def accepts(self, entry: Entry, now: float) -> bool:
        """Whether all conditions are true of a message."""
        return all(condition(entry, now) for condition in self.conditions)

    @staticmethod
    def _id(manager: QueueManager, queue: str, word: str) -> str:
        name = word.rpartition("/")[2]
        places = (queue, *PLACE.values())
        if not SLOT_ID.match(name) or word not in (name, *(manager.spool.path(place, name) for place in places)):
            raise Refusal("5.5.4", f"not a message of queue {queue}, not `all`, no condition: {word[:80]}")
        return name

    def _add(self, name: str, value: str) -> None:
        if name == "state":
            names = {state.name.lower(): state for state in State}
            if value not in names:
                raise Refusal("5.5.4", f"a state is one of {', '.join(names)}")
            self.states = (names[value],)
            self.conditions.append(lambda entry, now: True)
        elif name == "sender":
            pattern = value.lower()
            self.conditions.append(lambda entry, now: fnmatchcase(entry.sender.lower(), pattern))
        elif name == "recipient":
            pattern = value.lower()
            self.conditions.append(lambda entry, now: any(fnmatchcase(each, pattern) for each in entry.recipients.lower().split()))
        elif name in ("older", "younger", "larger"):
            if not (value.isascii() and value.isdigit() and len(value) <= 15):
                raise Refusal("5.5.4", f"{name} needs a number")
            number = int(value)
            self.conditions.append({"older": lambda entry, now: now - entry.pushed > number,
                                    "younger": lambda entry, now: now - entry.pushed < number,
                                    "larger": lambda entry, now: entry.size > number}[name])
        else:
            raise Refusal("5.5.4", f"no condition {name[:40]!r}: there are state, sender, recipient, older, younger, larger")


class QueueDesk:
    """What an operator may do with messages; every method returns how many it changed."""

    def __init__(self, manager: QueueManager) -> None:
        self.manager = manager

    async def chosen(self, queue: str, *words: str) -> AsyncIterator[Entry]:
        """The messages that are meant, letting others have their turn now and then."""
        manager, choice = self.manager, Choice(self.manager, queue, words)
        if choice.ids:
            for id in choice.ids:
                entry = manager.index.find(id)
                if entry is None or entry.queue != queue:
                    raise Refusal("5.5.0", f"no message {id} in queue {queue}")
                yield entry
            return
        for seen, entry in enumerate(manager.each(queue, choice.states)):
            if seen % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            if choice.accepts(entry, manager.wall()):
                yield entry

    async def hold(self, queue: str, *words: str) -> int:
        """Hand these messages to nobody until they are released; one that is being worked on may still be settled."""
        return await self._change(queue, words, (State.READY, State.LEASED, State.DEFERRED), State.HELD, "held by the operator")

    async def release(self, queue: str, *words: str) -> int:
        """End the hold of these messages."""
        return await self._change(queue, words, (State.HELD,), State.READY, "")

    async def retry(self, queue: str, *words: str) -> int:
        """Make deferred, dead and (when their content is whole) corrupt messages ready at once."""
        count = await self._change(queue, words, (State.DEFERRED, State.DEAD, State.CORRUPT), State.READY, "")
        return count

    async def drop(self, queue: str, *words: str) -> int:
        """Remove these messages for good; nobody is told."""
        if not words:
            raise Refusal("5.5.4", "say which messages, or `all`")
        count, ids = 0, []
        async for entry in self.chosen(queue, *words):
            ids.append(entry.id)
        for first in range(0, len(ids), PIECE):
            count += self.manager.drop(queue, ids[first:first + PIECE])
            await asyncio.sleep(0)
        await self.manager.intake.durable()
        return count

    def show(self, queue: str, word: str) -> dict:
        """All that is known of one message; of very many recipients the first, so that it fits into an answer."""
        manager = self.manager
        choice = Choice(manager, queue, (word,))
        entry = manager.index.find(choice.ids[0]) if choice.ids else None
        if entry is None or entry.queue != queue:
            raise Refusal("5.5.0", f"no message {word[:80]} in queue {queue}")
        lease = manager.leases.get(entry.id)
        envelope = manager.spool.envelope(PLACE.get(entry.state, queue), entry.id)
        if envelope is not None and len(envelope.recipients) > SHOWN:
            envelope = replace(envelope, recipients=envelope.recipients[:SHOWN])
        return {"id": entry.id, "queue": queue, "state": entry.state.name.lower(), "message": entry.message,
                "path": manager.path(entry), "size": entry.size, "sha256": entry.sha256.hex(), "bare": entry.bare,
                "pushed": entry.pushed, "due": entry.due or None, "attempts": entry.attempts, "deaths": entry.deaths,
                "reason": entry.reason, "sender": entry.sender,
                "recipients": [recipient.address for recipient in envelope.recipients[:SHOWN]] if envelope else entry.recipients.split(),
                "count": entry.count, "pending": pending(entry)[:SHOWN], "results": _decode(shown(entry)),
                "lease": {"holder": lease.holder, "seconds": round(lease.deadline - manager.monotonic(), 1)} if lease else None,
                "envelope": msgspec.to_builtins(envelope) if envelope else None}

    def queues(self) -> list[tuple]:
        """(name, ready, leased, deferred, held, dead, corrupt, octets) of each queue, from counters."""
        names = dict.fromkeys((*self.manager.options.queues, *sorted(queue for queue, _ in self.manager.totals)))
        rows = []
        for name in names:
            totals = [self.manager.total(name, state) for state in State]
            rows.append((name, *(total.messages for total in totals), sum(total.octets for total in totals)))
        return rows

    async def _change(self, queue: str, words: tuple[str, ...], states: tuple[State, ...], target: State, reason: str) -> int:
        if not words:
            raise Refusal("5.5.4", "say which messages, or `all`")
        count, alike = 0, []
        async for entry in self.chosen(queue, *words):
            if entry.state in states:
                alike.append(entry)
            if len(alike) >= PIECE:
                count += await self._change_some(alike, target, reason)
                alike = []
        count += await self._change_some(alike, target, reason)
        await self.manager.intake.durable()
        if target is State.READY and count:
            self.manager.alert(queue)
        return count

    async def _change_some(self, entries: list[Entry], target: State, reason: str) -> int:
        """Change messages; each is looked at again, for others had their turn since it was read."""
        count = 0
        for seen in entries:
            entry = self.manager.index.find(seen.id)
            if entry is None or entry.state is not seen.state or not await self._brought_back(entry):
                continue
            self.manager.leases.end(entry.id)
            entry.reason, entry.deaths = reason, 0
            self.manager.change(entry, target)
            self.manager.note("held" if target is State.HELD else "made ready", id=entry.message, slot=entry.id, queue=entry.queue,
                              was=seen.state.name.lower())
            count += 1
        return count

    async def _brought_back(self, entry: Entry) -> bool:
        """Move the file of a message that was set aside into its queue, after reading it when it was called corrupt. It may lie there already,
        when a crash came between this and writing it down."""
        manager = self.manager
        if entry.state not in PLACE:
            return True
        place = manager.spool.find(entry.queue, entry.id)
        if place and entry.state is State.CORRUPT:
            try:
                digest = await manager.digest(place, entry)
            except (OSError, SlotUnfit):
                return False
            if digest != entry.sha256:
                return False
        return place == entry.queue or bool(place) and manager.spool.move(entry.id, place, entry.queue)
