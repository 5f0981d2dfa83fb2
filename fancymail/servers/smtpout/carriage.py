"""One attempt at one message: whom it goes to which way, under which mark, and what came of each.

    attempt = await Carriage(destinations, routes, settings, record).run(id, envelope, message, pending)

Used by dispatch.py, and by the verb `send` through it. Recipients of one route travel together, but those whom an alias of ours
leads away go with its Delivered-To in front, so that a host that sends the message back here finds it has been here (RFC 5321 6.3).
The slot's content stays as it is, and nobody learns of an alias but those behind it. It never talks to a host itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from fancymail.base.settings.smtpout import SmtpOut
from fancymail.core.delivery import Attempt
from fancymail.core.routing import Route, Routes
from fancymail.mail.envelope import Envelope
from fancymail.mail.results import RecipientResult
from fancymail.mail.trace import forwarded_by, mark, marks
from fancymail.protocol.smtp.answers import Outcome

from .destination import Decided, Destinations, Parcel
from .outgoing import Outgoing

ROUND = ("5.4.6", "a loop: this address has sent the message away before")
NO_TIME = Outcome("deferred", "4.4.5", "no time was left for it in this attempt", True)

Parcels = list[tuple[Parcel, list[int]]]          # each with the indexes of its recipients
Record = Callable[[list[RecipientResult], bool], Awaitable[None] | None]


class Carriage:
    """Goes to all destinations, a few at a time. `record(delivered, last)` writes deliveries down as they happen; what it gives is awaited:
    last: with these everybody has the message."""

    def __init__(self, destinations: Destinations, routes: Routes, settings: SmtpOut, record: Record | None = None) -> None:
        self.destinations, self.routes, self.settings, self.record = destinations, routes, settings, record
        self.attempt = Attempt()
        self.wanted = 0                  # recipients

    async def run(self, id: str, envelope: Envelope, message: Outgoing, pending: Sequence[int]) -> Attempt:
        """Try every pending recipient once. `id` is for the log. Raises what `record` raises, after all errands have ended."""
        self.wanted = len(pending)
        whole = Parcel(id, message.transaction(envelope), message.content)
        groups = self.routes.group(envelope.recipients, pending)
        if None in groups:
            self.attempt.add([RecipientResult(index, "failed", "5.1.3", "not an address") for index in groups.pop(None)])
        errands = [(route, list(self._parcels(whole, message, indexes))) for route, indexes in groups.items()]
        if len(errands) == 1:
            await self._bring(*errands[0])
        elif errands:
            await self._beside(errands)
        return self.attempt

    async def _beside(self, errands: Iterable[tuple[Route, Parcels]]) -> None:
        """Go several ways at the same time. Raises what one of them raised, when all have ended."""
        crowd = asyncio.Semaphore(self.settings.destinations)

        async def errand(route: Route, parcels: Parcels) -> None:
            async with crowd:
                await self._bring(route, parcels)

        for error in await asyncio.gather(*(errand(*each) for each in errands), return_exceptions=True):
            if error is not None:
                raise error

    def _parcels(self, whole: Parcel, message: Outgoing, indexes: Iterable[int]) -> Iterator[tuple[Parcel, list[int]]]:
        """Sort recipients by the alias that leads to them; those it has led to before have failed."""
        aliases: dict[str, list[int]] = {}
        for index in indexes:
            aliases.setdefault(whole.transaction.recipients[index].original, []).append(index)
        seen = marks(message.header) if any(aliases) else frozenset()
        for alias, led in aliases.items():
            if not alias:
                yield whole, led
            elif mark(alias) in seen:
                self.attempt.add(RecipientResult(index, "failed", *ROUND) for index in led)
            else:
                yield _marked(whole, forwarded_by(alias)), led

    async def _bring(self, route: Route, parcels: Parcels) -> None:
        """Give a destination its parcels one by one, within the time of an attempt."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.attempt_time
        for parcel, indexes in parcels:
            if loop.time() < end:
                await self.destinations.deliver(route, parcel, indexes, self._settle)
            else:
                await self._settle([Decided(index, NO_TIME, busy=True) for index in indexes])

    async def _settle(self, decided: Sequence[Decided]) -> None:
        results = [_result(each) for each in decided]
        self.attempt.add(results)
        self.attempt.relayed |= {each.recipient for each in decided if each.relayed}
        self.attempt.busy |= {each.recipient for each in decided if each.busy}
        delivered = [result for result in results if result.state == "delivered"]
        if self.record is None or not delivered:
            return
        last = len(self.attempt.results) == self.wanted and self.attempt.well
        durable = self.record(delivered, last)
        if durable is not None:          # R9: before the next transaction at this destination begins
            await durable


def _marked(parcel: Parcel, field: bytes) -> Parcel:
    return parcel._replace(transaction=replace(parcel.transaction, size=parcel.transaction.size + len(field)),
                           content=lambda: chain((field,), parcel.content()))


def _result(decided: Decided) -> RecipientResult:
    outcome = decided.outcome
    return RecipientResult(decided.recipient, outcome.state, outcome.status, outcome.text, decided.remote)
