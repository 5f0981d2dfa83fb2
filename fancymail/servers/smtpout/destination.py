"""One message to one destination: host after host, transaction after transaction, until everybody has an outcome.

    await destinations.deliver(route, parcel, indexes, settle)

Called by servers/smtpout/daemon.py. What is decided by a transaction goes to `settle` and is awaited before the next one begins, so that a
crash repeats at most one (R9). It opens nothing itself (servers/smtpout/pool.py does) and never touches the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from fancymail.base.settings.smtpout import SmtpOut
from fancymail.core.mx import NoRoute, Target
from fancymail.core.routing import Route
from fancymail.core.schedule import Pace
from fancymail.protocol.smtp.answers import Outcome
from fancymail.protocol.smtp.session import Ended
from fancymail.protocol.smtp.transaction import Transaction

from .link import Link, LinkFailed
from .nexthop import NextHops
from .pool import Busy, Pool

PACES = 10_000
BUSY = Outcome("deferred", "4.4.5", "no connection was free in time", True)


class Parcel(NamedTuple):
    """A message as it goes out: the transaction with all recipients, and a fresh walk through the content for each try."""

    id: str
    transaction: Transaction
    content: Callable[[], Iterable[bytes]]


class Decided(NamedTuple):
    """The outcome of one recipient: where it was decided, whether nobody further on will notify, whether only room was missing."""

    recipient: int
    outcome: Outcome
    remote: str = ""
    relayed: bool = False
    busy: bool = False


UNREACHED = Decided(0, Outcome("deferred", "4.4.1", "no host was reached"))
Settle = Callable[[Sequence[Decided]], Awaitable[None]]
Note = Callable[..., None]


class Destinations:
    """Delivers to destinations. note(event, **facts) writes a line of the log."""

    def __init__(self, settings: SmtpOut, hops: NextHops, pool: Pool, note: Note = lambda event, **facts: None) -> None:
        self.settings, self.hops, self.pool, self.note = settings, hops, pool, note
        self.paces: dict[str, Pace] = {}

    async def deliver(self, route: Route, parcel: Parcel, indexes: Sequence[int], settle: Settle) -> None:
        """Bring every recipient in `indexes` to an outcome and tell `settle`, in as many parts as there were transactions."""
        if parcel.transaction.require_tls:
            route = route.verified()
        try:
            targets = await self.hops.find(route)
            await self._pace(route)
        except NoRoute as reason:
            return await settle([Decided(index, Outcome(reason.state, reason.status, reason.text)) for index in indexes])
        except Busy:
            return await settle([Decided(index, BUSY, busy=True) for index in indexes])
        await Errand(self, route, parcel, settle).run(targets, list(indexes))

    async def _pace(self, route: Route) -> None:
        """Hold the destination's messages a minute. Raises Busy."""
        if not self.settings.messages_per_minute:
            return
        if len(self.paces) >= PACES:
            self.paces.clear()
        pace = self.paces.setdefault(str(route), Pace(self.settings.messages_per_minute))
        wait = pace.wait(asyncio.get_running_loop().time(), self.settings.waiting_time)
        if wait is None:
            raise Busy
        await asyncio.sleep(wait)


class Errand:
    """One walk along the hosts of a destination."""

    def __init__(self, owner: Destinations, route: Route, parcel: Parcel, settle: Settle) -> None:
        self.owner, self.pool, self.route, self.parcel, self.settle = owner, owner.pool, route, parcel, settle
        self.waiting: list[int] = []
        self.began = asyncio.get_running_loop().time()
        self.last = UNREACHED                    # why the hosts so far decided nothing

    async def run(self, targets: Sequence[Target], indexes: list[int]) -> None:
        """Ask the hosts in turn until nobody waits, or time is up."""
        loop = asyncio.get_running_loop()
        self.waiting = indexes
        end = loop.time() + self.owner.settings.attempt_time
        for target in targets:
            if not self.waiting or loop.time() >= end:
                break
            await self._at(target)
        if self.waiting:
            await self._decide([self.last._replace(recipient=index) for index in self.waiting])

    async def _at(self, target: Target) -> None:
        """Give one host what it takes: several transactions when there are many recipients."""
        while self.waiting:
            try:
                link = await self.pool.borrow(target, self.route)
            except Busy:
                return self._pass_on(Decided(0, BUSY, target.host, busy=True))
            except LinkFailed as failure:
                self._note(target, failure.outcome, kind=failure.kind)
                if failure.outcome.another:
                    return self._pass_on(Decided(0, failure.outcome, target.host))
                return await self._decide([Decided(index, failure.outcome, target.host) for index in self.waiting])
            if not await self._offer(link, target):
                return

    async def _offer(self, link: Link, target: Target) -> bool:
        """Send one transaction; True when this host should get another one at once."""
        batch = self.waiting[:_limit(link, self.owner.settings.recipients)]
        fresh = link.messages == 0
        good = False
        try:
            ended = await link.hand_over(self._transaction(batch), self.parcel.content())
            good = any(not outcome.another for outcome in ended.outcomes)
        finally:
            if not _may_go_on(link):
                link.bye()
            stale = not (fresh or good)          # it had been closed while it rested: no fault of the host
            self.pool.give_back(link, good or stale)
        if stale:
            return True
        return await self._read(batch, ended, target, link)

    async def _read(self, batch: list[int], ended: Ended, target: Target, link: Link) -> bool:
        decided = [Decided(index, outcome, target.host, relayed=not ended.dsn) for index, outcome in zip(batch, ended.outcomes)]
        taken = any(each.outcome.state == "delivered" for each in decided)
        open_ = [each for each in decided if each.outcome.another or taken and _too_many(each.outcome)]
        final = [each for each in decided if each not in open_]
        for each in decided:
            self._note(target, each.outcome, to=self.parcel.transaction.recipients[each.recipient].address, tls=link.tls_version)
        await self._decide(final)
        if open_ and any(each.outcome.another for each in open_):
            self._pass_on(next(each for each in open_ if each.outcome.another))
            return False
        return True

    def _transaction(self, batch: list[int]) -> Transaction:
        everyone = self.parcel.transaction
        if batch == list(range(len(everyone.recipients))):
            return everyone
        return replace(everyone, recipients=tuple(everyone.recipients[index] for index in batch))

    async def _decide(self, decided: list[Decided]) -> None:
        """What is decided is told, and not asked again."""
        if decided:
            gone = {each.recipient for each in decided}
            self.waiting = [index for index in self.waiting if index not in gone]
            await self.settle(decided)

    def _pass_on(self, decided: Decided) -> None:
        """The next host may know more. In the end the most hopeful word counts: one host that never takes mail is not all."""
        if self.last is UNREACHED or self.last.outcome.state == "failed" or self.last.busy:
            self.last = decided

    def _note(self, target: Target, outcome: Outcome, **facts: object) -> None:
        seconds = asyncio.get_running_loop().time() - self.began
        self.owner.note(
            outcome.state, id=self.parcel.id, remote=target.host, address=f"{target.address}:{target.port}", status=outcome.status,
            seconds=round(seconds, 3), text=outcome.text, **facts)


def _limit(link: Link, most: int) -> int:
    """Recipients that one transaction may have here (RFC 9422 4.2: RCPTMAX)."""
    said = link.limits.get("RCPTMAX", "")
    return min(most, int(said)) if said.isdecimal() and 0 < len(said) < 7 and int(said) else most


def _may_go_on(link: Link) -> bool:
    """Whether the host takes a further message on this connection (RFC 9422 4.1: MAILMAX)."""
    said = link.limits.get("MAILMAX", "")
    return not (said.isdecimal() and len(said) < 7 and link.messages >= int(said))


def _too_many(outcome: Outcome) -> bool:
    """RFC 5321 4.5.3.1.10: 452 to RCPT asks for another transaction with the rest."""
    return outcome.text.startswith("452") and outcome.state == "deferred"
