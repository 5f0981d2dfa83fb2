"""How messages come into the queue: slots are given; they come back by push, by enter, or are found after a crash.

Part of core/queue.py. `push` makes durable what somebody wrote: all pushes that arrive while one sync runs share the next one
(core/commit.py). First the slots, then their rows: a row that a power cut left without its slot would pass for a message that was damaged, and
a push of it that is repeated for one that is there. A slot whose sync failed is burnt: the kernel tells of a lost write once and then says that
all is well, so it is never tried again. `enter` takes what its writer has made durable already: then the slot file is the message, and its row
only says so. What a crash kept from being entered, `adopt` finds by the file itself.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from itertools import islice

from fancymail.storage.ports.queue import Entry, IndexFailed, QueueIndex
from fancymail.storage.ports.spool import SlotUnfit, Spool, Told, Written

from .commit import GroupCommit

SLOT_ID = re.compile(r"[a-z2-7]{26}\Z")
RECIPIENT_TEXT = 1000           # characters of recipients kept in the index
GIVEN_KEPT = 100_000            # ids given and not pushed that are remembered
PIECE = 500                     # files looked up at once
ENDED_KEPT = 50_000             # ids of ended messages remembered, twice over, so that a late repetition is understood
EVERYTHING = 1 << 62            # a seq above all


class Refusal(Exception):
    """A verb's `error`: an RFC 3463 status and a sentence."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Intake:
    """Slots, pushes and the syncs of one spool. `pushed(entries)` is called when messages have become durable.

    before: messages from this seq on are not durable yet and must not be handed out. unsynced: something was written to the
    index that no sync has covered yet (set by whoever writes).
    """

    def __init__(self, index: QueueIndex, spool: Spool, options, thread: Executor, readers: Executor,
                 pushed: Callable[[list[Entry]], None], note: Callable[..., None], counters: Counter, wall: Callable[[], float]) -> None:
        self.index, self.spool, self.options, self.thread, self.readers = index, spool, options, thread, readers
        self.pushed, self.note, self.counters, self.wall = pushed, note, counters, wall
        self.slots = GroupCommit(self._sync_slots, thread, finish=self._synced)
        self.commit = GroupCommit(self._sync, thread, write=self._write, finish=self._committed, between=self._tidy)
        self.before = EVERYTHING
        self._behind: list[Entry] = []          # entered while there was a `before`, so behind it, and not told of yet
        self.unsynced = False
        self.broken = ""                # why nothing can be made durable at the moment
        self.works_again = asyncio.Event()      # it can be, and could not: what was found meanwhile has no row yet
        self._pushing: dict[str, Awaitable] = {}
        self._given: set[str] = set()           # ids that we gave and that did not come back: nothing to look up
        self._burnt: set[str] = set()
        self._adopting: set[str] = set()        # somebody may have promised these: whatever the disk says, their files stay
        self._ended: tuple[set[str], set[str]] = (set(), set())

    async def prepare(self, queue: str, count: int) -> None:
        """Have so many files ready for reuse."""
        while (missing := count - self.spool.ready(queue)) > 0:
            self._require_disk()
            try:
                await asyncio.get_running_loop().run_in_executor(self.thread, self.spool.prepare, queue, missing)
            except OSError as error:
                raise Refusal("4.3.0", f"the queue cannot make slots: {error}") from error

    def slot(self, queue: str, count: int, reuse: bool) -> list[str]:
        """Give file names, while there is room."""
        self._require_disk()
        octets, files = self.spool.room()
        if octets < self.options.free_octets or files < self.options.free_files:
            self.counters["full"] += 1
            raise Refusal("4.3.1", "the disk of the queue is full")
        ids = [self.spool.new_id(queue, reuse) for _ in range(count)]
        if len(self._given) < GIVEN_KEPT:
            self._given.update(ids)
        return [self.spool.path(queue, id) for id in ids]

    async def push(self, queue: str, ids: list[str]) -> None:
        """Make messages of written slots; durable when it returns. What can be taken is taken before the first error is raised."""
        failed = None
        for id, wait in [(id, self._push(queue, id)) for id in ids]:
            try:
                if wait is not None:
                    await wait
            except (OSError, IndexFailed) as error:
                failed = failed or Refusal("4.3.0", f"the queue could not store the message: {error}")
            except SlotUnfit as error:
                failed = failed or Refusal("5.6.0", f"{id} is not a whole slot: {error}")
            except Refusal as error:
                failed = failed or error
        if failed:
            raise failed

    def enter(self, queue: str, slots: Iterable[tuple[str, Told]]) -> None:
        """Make messages of slots that their writer has made durable. May be repeated."""
        self._require_disk()
        entries = [self._told(queue, id, told) for id, told in slots if not (id in self._pushing or self._is_known(id))]
        if not entries:
            return
        self.index.add(entries)
        self.unsynced = True
        self.counters["entered"] += len(entries)
        for entry in entries:
            self._given.discard(entry.id)
        if self.before == EVERYTHING:
            self.pushed(entries)
        else:
            self._behind += entries             # whoever heard of them now would find none

    async def adopt(self, queue: str, ids: Iterable[str]) -> list[str]:
        """Make messages of those slots that are whole although nobody told of them: their writer died, or we did. Return which were."""
        found = []
        for id in ids:
            try:
                written = await self._whole(queue, id)
            except (OSError, SlotUnfit):
                continue
            if written and not (id in self._pushing or self._is_known(id)):
                self._adopting.add(id)
                self._pushing[id] = wait = self._store(self._entry(queue, id, written, written.sha256))
                found.append((id, wait))
        done = await asyncio.gather(*(wait for _, wait in found), return_exceptions=True)
        adopted = [id for (id, _), error in zip(found, done) if error is None]
        self.counters["adopted"] += len(adopted)
        for id in adopted:
            self.note("adopted", slot=id, queue=queue)
        return adopted

    async def recover(self, queue: str) -> tuple[int, list[str]]:
        """Look at every file that no row names: what is whole becomes a message. How many did, and the ids of those that are not whole.

        All of them, not only those that this process gave: their writer may have had them from the one before, and have died since we looked.
        """
        adopted, rest = 0, []
        names = (name for name in self.spool.names(queue) if SLOT_ID.match(name))
        while piece := list(islice(names, PIECE)):
            known = self.index.known(piece)
            unknown = [id for id in piece if id not in known and id not in self._pushing]
            taken = set(await self.adopt(queue, unknown))
            adopted += len(taken)
            rest += [id for id in unknown if id not in taken]
            await asyncio.sleep(0)
        return adopted, rest

    async def durable(self) -> None:
        """Return when all that was written before is on the disk."""
        try:
            await self.commit.join()
        except (OSError, IndexFailed) as error:
            raise Refusal("4.3.0", f"the queue could not store it: {error}") from error

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._pushing:
            await asyncio.wait([asyncio.ensure_future(push) for push in self._pushing.values()])
        await self.commit.idle()

    def when_durable(self, call: Callable[[], None]) -> None:
        """Call once all that was written before is on the disk; never, if it cannot be brought there."""
        self.commit.join().add_done_callback(lambda done: done.cancelled() or done.exception() or call())

    def tick(self) -> None:
        """Sync what waits for no one, so that a power cut undoes little; look whether a broken disk works again."""
        if self.unsynced or self.broken or self.index.crowded():
            future = self.commit.join()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def is_pushing(self, id: str) -> bool:
        """Whether a push of this slot is under way."""
        return id in self._pushing

    def is_given(self, id: str) -> bool:
        """Whether we gave this slot and it was not pushed yet: somebody may be writing it."""
        return id in self._given

    @property
    def busy(self) -> bool:
        """Whether pushes are under way: rows that are in the index already, and not counted yet."""
        return bool(self._pushing)

    def was_ended(self, id: str) -> bool:
        """Whether a message ended not long ago: then a repetition of what ended it is fine."""
        return id in self._ended[0] or id in self._ended[1]

    def remember_ended(self, id: str) -> None:
        """Note the end of a message."""
        if len(self._ended[0]) >= ENDED_KEPT:
            self._ended = (set(), self._ended[0])
        self._ended[0].add(id)

    def _require_disk(self) -> None:
        if self.broken:
            raise Refusal("4.3.0", f"the queue cannot store mail: {self.broken}")

    def _push(self, queue: str, id: str) -> Awaitable | None:
        """Begin a push, or find the one that is under way; None when the message is there already."""
        if id in self._pushing:
            return self._pushing[id]
        if id in self._burnt:
            return _failing(Refusal("4.3.0", f"{id} could not be stored; ask for another slot"))
        known = None if id in self._given else self.index.find(id)
        if known is not None and known.queue != queue:
            return _failing(Refusal("5.5.4", f"{id} is not a slot of queue {queue}"))
        if known or (id not in self._given and self.was_ended(id)):
            return None
        try:
            self._require_disk()
            written = self.spool.examine(queue, id)
            if not written.size:
                raise SlotUnfit("it is empty")
        except FileNotFoundError:
            return _failing(Refusal("4.3.0", f"there is no file {id} in queue {queue}"))
        except (OSError, SlotUnfit, Refusal) as error:
            return _failing(error)
        if written.sha256 is None:
            self._pushing[id] = asyncio.ensure_future(self._push_bare(queue, id, written))
        else:
            self._pushing[id] = self._store(self._entry(queue, id, written, written.sha256))
        return self._pushing[id]

    def _store(self, entry: Entry) -> Awaitable:
        """Make a slot durable, and then its row; ends when both are, or raises."""
        storing = asyncio.ensure_future(self._stored(entry))
        storing.add_done_callback(lambda done: done.cancelled() or done.exception())     # whoever pushed may be gone
        return storing

    async def _stored(self, entry: Entry) -> None:
        await self.slots.join(entry)
        await self.commit.join(entry)

    def _is_known(self, id: str) -> bool:
        return id not in self._given and (self.was_ended(id) or self.index.find(id) is not None)

    async def _whole(self, queue: str, id: str) -> Written | None:
        """What a file holds that is a message by itself: it names itself, and its content is what its header says. Its other names, if it has
        any, are the blob store's: the mailbox may have begun to take it in."""
        if id in self._pushing or self._is_known(id):
            return None
        envelope = self.spool.envelope(queue, id)
        if envelope is None or envelope.slot != id:
            return None
        written = await asyncio.get_running_loop().run_in_executor(self.readers, self.spool.whole, queue, id)
        return written if written.size else None

    async def _push_bare(self, queue: str, id: str, written: Written) -> None:
        """A slot without header: nobody said what its content should be, so what it is now becomes the record."""
        try:
            digest = await asyncio.get_running_loop().run_in_executor(self.readers, self.spool.digest, queue, id)
        except BaseException:
            self._pushing.pop(id, None)
            raise
        await self._store(self._entry(queue, id, written, digest))

    def _entry(self, queue: str, id: str, written: Written, digest: bytes) -> Entry:
        envelope = written.envelope
        addresses = " ".join(recipient.address for recipient in envelope.recipients)[:RECIPIENT_TEXT] if envelope else ""
        return Entry(id=id, queue=queue, pushed=self.wall(), size=written.size, sha256=digest, bare=envelope is None,
                     sender=envelope.sender if envelope else "", recipients=addresses,
                     count=len(envelope.recipients) if envelope else 0, message=envelope.id if envelope else id)

    def _told(self, queue: str, id: str, told: Told) -> Entry:
        return Entry(id=id, queue=queue, pushed=self.wall(), size=told.size, sha256=told.sha256, bare=False, sender=told.sender,
                     recipients=" ".join(told.recipients)[:RECIPIENT_TEXT], count=told.count, message=told.message)

    def _write(self, entries: list[Entry]) -> None:
        self.unsynced = False
        if entries:
            self.index.add(entries)
            self.before = entries[0].seq

    def _sync_slots(self, entries: list[Entry]) -> None:
        self.spool.sync([(entry.queue, entry.id) for entry in entries])

    def _sync(self, entries: list[Entry]) -> None:
        self.spool.sync(())

    def _synced(self, entries: list[Entry], error: BaseException | None) -> None:
        if error is not None:
            self._came(entries, error)

    def _committed(self, entries: list[Entry], error: BaseException | None) -> None:
        self.before = EVERYTHING
        self._came(entries, error)
        behind, self._behind = self._behind, []
        if behind:
            self.pushed(behind)

    def _came(self, entries: list[Entry], error: BaseException | None) -> None:
        """These are messages now, or never will be."""
        for entry in entries:
            self._pushing.pop(entry.id, None)
            self._given.discard(entry.id)
        if error is not None:
            self._burn(entries, error)
        elif entries:
            self.counters["pushed"] += len(entries)
            for entry in entries:
                self.note("queued", id=entry.message, slot=entry.id, queue=entry.queue, size=entry.size)
            self.pushed(entries)
        self._adopting.difference_update([entry.id for entry in entries])

    def _burn(self, entries: list[Entry], error: BaseException) -> None:
        self.broken, self.unsynced = str(error), True
        self.counters["sync_failed"] += 1
        self.note("sync failed", reason=str(error), slots=len(entries))
        self._burnt.update(entry.id for entry in entries)
        for entry in entries:
            try:
                if entry.id not in self._adopting:
                    self.spool.remove(entry.queue, entry.id)    # first: a row without a file is nothing
            except OSError:
                continue
        try:
            self.index.remove([entry.id for entry in entries])
        except IndexFailed:
            pass

    def _tidy(self) -> Awaitable | None:
        """Between two batches: bring the index's log home when it is long, or to find out whether the disk works again."""
        return self._restart_log() if self.broken or self.index.crowded() else None

    async def _restart_log(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self.thread, self.index.copy_back)
            self.index.restart_log()
            if self.broken:
                self.note("sync works again")
                self.works_again.set()
            self.broken = ""
        except (OSError, IndexFailed) as error:
            self.broken = str(error)


async def _failing(error: Exception) -> None:
    raise error
