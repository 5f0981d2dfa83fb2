"""fm-queue: slots, pushes and pops; the only daemon that opens STATE/queues.

Thin: every verb is a method of core/queue.py (the rules), asked with values that the verb's declaration has checked; those of the operator
are in operating.py. Here live the threads, the clock and the timers. It never reads the content of a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from itertools import chain

import msgspec

from fancymail.base.clock import boot_clock
from fancymail.base.metrics import labelled
from fancymail.base.settings import Paths
from fancymail.core import taken
from fancymail.core.intake import Refusal
from fancymail.core.orphans import Orphans
from fancymail.core.queue import QueueManager
from fancymail.core.queue_audit import QueueAudit, rebuild
from fancymail.core.queue_desk import QueueDesk
from fancymail.core.queue_node import NodeQueue
from fancymail.core.remains import settle_remains
from fancymail.ipc.message import IpcError, Reply
from fancymail.ipc.packing import pack
from fancymail.ipc.verb import Caller, Count, Json, QueueName, Raw, Seconds, SlotPath, Text, verb
from fancymail.servers.containment.reach import Reach
from fancymail.servers.running.daemon import Daemon
from fancymail.servers.running.nodes import Alone
from fancymail.storage.ports.queue import Entry, Fenced, IndexFailed, State
from fancymail.storage.ports.spool import Told
from fancymail.storage.spool import PROVEN, DiskSpool
from fancymail.storage.sqlite.queue import open_index

from .operating import OperatorVerbs
from .refusals import refusals
from .waiting import Waiting

WRITERS = "smtpin smtpout mailbox"
ENTRANTS = "smtpin"         # who makes its slots durable by itself
CONSUMERS = "mailbox smtpout"
FILLED = ("incoming", "outgoing")     # what our own daemons write into
SWEEP = 3600.0              # seconds between two looks for orphans
MENDED = 12                 # signs of life of a node between two looks for messages that fell through
TAKE_LIMIT = 256            # messages of one `take`: two frames for each must fit into one answer


class QueueServer(OperatorVerbs, Daemon):
    """The mail queue."""

    name = "queue"
    stores = True

    @classmethod
    def reach(cls, settings, paths: Paths) -> Reach:
        """The queues, and subscribers."""
        return Reach(keeps=(paths.queues,), answers=True)

    async def started(self) -> None:
        options = self.settings.queue
        self.thread = ThreadPoolExecutor(1, "sync")
        self.readers = ThreadPoolExecutor(2, "hash")
        self.alone, manager, self._on_time = nullcontext(), QueueManager, self._tick
        self.crashed, self.settled, self.swept = False, asyncio.Event(), asyncio.Event()
        if self.cluster is None:
            new = self._open_files()
        else:
            (self.index, self.spool), new, manager, self.alone = self.cluster.queue(), False, NodeQueue, Alone(self.cluster.db)
            self._on_time = lambda: self.spawn(self._tick_beside(), "tick")
        self.waiting = Waiting(self._take)
        self.manager = manager(self.index, self.spool, options, self.thread, self.readers,
                               alert=self._news, note=self.log.info, counters=self.counters)
        self.manager.open()
        self.manager.intake.unsynced = new
        self.desk, self.auditor = QueueDesk(self.manager), QueueAudit(self.manager)
        self.orphans = Orphans(self.index, self.spool, self.manager.intake, options.orphan_age, boot_clock)
        self._gauges()
        self.timer = self.loop.call_later(0, self._on_time)
        self.spawn(self._sweep(), "orphans")
        self.spawn(self._settle_remains(), "remains")
        if self.cluster is not None:
            self.spawn(self._live(), "node")

    def _open_files(self) -> bool:
        """On one machine: the index and the folders of slots. Whether the index is new."""
        options, folder = self.settings.queue, self.paths.queues
        self.spool = DiskSpool(folder, options.queues, folder / "index.db-wal", recycle=options.recycle)
        self.crashed = (folder / "index.db-wal").exists()       # whoever ends in order moves it into the index
        self.index, new, wrong = open_index(folder / "index.db", cache=options.cache)
        if new and (found := rebuild(self.index, self.spool, list(options.queues))):
            self.log.error("index made anew from the slots", messages=found, reason=wrong or "there was none")
        if (kind := self.spool.filesystem()) not in PROVEN:
            self.log.warning("filesystem not proven", kind=kind, proven=",".join(PROVEN), folder=str(folder))
        return new

    async def stopping(self) -> None:
        self.timer.cancel()
        for door in self.server.doors:
            door.wire.deafen()          # a push that we cannot keep any more is kept by the next process, not refused by us
        await self.manager.intake.idle()
        await self.server.finish(1.0)
        self.thread.shutdown()
        self.readers.shutdown()
        self.index.close()
        self.spool.close()

    def reloaded(self, settings) -> None:
        for queue in settings.queue.queues:
            self.spool.add(queue)
        self.manager.options = self.manager.intake.options = settings.queue
        self.orphans.age = settings.queue.orphan_age

    def check_topic(self, topic: str) -> None:
        if topic not in self.settings.queue.queues and topic not in ("dead", "corrupt"):
            raise IpcError("5.5.4", f"no such queue: {topic}")

    # -- in ------------------------------------------------------------------------------------------------------------

    @verb(callers=WRITERS)
    async def slot(self, queue: QueueName, count: Count = 1, *, caller: Caller) -> list[str]:
        """Request slot files of a queue; write one, close it, then push it."""
        with refusals():
            self._require(caller, queue in FILLED)
            if reuse := caller.role in WRITERS.split():
                self.manager.check(queue)
                await self.manager.intake.prepare(queue, count)
            return self.manager.slot(queue, count, reuse)

    @verb(callers=WRITERS)
    async def push(self, queue: QueueName, *slots: SlotPath, caller: Caller) -> None:
        """Have the queue take over written slots; ok means that the messages are on the disk."""
        if not slots:
            raise IpcError("5.5.4", "parameter 2, slot, is missing")
        with refusals():
            self._require(caller, queue in FILLED)
            await self.manager.push(queue, *slots)

    @verb(callers=ENTRANTS, operator=False)
    def enter(self, queue: QueueName, *slots: Raw) -> None:
        """Take slots that their writer has written and made durable. slots: JSON, a list of [file name, what it holds], as many as fit."""
        with refusals():
            if queue not in FILLED:
                raise IpcError("5.7.1", "this is no queue that writers enter slots into")
            self.manager.enter(queue, [slot for frame in slots for slot in _entered(frame)])

    @verb(callers=ENTRANTS, operator=False)
    async def recover(self, queue: QueueName) -> int:
        """Said by a writer that begins anew: what it made durable before and did not enter is a message now. Answers how many there were."""
        with refusals():
            return await self.manager.recover(queue)

    # -- out -----------------------------------------------------------------------------------------------------------

    @verb(callers=CONSUMERS, remember=True)
    def pop(self, queue: QueueName, count: Count = 1, *, caller: Caller) -> list[str]:
        """Get the next messages; remove a file, or say done, to settle it. An error when there is none."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            entries = self.manager.take(queue, min(count, TAKE_LIMIT), caller.role, popped=True)
        if not entries:
            raise IpcError("4.0.0", f"no message in queue {queue}")
        return [self.manager.path(entry) for entry in entries]

    @verb(callers=CONSUMERS, remember=True)
    def take(self, queue: QueueName, count: Count, *, caller: Caller) -> list:
        """Get up to count messages, for each its slot and JSON: id, attempts, pending recipients, first, size. None: ok alone."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            entries = self.manager.take(queue, min(count, TAKE_LIMIT), caller.role)
        return list(chain.from_iterable((self.manager.path(entry), self.manager.told(entry)) for entry in entries))

    @verb(callers=CONSUMERS, remember=True)
    async def consume(self, queue: QueueName, count: Count, seconds: Seconds, *done: Raw, caller: Caller) -> AsyncIterator[Reply]:
        """As take, but waits for the first message, at most for so many seconds, and tells of many in one parameter: JSON, a list of
        [slot, what take tells], as many as fit. done: what is settled by now, JSON, a list of slots. One of a role waits for a queue:
        who asks again ends what was asked before."""
        with refusals():
            self._require_consumer(caller, queue)
            if done:
                with self.alone:
                    self.manager.done(queue, *_listed(done))
            entries = await self.waiting.take(queue, min(count, TAKE_LIMIT), caller.role, seconds)
        reached = False
        try:
            yield Reply("ok", *pack([taken.write((self.manager.path(entry), self.manager.told(entry))) for entry in entries]))
            reached = True
        finally:
            if entries and not reached:         # whoever waited is gone: nobody shall wait for the end of its leases
                self.spawn(self._give_back(queue, entries), "give back")

    @verb(callers=CONSUMERS, operator=False)
    async def leave(self, queue: QueueName, *, caller: Caller) -> None:
        """Said by a consumer that ends: its consume is answered, with nothing if there was nothing."""
        with refusals():
            self._require_consumer(caller, queue)
        await asyncio.sleep(0)              # a consume that came just before has begun only now
        self.waiting.leave(queue, caller.role)

    @verb(callers=CONSUMERS)
    async def finish(self, queue: QueueName, *slots: Raw, caller: Caller) -> None:
        """As done, and ok means that it is on the disk. slots: JSON, a list of file names, as many as fit."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            await self.manager.finish(queue, *_listed(slots))

    @verb(callers=CONSUMERS)
    def done(self, queue: QueueName, *slots: SlotPath, caller: Caller) -> None:
        """Settle messages: they leave the queue."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            self.manager.done(queue, *slots)

    @verb(callers=CONSUMERS)
    async def result(self, queue: QueueName, slot: SlotPath, *results: Json, caller: Caller) -> bool:
        """Keep what became of single recipients (lists of results), durably; 1 when that settled the whole message."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            return await self.manager.result(queue, slot, *results)

    @verb(callers=CONSUMERS)
    async def settle(self, queue: QueueName, *results: Raw, caller: Caller) -> list[str]:
        """As result for several messages: for each its slot, then JSON, a list of results. Answers 1, 0, or a refusal for each."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            if len(results) % 2:
                raise IpcError("5.5.4", "each slot is followed by its results")
            answers = await self.manager.settle(queue, list(zip(map(_path, results[::2]), results[1::2])))
        return [f"{answer.status} {answer.text}" if isinstance(answer, Refusal) else str(int(answer)) for answer in answers]

    @verb(callers=CONSUMERS)
    def defer(self, queue: QueueName, slot: SlotPath, seconds: Seconds, reason: Text = "", *, caller: Caller) -> None:
        """Give a message back; it is handed out again after these seconds."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            self.manager.defer(queue, slot, seconds, reason[:500])
            self._rearm()

    @verb(callers=CONSUMERS)
    def renew(self, queue: QueueName, slot: SlotPath, seconds: Seconds = 0, *, caller: Caller) -> float:
        """Hold a message for longer; answers for how many seconds. An error when somebody else has it by now."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            return self.manager.renew(queue, slot, seconds, caller.role)

    @verb(callers=CONSUMERS, operator=False, remember=True)
    def resume(self, queue: QueueName, *, caller: Caller) -> int:
        """Said by a consumer that begins anew: what its role held before is ready again. Answers how many messages that were."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            return self.manager.resume(queue, caller.role)

    @verb(callers=CONSUMERS)
    async def reject(self, queue: QueueName, slot: SlotPath, reason: Text, *, caller: Caller) -> None:
        """Have a message that cannot be handled put aside: into corrupt if its content was changed, else into dead."""
        with refusals(), self.alone:
            self._require_consumer(caller, queue)
            await self.manager.reject(queue, slot, reason)

    def _take(self, queue: str, count: int, role: str) -> list[Entry]:
        with self.alone:
            return self.manager.take(queue, count, role)

    async def _give_back(self, queue: str, entries: list[Entry]) -> None:
        with self.alone:
            self.manager.give_back(queue, entries)

    def _news(self, topic: str) -> None:
        """There is something new in a queue."""
        self.alert(topic)
        self.waiting.wake(topic)

    def _require_consumer(self, caller: Caller, queue: str) -> None:
        """Our own consumers have one queue each."""
        self._require(caller, queue == {"mailbox": self.settings.mailbox.queue, "smtpout": "outgoing"}.get(caller.role))

    @staticmethod
    def _require(caller: Caller, own: bool) -> None:
        """Whoever took over a daemon has its queues and no other; the operator, and whom the settings grant a verb, have all."""
        if not own and caller.role in WRITERS.split():
            raise IpcError("5.7.1", f"role {caller.role} has nothing to do with this queue")

    # -- time ----------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        wait = 1.0
        try:
            with self.alone:
                wait = self.manager.tick()
        except (IndexFailed, OSError) as error:
            self.log.error("disk refuses", reason=str(error))
        self.timer = self.loop.call_later(wait, self._on_time)

    async def _tick_beside(self) -> None:
        """In a cluster, where a tick waits for the database."""
        self._tick()

    async def _live(self) -> None:
        """In a cluster: show the others that we live, and take over what those left who do not."""
        lease, renewed, shaken = self.settings.storage.lease, self.loop.time(), 0
        while True:
            shaken += 1
            try:
                self.index.renew()
                with self.alone:
                    if self.loop.time() - renewed > lease:          # others may have taken what was ours
                        shaken = MENDED
                    renewed = self.loop.time()
                    if shaken >= MENDED:
                        self.manager.mend()
                        shaken = 0
                    while taken := self.index.adopt(TAKE_LIMIT):
                        self.manager.adopted(taken)
                if self.manager.intake.broken:          # it is there again
                    self.manager.intake.tick()
            except Fenced as error:
                self.log.error("node is not ours", reason=str(error))
                self.stop()
                return
            except (IndexFailed, OSError) as error:
                self.log.error("database away", reason=str(error))
                shaken = MENDED
            await asyncio.sleep(lease / 3)

    def _rearm(self) -> None:
        """A message was deferred: it may be due before the next tick."""
        wait = self.manager.seconds_to_due()
        if wait is not None and self.loop.time() + wait < self.timer.when():
            self.timer.cancel()
            self.timer = self.loop.call_later(max(wait, 0), self._on_time)

    async def _sweep(self) -> None:
        """At the start, for what a crash left, every hour, and when the disk works again: what was found while it refused has no row, though
        its writer may have been answered that we have it."""
        again = self.manager.intake.works_again
        while True:
            again.clear()
            try:
                removed = await self.orphans.sweep(list(self.settings.queue.queues))
                self.counters["orphans_removed"] += removed
                if removed:
                    self.log.info("orphans removed", slots=removed)
            except (IndexFailed, OSError, Refusal) as error:
                self.log.error("disk refuses", reason=str(error))
            self.swept.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP):
                    await again.wait()

    async def _settle_remains(self) -> None:
        """After a crash, once: rows whose file is gone have ended."""
        try:
            if self.crashed and (count := await settle_remains(self.manager, list(self.settings.queue.queues))):
                self.log.info("settled before the crash", messages=count)
        except (IndexFailed, OSError) as error:
            self.log.error("disk refuses", reason=str(error))
        self.settled.set()

    def _gauges(self) -> None:
        gauges, manager = self.metrics.gauges, self.manager
        for queue in self.settings.queue.queues:
            for state in State:
                gauges[labelled("messages", queue=queue, state=state.name.lower())] = (
                    lambda queue=queue, state=state: manager.total(queue, state).messages)
        gauges["leases"] = lambda: len(manager.leases)
        gauges["orphans"] = lambda: len(self.orphans)
        gauges["batches"] = lambda: manager.intake.commit.batches
        gauges["largest_batch"] = lambda: manager.intake.commit.largest


_decode_entered = msgspec.json.Decoder(list[tuple[str, Told]]).decode
_decode_listed = msgspec.json.Decoder(list[str]).decode


def _path(frame: bytes) -> str:
    try:
        return frame.decode()
    except UnicodeDecodeError:
        raise IpcError("5.5.4", "a slot is the file name that slot gave") from None


def _listed(frames: tuple[bytes, ...]) -> list[str]:
    try:
        return [slot for frame in frames for slot in _decode_listed(frame)]
    except msgspec.DecodeError as error:
        raise IpcError("5.5.4", f"slots are a JSON list of file names: {error}") from None


def _entered(frame: bytes) -> list[tuple[str, Told]]:
    try:
        return _decode_entered(frame)
    except msgspec.DecodeError as error:
        raise IpcError("5.5.4", f"slots and what they hold are JSON: {error}") from None
