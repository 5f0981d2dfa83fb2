"""fm-smtpout: takes the mail for other servers from the queue `outgoing` and brings it there.

Here is what a daemon needs: the verb `send`, taking from the queue, leases, settings. One message is carried by dispatch.py, to one
destination by destination.py, over the connections of pool.py; nexthop.py and resolver.py find the hosts. It opens nothing of the
state folder but slots that the queue gave it, keeps no state of its own, and may die at any moment.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fancymail.base.settings import Paths
from fancymail.core import taken
from fancymail.core.mx import Identity
from fancymail.ipc.message import IpcError
from fancymail.ipc.verb import Address, SlotPath, verb
from fancymail.mail.address import AddressError, parse_mailbox
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.containment.reach import Reach
from fancymail.servers.running.daemon import Daemon
from fancymail.storage.slots import SlotError, is_slot_id

from .destination import Destinations
from .dispatch import QUEUE, Dispatch, Task
from .nexthop import NextHops, known_hosts, owned
from fancymail.servers.asking.notices import QUEUES, Notices
from .outgoing import Damaged, Outgoing, open_outgoing
from .pool import Pool
from .reports import Reports
from .resolver import Limits, Resolver, name_servers

BATCH = 64                           # messages that are taken at once
WAIT = 60                            # seconds that the queue waits for a message before it says that there is none
FOREVER = 1e9                        # seconds: what it hands out must not be for somebody who has stopped listening
GATHER = 0.01                        # seconds after some until more are asked for: what comes meanwhile comes together
PAUSE = 1.0                          # seconds after an error of the queue
FINISH = 6.0                         # seconds that messages under way get at a stop
_PORT = re.compile(r":(\d+)$")


class SmtpOutServer(Daemon):
    """Mail that goes out."""

    name = "smtpout"

    @classmethod
    def reach(cls, settings, paths: Paths) -> Reach:
        """Messages whose names it was given, slots for notices to senders, and the world."""
        return Reach(opens=(paths.queues / QUEUE,), fills=tuple(map(paths.queues.joinpath, QUEUES.values())), calls=True)

    async def started(self) -> None:
        self.readers = ThreadPoolExecutor(2, "content")
        self.active: dict[str, asyncio.Task] = {}
        self.begun = False
        self.room = asyncio.Event()          # a message has ended while there was no room for another
        self.pool = Pool(self.settings.smtpout, self.settings.server.hostname)
        self.reports = Reports(self.ask, QUEUE, self.log)
        self._assemble(self.settings)
        self.metrics.gauges["active"] = lambda: len(self.active) + len(self.reports)
        self.metrics.gauges["connections"] = self.pool.count
        self.metrics.gauges["resolver_cache"] = lambda: len(self.resolver.cache)
        self.consumer = self.spawn(self._consume(), "consumer")
        self.spawn(self._renew_leases(), "leases")

    async def stopping(self) -> None:
        """Let what is under way come to its end for a while; give the rest back to the queue."""
        self.draining = True
        await self._leave()
        if self.active:
            await asyncio.wait(self.active.values(), timeout=FINISH)
        left = dict(self.active)
        for task in left.values():
            task.cancel()
        if left:
            await asyncio.wait(left.values(), timeout=1.0)
            given_back = (self.dispatch.defer(path, 0.0, "fm-smtpout was stopped", 1.0) for path in left if path not in self.reports)
            await asyncio.gather(*given_back, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self.reports.quiet()
        self.pool.close()
        self.resolver.close()
        self.readers.shutdown(wait=False)

    async def _leave(self) -> None:
        """Have the queue hand out nothing more; what it did meanwhile is under way then. A queue that is away keeps nobody."""
        self.room.set()
        try:
            await self.ask("queue", "leave", QUEUE, timeout=1.0)
            await asyncio.wait([self.consumer], timeout=1.0)
        except IpcError as error:
            self.log.debug("cannot leave", reason=error.text)
        self.consumer.cancel()

    def reloaded(self, settings) -> None:
        try:
            self.pool.apply(settings.smtpout)
        except (OSError, ssl.SSLError) as error:
            raise IpcError("5.3.5", f"smtpout.tls-authorities: {error}") from None
        self.resolver.retire()
        self._assemble(settings)

    def _assemble(self, settings) -> None:
        """Build what depends on the settings; links and windows are kept."""
        own = settings.smtpout
        identity = Identity(
            names=frozenset(name.lower() for name in (settings.server.hostname, *own.own_names)), ports=own_ports(settings),
            owned=lambda address: address in own.own_addresses or owned(address), private=own.private_networks)
        self.resolver = Resolver(name_servers(own.nameservers), Limits(deadline=own.dns_timeout))
        hops = NextHops(self.resolver, identity, own.families, own.hosts, own.address_literals, known_hosts())
        destinations = Destinations(own, hops, self.pool, self._note)
        told = Notices(self.ask, settings.server.hostname, own.expire, self.readers, self.log, self.keys.secret(self.name))
        self.dispatch = Dispatch(self.ask, own, destinations, told, self.reports, self.readers, self.log, self.counters)

    def _note(self, event: str, **facts: object) -> None:
        self.counters[f"attempts_{event}"] += 1
        self.log.info(event, **facts)

    # -- the verb ----------------------------------------------------------------------------------------------------------

    @verb(callers="webmaild", remember=True)
    async def send(self, sender: Address, to: Address, slot: SlotPath) -> str:
        """Send a message to another SMTP server now; ok with that server's reply, or its error. The slot stays where it is."""
        sender, to = address_of(sender) if sender else "", address_of(to)
        try:
            message = await open_outgoing(self._slot_path(slot), self.readers)
        except (FileNotFoundError, SlotError) as error:
            raise IpcError("5.5.4", f"not a slot: {error}") from None
        except Damaged as error:
            raise IpcError("5.6.0", str(error)) from None
        try:
            return await self._send(sender, to, message)
        finally:
            message.close()

    async def _send(self, sender: str, to: str, message: Outgoing) -> str:
        known = message.slot.envelope or Envelope("", sender)
        if message.facts.bare:
            raise IpcError("5.6.0", "the content has a bare CR or LF")
        envelope = replace(known, sender=sender, recipients=[Recipient(to)])
        attempt = await self.dispatch.carriage().run(known.id or Path(message.slot.path).name, envelope, message, [0])
        result = attempt.results[0]
        if result.state != "delivered":
            raise IpcError(result.status, result.text)
        return result.text

    def _slot_path(self, slot: str) -> str:
        """Only slots of the queue are sent, whoever asks: no other file may leave by mail."""
        path = Path(slot)
        if path.parent.parent != self.paths.queues or not is_slot_id(path.name):
            raise IpcError("5.5.4", "not a slot of the queue")
        return str(path)

    # -- taking ------------------------------------------------------------------------------------------------------------

    async def _consume(self) -> None:
        """Take as many messages as there is room for, as soon as the queue has some."""
        while not self.draining:
            self.room.clear()
            wanted = min(self.settings.smtpout.messages - len(self.active), BATCH)
            if wanted > 0:
                tasks = await self._take(wanted)
                for task in tasks:
                    self._begin(task)
                if 0 < len(tasks) < wanted:
                    await asyncio.sleep(GATHER)
            else:                      # full: somebody may hold room who only waits in vain
                self.pool.relieve()
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self.room.wait()

    async def _take(self, count: int) -> list[Task]:
        try:
            if not self.begun:         # what a killed predecessor held is ready again at once
                await self.ask("queue", "resume", QUEUE)
                self.begun = True
            frames = await self.ask("queue", "consume", QUEUE, count, WAIT, timeout=FOREVER)
        except IpcError as error:
            self.log.debug("cannot take", reason=error.text)
            if not self.draining:
                await asyncio.sleep(PAUSE)
            return []
        return [Task.read(path, facts) for path, facts in taken.read_many(frames)]

    def _begin(self, task: Task) -> None:
        if task.path in self.active or task.path in self.reports:      # handed out again although we still work on it: the first one settles it
            return
        running = self.active[task.path] = self.spawn(self.dispatch.attempt(task), f"message {task.id}")
        running.add_done_callback(lambda done: self._ended(task.path))

    def _ended(self, path: str) -> None:
        if len(self.active) >= self.settings.smtpout.messages:
            self.room.set()
        self.active.pop(path, None)

    async def _renew_leases(self) -> None:
        """Hold what takes longer than a third of the lease."""
        while True:
            queue = self.settings.queue.queues.get(QUEUE)
            before = set(self.active)
            await asyncio.sleep(queue.lease / 3 if queue else 200.0)
            for path in before & set(self.active):
                try:
                    await self.ask("queue", "renew", QUEUE, path)
                except IpcError as error:
                    self.log.warning("lease not renewed", slot=Path(path).name, reason=error.text)


def address_of(text: str) -> str:
    """Check an address of the conversation. Raises IpcError."""
    try:
        return str(parse_mailbox(text))
    except AddressError as error:
        raise IpcError("5.1.3", f"{text}: {error}") from None


def own_ports(settings) -> frozenset[int]:
    """The ports on which this server itself takes mail."""
    section = settings.smtpin
    addresses = (*section.listen_smtp, *section.listen_submission, *section.listen_submissions, *section.listen_lmtp)
    return frozenset(int(match[1]) for address in addresses if (match := _PORT.search(address)))
