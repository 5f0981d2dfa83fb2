"""The verbs of fm-queue for the operator: what is there, hold, release, retry, drop, audit and mend.

A part of QueueServer (daemon.py). What may be done says core/queue_desk.py; the books are core/queue_audit.py's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fancymail.ipc.message import IpcError, Reply
from fancymail.ipc.verb import Count, Flag, QueueName, Text, verb
from fancymail.storage.sqlite.database import problems
from fancymail.storage.sqlite.queue import set_aside

from .refusals import refusals


class OperatorVerbs:
    """What no daemon asks for."""

    @verb
    async def queues(self) -> AsyncIterator[Reply]:
        """List the queues: name ; ready ; leased ; deferred ; held ; dead ; corrupt ; octets for each, then ok."""
        rows = self.desk.queues()
        yield Reply("ok", len(rows))
        for row in rows:
            yield Reply("queue", *row)
        yield Reply("ok")

    @verb
    async def messages(self, queue: QueueName, limit: Count = 100, *which: Text) -> AsyncIterator[Reply]:
        """List messages: id ; state ; size ; sender ; recipients ; attempts ; pushed ; due ; reason for each, then ok."""
        with refusals():
            count = 0
            yield Reply("ok")
            async for entry in self.desk.chosen(queue, *which):
                yield Reply("message", entry.id, entry.state.name.lower(), entry.size, entry.sender, entry.recipients,
                            entry.attempts, entry.pushed, entry.due, entry.reason)
                count += 1
                if count >= limit:
                    break
            yield Reply("ok", count)

    @verb
    def show(self, queue: QueueName, slot: Text) -> dict:
        """Tell all that is known of one message, as JSON."""
        with refusals():
            return self.desk.show(queue, slot)

    @verb
    async def hold(self, queue: QueueName, *which: Text) -> int:
        """Keep messages from being handed out: slots, `all`, or conditions as sender=*@example.org; answers how many."""
        with refusals(), self.alone:
            return await self.desk.hold(queue, *which)

    @verb
    async def release(self, queue: QueueName, *which: Text) -> int:
        """End the hold of messages, chosen as for hold."""
        with refusals(), self.alone:
            return await self.desk.release(queue, *which)

    @verb
    async def retry(self, queue: QueueName, *which: Text) -> int:
        """Make deferred, dead or (if whole) corrupt messages ready now, chosen as for hold."""
        with refusals(), self.alone:
            return await self.desk.retry(queue, *which)

    @verb
    async def drop(self, queue: QueueName, *which: Text) -> int:
        """Remove messages for good, telling nobody; chosen as for hold."""
        with refusals(), self.alone:
            return await self.desk.drop(queue, *which)

    @verb
    async def audit(self) -> dict:
        """Lay the books open, as JSON by queue: accepted, how many ended in which way, how many are here in which state, the difference
        (0: every message is accounted for), rows whose file is missing and whole slots that no row names."""
        await self.settled.wait()
        with refusals():
            return {queue: books.told() for queue, books in (await self.auditor.books()).items()}

    @verb
    async def mend(self, adopt: Flag = False) -> dict:
        """Repair what can be: counters, rows whose file is gone (they end as lost), a tally that does not add up (what was accepted is
        counted again); with adopt take in whole slots that no row names. A damaged index is put aside, and the daemon begins anew with
        one made from the slots. Answers how many of each, and the changes of the tally in words, as JSON."""
        if self.cluster is not None:
            raise IpcError("5.5.0", "the index of a cluster is its database's to keep whole")
        await self.settled.wait()
        with refusals():
            index = self.paths.queues / "index.db"
            if wrong := await self.loop.run_in_executor(self.readers, problems, index):
                self.log.error("index damaged", reason="; ".join(wrong)[:500])
                set_aside(index)
                self.stop()
                return {"damaged": len(wrong)}
            return await self.auditor.mend(adopt)
