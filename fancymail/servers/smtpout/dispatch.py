"""One message taken from the queue: looked through, carried to all its destinations, settled.

    consume -> look through the slot -> an errand per destination -> a report after each transaction that delivered, before the next
         -> DSNs -> a report of the rest -> settled, or `defer`

Used by servers/smtpout/daemon.py. It keeps nothing: when the process dies at any point, the queue hands the message out again, and at
most the one transaction under way per recipient is repeated (R9). It never talks to a host itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from fancymail.base.crash import crash_point
from fancymail.base.log import Log
from fancymail.base.settings.smtpout import SmtpOut
from fancymail.core.delivery import DELAYED, RELAYED, Attempt, Notice, give_up, mark_told, notices, unsent, who_was_told
from fancymail.core.routing import Routes
from fancymail.core.schedule import Schedule
from fancymail.core.taken import Taken
from fancymail.ipc.message import IpcError
from fancymail.mail.envelope import Envelope
from fancymail.mail.results import RecipientResult
from fancymail.storage.slots import SlotError

from .carriage import Carriage
from .destination import Destinations
from fancymail.servers.asking.notices import Notices
from .outgoing import Damaged, Outgoing, open_outgoing
from .reports import Reports

QUEUE = "outgoing"
TROUBLE = 60.0                       # seconds until a message comes back that met trouble of our own
PATIENCE = 30.0                      # seconds that the queue may take to answer; then it is asked again


class Task(NamedTuple):
    """One message as the queue gives it. told: recipients of whose delay the sender knows."""

    path: str
    id: str
    attempts: int
    pending: Sequence[int]
    first: float
    told: frozenset[int]

    @classmethod
    def read(cls, path: str, facts: Taken) -> Task:
        return cls(path, facts.id, facts.attempts, facts.pending, facts.first, who_was_told(facts.last, facts.pending))


class Dispatch:
    """Carries messages. ask(daemon, verb, ...) is Daemon.ask; chance and clock are for tests."""

    def __init__(self, ask: Callable[..., asyncio.Future], settings: SmtpOut, destinations: Destinations, told: Notices, reports: Reports,
                 readers: Executor, log: Log, counters: Counter, chance: Callable[[], float] = random.random,
                 clock: Callable[[], float] = time.time) -> None:
        self.ask, self.settings, self.destinations, self.told = ask, settings, destinations, told
        self.readers, self.log, self.counters, self.chance, self.clock = readers, log, counters, chance, clock
        self.routes, self.schedule = Routes(settings), Schedule(settings)
        self.reports = reports

    async def attempt(self, task: Task) -> None:
        """Try a message once, and leave it settled, deferred or set aside."""
        try:
            message = await open_outgoing(task.path, self.readers)
        except (FileNotFoundError, SlotError, Damaged) as error:
            return await self._reject(task, str(error))
        except OSError as error:
            return await self.defer(task.path, TROUBLE, f"slot cannot be read: {error}")
        try:
            if message.slot.envelope is None:
                return await self._reject(task, "a slot without envelope: nobody knows whom it is for")
            await self._carry(task, message.slot.envelope, message)
        except (IpcError, OSError) as error:        # of our own: a daemon that is away, no descriptors
            reason = error.text if isinstance(error, IpcError) else str(error)
            self.log.warning("put off", id=task.id, reason=reason)
            await self.defer(task.path, TROUBLE, reason)
        finally:
            message.close()

    async def _carry(self, task: Task, envelope: Envelope, message: Outgoing) -> None:
        status, reason = self._objection(message)
        if status:
            attempt = Attempt()
            attempt.add(RecipientResult(index, "failed", status, reason) for index in task.pending)
        else:
            attempt = await self.carriage(task.path).run(envelope.id or task.id, envelope, message, task.pending)
        await self._conclude(task, envelope, message, attempt)

    def _objection(self, message: Outgoing) -> tuple[str, str]:
        """Why a message goes nowhere at all; ("", "") when it may go."""
        if message.facts.hops > self.settings.hops:        # RFC 5321 6.3
            return "5.4.6", f"the message has passed {message.facts.hops} hosts: a loop"
        if message.facts.bare:
            return "5.6.0", "the content has a bare CR or LF"
        return "", ""

    def carriage(self, path: str = "") -> Carriage:
        """Make one for an attempt; with `path`, what is delivered is written down as it happens."""
        def record(delivered: list[RecipientResult], last: bool) -> Awaitable[None] | None:
            crash_point("smtpout.delivered")
            return self.reports.finish(path) if last else self._written(path, delivered)
        return Carriage(self.destinations, self.routes, self.settings, record if path else None)

    async def _written(self, path: str, delivered: list[RecipientResult]) -> None:
        await self.reports.tell(path, delivered, again=True)
        crash_point("smtpout.recorded")

    async def _conclude(self, task: Task, envelope: Envelope, message: Outgoing, attempt: Attempt) -> None:
        """Give up what is too old, tell the sender, write down what is not yet, and defer what is left.

        The sender is told before the failure is written down: a crash between loses no DSN, and the queue knows one that is repeated (R11).
        """
        age = max(self.clock() - task.first, 0.0)
        if not attempt.well:
            give_up(attempt, self.schedule, task.attempts, age)
        for notice in notices(envelope, attempt, self.schedule, age, task.told):
            if await self._tell(envelope, notice, task.path, message.header):
                self.counters[f"notices_{notice.kind}"] += 1
            if notice.kind == DELAYED:
                mark_told(attempt, [result.recipient for result in notice.results])
        mark_told(attempt, task.told)
        failed, waiting = attempt.in_state("failed"), attempt.in_state("deferred")
        if failed and not envelope.sender:
            self.counters["double_bounces"] += 1
            self.log.warning("double bounce", id=envelope.id or task.id, reason=unsent(failed))
        crash_point("smtpout.told")
        if failed or waiting:
            await self.reports.tell(task.path, failed + waiting)
        self.counters["recipients_delivered"] += len(attempt.results) - len(failed) - len(waiting)
        self.counters["recipients_failed"] += len(failed)
        self.counters["recipients_deferred"] += len(waiting)
        if waiting:
            await self._wait(task, envelope, attempt, age, waiting[0])

    async def _tell(self, envelope: Envelope, notice: Notice, path: str, header: bytes) -> bool:
        """Tell the sender; False when nobody is there to be told. Raises IpcError when that has to wait for the next attempt."""
        if notice.kind != RELAYED:
            return await self.told.tell(envelope, notice, path)
        # What was relayed is written down, may have left the queue by now, and its file may hold another message: no attempt comes back to it.
        while True:
            try:
                return await self.told.tell(envelope, notice, path, header)
            except IpcError as error:
                if not error.temporary:
                    raise
                self.log.warning("not notified yet", id=envelope.id, kind=notice.kind, reason=error.text)
            await asyncio.sleep(TROUBLE)

    async def _wait(self, task: Task, envelope: Envelope, attempt: Attempt, age: float, reason: RecipientResult) -> None:
        chance = self.chance()
        seconds = self.schedule.busy(chance) if attempt.only_busy else self.schedule.wait(task.attempts, age, chance)
        await self.defer(task.path, seconds, reason.text)
        self.log.info("put off", id=envelope.id or task.id, seconds=round(seconds), status=reason.status, reason=reason.text)

    async def defer(self, path: str, seconds: float, reason: str, timeout: float = PATIENCE) -> None:
        """Give a message back; when the queue cannot hear it, the end of the lease does the same."""
        try:
            await self.ask("queue", "defer", QUEUE, path, round(seconds, 3), reason, timeout=timeout)
        except IpcError as error:
            self.log.warning("not deferred", slot=Path(path).name, reason=error.text)

    async def _reject(self, task: Task, reason: str) -> None:
        self.counters["rejected"] += 1
        self.log.error("unusable", id=task.id, reason=reason)
        try:
            await self.ask("queue", "reject", QUEUE, task.path, reason, timeout=PATIENCE)
        except IpcError as error:
            self.log.warning("not set aside", id=task.id, reason=error.text)
