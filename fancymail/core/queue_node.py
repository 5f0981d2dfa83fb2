"""The queue of one node of several: the rules of core/queue.py over an index and contents that all nodes can reach.

Made by servers/queue/daemon.py in a cluster. A push is durable when its content is in the bucket and its row in the database; slot files are
this node's working copies, brought again when they are missing, so a missing file never means that a message was settled. What another node left
behind when it died comes in by `adopted`. Index calls suspend whoever makes them; servers/queue/daemon.py lets one in at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from fancymail.base.crash import crash_point
from fancymail.storage.ports.queue import Entry, IndexFailed, State

from .intake import Intake, Refusal
from .queue import QueueManager

SOON = 5.0                      # seconds until a message is ready again of which nobody could write down that it is
TROUBLE = 30.0                  # seconds until a message comes back whose content could not be brought


class NodeIntake(Intake):
    """Pushes: contents are sent, then rows are written, both in the thread; there is nothing to sync."""

    async def durable(self) -> None:
        """Whatever was written is durable."""

    def when_durable(self, call: Callable[[], None]) -> None:
        """It is."""
        call()

    def enter(self, queue: str, slots: Iterable) -> None:
        """A file on this machine is no message."""
        raise Refusal("5.5.0", "in a cluster slots are pushed")

    async def adopt(self, queue: str, ids: Iterable[str]) -> list[str]:
        """A whole slot without a row was never promised, or is what is left of a message that another node settled."""
        return []

    def _store(self, entry: Entry) -> Awaitable:
        """The bucket and the database are asked in their order by one sync."""
        return self.commit.join(entry)

    def _write(self, entries: list[Entry]) -> None:
        self.unsynced = False

    def _sync(self, entries: list[Entry]) -> None:
        crash_point("queue.sync")
        if entries:
            envelopes = self.spool.send([(entry.queue, entry.id, entry.sha256) for entry in entries])
            crash_point("queue.sent")
            self.index.add(entries, envelopes)
        crash_point("queue.synced")

    def _burn(self, entries: list[Entry], error: BaseException) -> None:
        """Nobody knows whether the rows were written when the connection was lost: they are taken back as soon as that can be."""
        self.broken, self.unsynced = str(error), True
        self.counters["sync_failed"] += 1
        self.note("sync failed", reason=str(error), slots=len(entries))
        self._burnt.update(entry.id for entry in entries)
        self.thread.submit(self._take_back, [entry.id for entry in entries])

    def _take_back(self, ids: list[str]) -> None:
        try:
            self.index.remove(ids)
        except IndexFailed:
            pass                # what was not answered with 250 may come twice


class NodeQueue(QueueManager):
    """All queues of this node."""

    intake_class = NodeIntake

    def adopted(self, entries: list[Entry]) -> None:
        """Messages of a node that died are ours now."""
        for entry in entries:
            self._count(entry.queue, entry.state, 1, entry.size)
            self.note("taken over", id=entry.message, slot=entry.id, queue=entry.queue, was=entry.state.name.lower())
        self.counters["taken_over"] += len(entries)
        for queue in {entry.queue for entry in entries}:
            self.spool.add(queue)
            self._next_due[queue] = self.index.next_due(queue)
            self.alert(queue)

    def recount(self) -> None:
        """Others may have taken what was ours, or an answer may have been lost of what was done. Left alone while pushes are under way, since
        nobody knows whether their rows are among those that are counted."""
        busy, batches, totals = self.intake.busy, self.intake.commit.batches, self.index.totals()
        if not (busy or self.intake.busy) and self.intake.commit.batches == batches:
            self.totals = {key: list(total) for key, total in totals.items()}

    def mend(self) -> int:
        """After the database was away, and now and then: count what is here, look what is due, and what the database says is in work, and nobody
        here holds, is ready soon. How many messages of the last kind."""
        self.recount()
        found = 0
        for queue in {queue for queue, _ in self.totals} | set(self.options.queues):
            for entry in self.each(queue, (State.LEASED,)):
                if self.leases.get(entry.id) is None:
                    self._fall_back(queue, entry.id)
                    found += 1
            self._next_due[queue] = self.index.next_due(queue)
            if self.total(queue, State.READY).messages:
                self.alert(queue)
        return found

    def defer(self, queue: str, path: str, seconds: float, reason: str = "") -> None:
        """As ever; when that cannot be written down, the message is ready again soon, whatever its lease says."""
        try:
            super().defer(queue, path, seconds, reason)
        except IndexFailed:
            self._fall_back(queue, self.id_of(queue, path))
            raise

    async def digest(self, place: str, entry: Entry) -> bytes:
        """As ever; what is not here is brought first, since the bucket may have it by now."""
        try:
            self.spool.bring(entry.queue, entry.id, lambda: self.index.envelope(entry.id), entry.sha256)
        except KeyError as error:
            raise FileNotFoundError(entry.id) from error
        return await super().digest(place, entry)

    def _fall_back(self, queue: str, id: str) -> None:
        self.leases.take(queue, id, "", self.monotonic() + SOON)

    def _claim(self, queue: str, count: int) -> list[Entry]:
        return [entry for entry in super()._claim(queue, count) if self._brought(entry)]

    def _brought(self, entry: Entry) -> bool:
        """See to it that a message's file is here. What cannot be brought now comes back later."""
        try:
            self.spool.bring(entry.queue, entry.id, lambda: self.index.envelope(entry.id), entry.sha256)
            return True
        except KeyError:
            entry.reason = "its content is not in the bucket"
            self.set_aside(entry, State.CORRUPT)
        except OSError as error:
            entry.reason, entry.due = f"its content cannot be brought: {error}"[:500], self.wall() + TROUBLE
            self.change(entry, State.DEFERRED)
            self._next_due[entry.queue] = self.index.next_due(entry.queue)
        return False
