"""The rules of the queue: what a push promises, who gets a message, what ends it.

Asked by servers/queue/daemon.py, one method per verb; decides over an index and a spool (storage.ports) and keeps only leases in memory.
It never reads content, never takes a path from the wire (an id, checked, in a folder of the configuration), and every method may
be repeated: whoever lost an answer asks again and nothing happens twice.

    slot -> push, or enter (durable) -> READY -> LEASED -> done, or DEFERRED, HELD, DEAD (three workers died), CORRUPT
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from types import MappingProxyType

import msgspec

from fancymail.base.crash import crash_point
from fancymail.storage.ports.queue import BEGIN, Entry, QueueIndex, State, Total
from fancymail.storage.ports.spool import SlotUnfit, Spool, Told

from .intake import SLOT_ID, Intake, Refusal
from .lease import Lease, Leases
from .settlement import ending, merge, pending, read, shown
from .taken import Taken

STRAYS = 30.0                   # seconds between two looks for messages that are leased by nobody
BURIAL = 10.0                   # seconds until it is tried again to put a message aside that the disk did not let go
CLOCK_JUMP = 30.0               # seconds between wall and monotonic clock that count as a jump
PLACE = {State.DEAD: "dead", State.CORRUPT: "corrupt"}


class QueueManager:
    """All queues of one spool.

    options: settings.queue. thread: an executor of one thread, for syncs and nothing else; readers: one for hashing. alert(topic) wakes
    subscribers. note(event, **fields) writes a line of the log. monotonic and wall give seconds. Call `open` first, then `tick` when
    the seconds that it returns are over (or earlier).
    """

    intake_class = Intake

    def __init__(self, index: QueueIndex, spool: Spool, options, thread: Executor, readers: Executor, *,
                 alert: Callable[[str], None] = lambda topic: None, note: Callable[..., None] = lambda event, **fields: None,
                 counters: Counter | None = None, monotonic: Callable[[], float] = time.monotonic,
                 wall: Callable[[], float] = time.time) -> None:
        self.index, self.spool, self.options, self.readers = index, spool, options, readers
        self.alert, self.note, self.monotonic, self.wall = alert, note, monotonic, wall
        self.counters = counters if counters is not None else Counter()
        self.leases = Leases()
        self.totals: dict[tuple[str, State], list[int]] = {}
        self.intake = self.intake_class(index, spool, options, thread, readers, self._pushed, note, self.counters, wall)
        self._next_due: dict[str, float | None] = {}
        self._due_turn = 0
        self._offset = 0.0
        self._strays_at = self.monotonic() + STRAYS

    def open(self) -> None:
        """Count what is there; whoever held a message before may settle it within the grace period."""
        self._offset = self.wall() - self.monotonic()
        self.totals = {key: list(total) for key, total in self.index.totals().items()}
        deadline = self.monotonic() + self.options.restart_grace
        for queue in {queue for queue, _ in (*self.totals, *self.index.tally())} | set(self.options.queues):
            self.spool.add(queue)       # a queue that is no longer configured still holds its messages, or stands in the books
            self._clamp(queue)
            for entry in self.each(queue, (State.LEASED,)):
                self.leases.take(queue, entry.id, "", deadline)

    # -- in --------------------------------------------------------------------------------------------------------------------

    def slot(self, queue: str, count: int = 1, reuse: bool = False) -> list[str]:
        """File names to write messages to. reuse: the caller writes with SlotWriter, so a used file will do (`prepare` makes some)."""
        self.check(queue)
        return self.intake.slot(queue, count, reuse)

    async def push(self, queue: str, *paths: str) -> None:
        """Take over written slots; returns when they are on the disk. Slots that are there already are fine."""
        await self.intake.push(queue, [self.id_of(queue, path) for path in paths])

    def enter(self, queue: str, slots: Iterable[tuple[str, Told]]) -> None:
        """Take slots that their writer has made durable: what it tells of each is believed, as the content of its messages is."""
        self.intake.enter(queue, [(self.id_of(queue, path), told) for path, told in slots])

    async def recover(self, queue: str) -> int:
        """A writer began anew: what it made durable before and did not tell of becomes messages; how many."""
        self.check(queue)
        return (await self.intake.recover(queue))[0]

    # -- out -------------------------------------------------------------------------------------------------------------------

    def take(self, queue: str, count: int, holder: str, popped: bool = False) -> list[Entry]:
        """Hand out up to `count` messages; whoever holds them settles, defers or renews within the lease."""
        self.check(queue)
        if popped:
            self.settle_removed(queue, count + 2)
        taken: list[Entry] = []
        while len(taken) < count and (claimed := self._claim(queue, count - len(taken))):
            deadline = self.monotonic() + self.options.queues[queue].lease
            for entry in claimed:
                if not self.present(entry):
                    continue
                self.leases.take(queue, entry.id, holder, deadline, popped)
                taken.append(entry)
        self.counters["taken"] += len(taken)
        return taken

    def told(self, entry: Entry) -> Taken:
        """What `take` says of a message."""
        return Taken(entry.id, entry.attempts, pending(entry), entry.pushed, entry.size, msgspec.Raw(shown(entry)))

    def done(self, queue: str, *paths: str) -> None:
        """End messages: they are settled. Fine in any state, from anybody who knows the path, any number of times."""
        ids = [self.id_of(queue, path) for path in paths]
        for id in ids:
            self._require_in(queue, id, self.leases.get(id) or self.index.find(id))
        self._end(queue, ids, "done")

    async def finish(self, queue: str, *paths: str) -> None:
        """As `done`; durable when it returns."""
        self.done(queue, *paths)
        await self.intake.durable()

    def give_back(self, queue: str, entries: Iterable[Entry]) -> None:
        """What was taken did not reach whoever was to have it: as if it had not been taken."""
        for entry in entries:
            if self.leases.end(entry.id) and (found := self.index.find(entry.id)) and found.state is State.LEASED:
                found.attempts -= 1
                self.change(found, State.READY)
        self.alert(queue)

    async def result(self, queue: str, path: str, *results: str | bytes | list) -> bool:
        """Keep what became of recipients, all or nothing; durable when it returns. True when all are settled, which ends the message."""
        answer, = self._report(queue, [(path, results)])
        if isinstance(answer, Refusal):
            raise answer
        await self.intake.durable()
        return answer

    async def settle(self, queue: str, reports: Iterable[tuple[str, str | bytes]]) -> list[bool | Refusal]:
        """As `result` for each of several messages, with one sync; what is wrong with one is its answer and concerns no other."""
        answers = self._report(queue, [(path, (results,)) for path, results in reports])
        await self.intake.durable()
        return answers

    def _report(self, queue: str, reports: Iterable[tuple[str, Iterable[str | bytes | list]]]) -> list[bool | Refusal]:
        """Write down what became of recipients, of all these messages together; for each whether it ended, or what is wrong with its report."""
        entries: dict[str, Entry] = {}
        answers = [self._merged(queue, path, results, entries) for path, results in reports]
        ended = {id: ending(entry) for id, entry in entries.items() if _settled(entry)}
        if left := [entry for id, entry in entries.items() if id not in ended]:
            self.index.save(left)
        if ended:
            self._end(queue, list(ended), "done", ended)
        return answers

    def _merged(self, queue: str, path: str, results: Iterable[str | bytes | list], entries: dict[str, Entry]) -> bool | Refusal:
        """Merge a report into its entry, which is one of `entries` from then on: another one of the same message finds what this one brought."""
        try:
            id = self.id_of(queue, path)
            news = [result for part in results for result in read(part)]
            if self.intake.was_ended(id):
                return True
            entry = entries.get(id) or self._known(queue, id)
            merge(entry, news)
        except Refusal as refusal:
            return refusal
        entries[id] = entry
        return _settled(entry)

    def defer(self, queue: str, path: str, seconds: float, reason: str = "") -> None:
        """Give a message back until `seconds` from now. Ignored when the lease is over: somebody else may have it."""
        id = self.id_of(queue, path)
        if self.intake.was_ended(id):
            return
        entry = self._known(queue, id)
        if entry.state is not State.LEASED:
            return
        self.leases.end(id)
        entry.due = self.wall() + min(max(seconds, 0.0), self.options.queues[queue].longest_defer)
        entry.deaths, entry.reason = 0, reason
        self.change(entry, State.DEFERRED)
        if self._next_due.get(queue) is None or entry.due < self._next_due[queue]:
            self._next_due[queue] = entry.due
        self.counters["deferred"] += 1
        if seconds <= 0:
            self.alert(queue)

    def renew(self, queue: str, path: str, seconds: float, holder: str) -> float:
        """Hold a message for `seconds` more (at most the queue's lease); returns how long. One that fell back is taken again."""
        id = self.id_of(queue, path)
        entry = self._known(queue, id)
        seconds = min(seconds, self.options.queues[queue].lease) or self.options.queues[queue].lease
        deadline, lease = self.monotonic() + seconds, self.leases.get(id)
        if lease and lease.holder in ("", holder):
            lease.holder = holder
            self.leases.renew(lease, deadline)
        elif entry.state is State.READY and not lease:
            self.change(entry, State.LEASED)
            self.leases.take(queue, id, holder, deadline)
        else:
            raise Refusal("4.5.0", f"the lease of {id} is over: the message is {entry.state.name.lower()}")
        return seconds

    async def reject(self, queue: str, path: str, reason: str) -> None:
        """A consumer cannot handle a message: it goes to corrupt/ if its content isn't what was pushed, otherwise to dead/."""
        id = self.id_of(queue, path)
        # The row of a message that was entered may not be on the disk yet. It has to be before its file leaves the queue's folder: nobody
        # looks into dead/ and corrupt/ for files that no row names.
        await self.intake.durable()
        if self.intake.was_ended(id):
            return
        entry = self._known(queue, id)
        if entry.state in PLACE or not self.present(entry):
            return
        try:
            self.spool.examine(queue, id)
            whole = await self.digest(queue, entry) == entry.sha256
        except (OSError, SlotUnfit):
            whole = False
        self.leases.end(id)
        entry.reason = f"{'its consumer says' if whole else 'content differs from what was pushed'}: {reason}"[:500]
        self.set_aside(entry, State.DEAD if whole else State.CORRUPT)
        await self.intake.durable()

    def resume(self, queue: str, holder: str) -> int:
        """A consumer began anew: what it held when it died is ready again; how many. Whoever held a single one may have died of it."""
        self.check(queue)
        held = self.leases.of(queue, holder) + self.leases.of(queue, "")        # the queue may have died with it: then holders are unknown
        for lease in held:
            self.leases.end(lease.id)
            self._expire(queue, lease.id, blame=len(held) == 1 and bool(lease.holder))
        return len(held)

    # -- time ------------------------------------------------------------------------------------------------------------------

    def tick(self) -> float:
        """Do what time has brought: leases that ended, messages that are due, a clock that jumped. Seconds until the next."""
        now, wall = self.monotonic(), self.wall()
        if abs(wall - now - self._offset) > CLOCK_JUMP:
            self.note("clock jumped", seconds=round(wall - now - self._offset))
            for queue in self._next_due:
                self._clamp(queue)
        self._offset = wall - now
        for lease in self.leases.expired(now):
            self._expire(lease.queue, lease.id, blame=bool(lease.holder))
        if now >= self._strays_at:
            self._strays_at = now + STRAYS
            self._find_strays(now + self.options.restart_grace)
        waits = [15.0]
        for queue, due in self._next_due.items():
            if due is not None and due <= wall:
                self.alert(queue)
        if (until_due := self.seconds_to_due()) is not None:
            waits.append(until_due)
        if (deadline := self.leases.next_deadline()) is not None:
            waits.append(deadline - now)
        self.intake.tick()
        return max(min(waits), 0.05)

    def seconds_to_due(self) -> float | None:
        """Seconds until the next deferred message is due that isn't yet."""
        wall = self.wall()
        return min((due - wall for due in self._next_due.values() if due is not None and due > wall), default=None)

    def _find_strays(self, deadline: float) -> None:
        """The disk may have refused what would have ended a lease, or begun one: no message waits for a restart because of that."""
        for queue in self.options.queues:
            for entry in self.each(queue, (State.LEASED,)):
                if self.leases.get(entry.id) is None:
                    self.note("leased by nobody", id=entry.message, slot=entry.id, queue=queue)
                    self.leases.take(queue, entry.id, "", deadline)

    def _expire(self, queue: str, id: str, blame: bool) -> None:
        entry = self.index.find(id)
        if entry is None or entry.state is not State.LEASED or not self.present(entry):
            return
        self.counters["leases_expired"] += 1
        entry.deaths += blame
        self.note("lease over", id=entry.message, slot=id, queue=queue, deaths=entry.deaths, attempts=entry.attempts)
        options = self.options.queues.get(queue)
        if options and entry.deaths >= options.deaths:
            entry.reason = f"{entry.deaths} consumers in a row took it and were never heard of again"
            self.index.save([entry])
            self.leases.take(queue, id, "", self.monotonic() + BURIAL)
            self.intake.when_durable(lambda: self._bury(queue, id))
        else:
            self.change(entry, State.READY)
            self.alert(queue)

    def _bury(self, queue: str, id: str) -> None:
        """Put a message aside. Its row is on the disk by now: nobody looks into dead/ for files that no row names."""
        entry, lease = self.index.find(id), self.leases.get(id)
        if entry is not None and entry.state is State.LEASED and lease and not lease.holder and self.present(entry):
            self.set_aside(entry, State.DEAD)
            self.leases.end(id)

    # -- what the operator's side and the server share -------------------------------------------------------------------------

    def check(self, queue: str) -> None:
        """Raise Refusal unless the queue is configured."""
        if queue not in self.options.queues:
            raise Refusal("5.5.4", f"no such queue: {queue}")

    def id_of(self, queue: str, path: str) -> str:
        """The id in a file name that we gave, as ours to the letter; a bare id will do. Raises Refusal."""
        self.check(queue)
        id = path.rpartition("/")[2]
        if not SLOT_ID.match(id) or path not in (id, self.spool.path(queue, id)):
            raise Refusal("5.5.4", f"not a slot of queue {queue}")
        return id

    def path(self, entry: Entry) -> str:
        """The file name of a message where it is now."""
        return self.spool.path(PLACE.get(entry.state, entry.queue), entry.id)

    def change(self, entry: Entry, state: State) -> None:
        """Bring a message into another state and write it down."""
        old, entry.state = entry.state, state
        if state is not State.DEFERRED:
            entry.due = 0.0
        self.index.save([entry])
        self._count(entry.queue, old, -1, -entry.size)
        self._count(entry.queue, state, 1, entry.size)
        self.intake.unsynced = True

    async def digest(self, place: str, entry: Entry) -> bytes:
        """SHA-256 of a message's content as it is now. Raises OSError, SlotUnfit."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, self.spool.digest, place, entry.id)

    def set_aside(self, entry: Entry, state: State) -> None:
        """Move a message to dead/ or corrupt/ and raise the alarm; only an operator brings it back or drops it."""
        self.spool.move(entry.id, entry.queue, PLACE[state])
        crash_point("queue.aside")
        self.change(entry, state)
        self.counters[state.name.lower()] += 1
        self.note(state.name.lower(), id=entry.message, slot=entry.id, queue=entry.queue, reason=entry.reason)
        self.alert(state.name.lower())

    def drop(self, queue: str, ids: list[str]) -> int:
        """End messages for good in whatever state they are; how many there were."""
        return self._end(queue, ids, "dropped")

    def give_up(self, queue: str, ids: list[str]) -> int:
        """End messages whose files are gone; how many there were."""
        return self._end(queue, ids, "lost")

    def settle_removed(self, queue: str, count: int) -> None:
        """Of up to `count` messages that were popped and are in work, end those whose holders have removed their files: that settles them."""
        if gone := [id for id in self.leases.some_popped(queue, count) if not self.spool.find(queue, id)]:
            self._end(queue, gone, "removed")

    def adopt(self, entries: list[Entry]) -> int:
        """Take in whole slots that lie in the folders and that the index does not know; how many."""
        self.index.add(entries)
        self._pushed(entries)
        for entry in entries:
            self.note("taken in", id=entry.message, slot=entry.id, queue=entry.queue, size=entry.size)
        self.counters["adopted"] += len(entries)
        self.intake.unsynced = True
        return len(entries)

    def each(self, queue: str, states: Iterable[State]):
        """Walk through the messages of a queue, by state, a few hundred at a time."""
        for state in states:
            position = BEGIN
            while page := self.index.scan(queue, state, position, 500):
                yield from page
                position = (page[-1].due, page[-1].seq)

    def total(self, queue: str, state: State) -> Total:
        """How many messages and octets a queue holds in a state."""
        return Total(*self.totals.get((queue, state), (0, 0)))

    # -- inside ----------------------------------------------------------------------------------------------------------------

    def _claim(self, queue: str, count: int) -> list[Entry]:
        """Up to half for those that were deferred, so that neither they nor new mail wait for the other's end."""
        now, due, self._due_turn = self.wall(), [], self._due_turn ^ 1
        waiting = self._next_due.get(queue)
        if waiting is not None and waiting <= now and (share := (count + self._due_turn) // 2):
            due = self._claim_due(queue, share, now)
        ready = self.index.claim_ready(queue, count - len(due), self.intake.before) if self.total(queue, State.READY).messages else []
        if len(due) + len(ready) < count and self._next_due.get(queue) is not None and self._next_due[queue] <= now:
            due += self._claim_due(queue, count - len(due) - len(ready), now)
        for old, entries in ((State.DEFERRED, due), (State.READY, ready)):
            for entry in entries:
                self._count(queue, old, -1, -entry.size)
                self._count(queue, State.LEASED, 1, entry.size)
        return due + ready

    def _claim_due(self, queue: str, count: int, now: float) -> list[Entry]:
        claimed = self.index.claim_due(queue, count, now)
        self._next_due[queue] = self.index.next_due(queue)
        return claimed

    def present(self, entry: Entry) -> bool:
        """Whether a message's file is in its folder. When somebody removed it, that settled it; when a crash came between moving
        a file and writing it down, the file tells."""
        place = self.spool.find(entry.queue, entry.id)
        if place == entry.queue:
            return True
        if place:
            entry.reason = entry.reason or "found there after a crash"
            self.change(entry, State.DEAD if place == "dead" else State.CORRUPT)
        else:
            self._end(entry.queue, [entry.id], "removed")
        return False

    def _end(self, queue: str, ids: list[str], how: str, words: Mapping[str, str] = MappingProxyType({})) -> int:
        """Forget messages: `how` for the log, `words` by id for the tally, where they are known and not the same.

        First the file goes: one that is whole and has no row would be taken for a message after a crash.
        """
        for id in ids:
            # Only what is a message: a slot that is being written is not ours to remove.
            if (self.leases.end(id) or self.index.known([id])) and how != "removed":
                self.spool.retire(queue, id)
        crash_point("queue.retired")
        removed = self.index.remove(ids, lambda entry: words.get(entry.id) or (ending(entry) if how == "done" else how))
        crash_point("queue.ended")
        for entry in removed:
            self._count(entry.queue, entry.state, -1, -entry.size)
            if entry.state in PLACE:
                self.spool.remove(PLACE[entry.state], entry.id)
            self.intake.remember_ended(entry.id)
            if how != "done":           # of those the consumer's own lines tell
                self.note(how, id=entry.message, slot=entry.id, queue=entry.queue, was=entry.state.name.lower())
        self.counters[how] += len(removed)
        self.intake.unsynced = self.intake.unsynced or bool(removed)
        return len(removed)

    def _known(self, queue: str, id: str) -> Entry:
        entry = self.index.find(id)
        self._require_in(queue, id, entry)
        if entry is None:
            raise Refusal("5.5.0", f"no message {id}")
        return entry

    @staticmethod
    def _require_in(queue: str, id: str, found: Entry | Lease | None) -> None:
        """A name of one queue says nothing in another: who has one queue has no other."""
        if found is not None and found.queue != queue:
            raise Refusal("5.5.4", f"{id} is not a slot of queue {queue}")

    def _count(self, queue: str, state: State, messages: int, octets: int) -> None:
        total = self.totals.setdefault((queue, state), [0, 0])
        total[0] += messages
        total[1] += octets

    def _clamp(self, queue: str) -> None:
        """The clock may have been wrong: no message waits longer than it could have been told to."""
        if options := self.options.queues.get(queue):
            self.index.clamp(queue, self.wall() + options.longest_defer)
        self._next_due[queue] = self.index.next_due(queue)

    def _pushed(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._count(entry.queue, State.READY, 1, entry.size)
        for queue in {entry.queue for entry in entries}:
            self.alert(queue)


def _settled(entry: Entry) -> bool:
    return entry.count > 0 and not pending(entry)
