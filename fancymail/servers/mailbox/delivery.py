"""From the queue into mailboxes: takes a batch of messages, links their contents, enters them with one commit, settles them.

    consume -> (thread) open, verify, link, one sync -> who has a mailbox -> one transaction -> done, or result and a DSN, or defer, or reject

Used by daemon.py. It keeps nothing: when the process dies at any point, the queue hands the messages out again, and what had been
delivered is recognised by queue id and recipient. While a batch is entered the next one is linked. A message that cannot be handled
never holds up its neighbours.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from fancymail.base.crash import crash_point
from fancymail.base.log import Log
from fancymail.core.delivery import DELAYED, Attempt, Notice, give_up, mark_told, notices, unsent, who_was_told
from fancymail.core.imap.precompute import precompute
from fancymail.core.mailboxes import Arrival, Mailboxes, MailboxRefusal, StoreFailed, trace
from fancymail.core.relatives import relatives
from fancymail.core.schedule import Schedule
from fancymail.core.taken import Taken, read_many
from fancymail.core.turn import Turn
from fancymail.ipc.message import IpcError
from fancymail.ipc.packing import pack
from fancymail.mail.address import detail
from fancymail.mail.derived import Derived
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.results import RecipientResult, dump_parts
from fancymail.storage.ports.blobs import BadContent, Blob
from fancymail.storage.ports.mailboxes import Delivered
from fancymail.storage.slots import SlotError, read_slot

from .recipients import Account, Recipients

AT_ONCE = 64                # messages of a batch, or recipients of a message, up to which all is derived at once; of more it is done later
TROUBLE = 30.0              # seconds until messages come back that met trouble of our own
PAUSE = 1.0                 # seconds after a failure of ours that nobody foresaw
PATIENCE = 30.0             # seconds that the queue may take to answer
WAIT = 60                   # seconds that it waits for a message before it says that there is none
FOREVER = 1e9               # seconds: what it hands out must not be for somebody who has stopped listening
STOP = 0.5                  # seconds for its answer when we are to stop
SLICE = 256                 # deliveries of one commit, so that nobody else waits long for the loop


@dataclass(slots=True)
class Task:
    """One message as the queue gives it, and what was found in its slot."""

    path: str
    id: str                             # the slot's own
    attempts: int
    pending: Sequence[int]              # indexes of recipients
    first: float
    told: frozenset[int]                # recipients of whose delay the sender knows
    envelope: Envelope | None = None
    blob: Blob | None = None
    relatives: Sequence[int] = ()
    derived: dict[int, Derived] = field(default_factory=dict)           # by recipient, as far as it was done at once
    trouble: Exception | None = None
    delivered: list[tuple[int, str]] = field(default_factory=list)      # recipients and mailboxes
    attempt: Attempt = field(default_factory=Attempt)

    @classmethod
    def read(cls, path: str, facts: Taken) -> Task:
        return cls(path, facts.id, facts.attempts, facts.pending, facts.first, who_was_told(facts.last, facts.pending))

    @property
    def name(self) -> str:
        """The id that follows the message everywhere."""
        return self.envelope.id if self.envelope and self.envelope.id else self.id


class Delivery:
    """Consumes one queue. ask(daemon, verb, ...) is Daemon.ask; alert(account) tells who watches; chance and clock are for tests."""

    def __init__(self, ask: Callable, alert: Callable[[str], None], mailboxes: Mailboxes, turn: Turn, recipients: Recipients, notices,
                 schedule: Schedule, thread: Executor, log: Log, counters: Counter, *, queue: str = "incoming", batch: int = 64,
                 separator: str = "+", later: Callable[[], None] = bool, chance: Callable[[], float] = random.random,
                 clock: Callable[[], float] = time.time) -> None:
        self.ask, self.alert, self.mailboxes, self.turn, self.recipients = ask, alert, mailboxes, turn, recipients
        self.notices, self.schedule, self.thread, self.log, self.counters = notices, schedule, thread, log, counters
        self.queue, self.batch, self.separator, self.chance, self.clock = queue, batch, separator, chance, clock
        self.later = later          # called when something was left to be derived
        self.stopped = False
        self.asked: asyncio.Future | None = None        # what the queue is asked for: more to do
        self.begun = False
        self.more = False       # the queue gave all that it was asked for: there may be more
        self.done: list[str] = []       # delivered, and not told to the queue yet
        self.size = 1           # of the next batch: should a message kill this process, it stands alone after a few restarts

    async def run(self) -> None:
        """Deliver what there is and what comes. Whatever happens, it goes on."""
        while not self.stopped:
            try:
                await self._drain()
            except Exception as error:
                self.log.exception("delivery failed", error)
                self.counters["failures"] += 1
                self.begun = False          # what was taken is given back
                await asyncio.sleep(PAUSE)
        if done := self._take_done():
            await self._say("done", *done)

    async def _drain(self) -> None:
        """Batch after batch, until there was none for a while."""
        batch = await self._fetch()
        while batch:
            following = asyncio.ensure_future(self._fetch()) if self.size == self.batch and self.more else None
            try:
                await self.deliver(batch)
            except Exception:
                self._release(await following if following else [])
                raise
            self.size = min(self.size * 2, self.batch)
            batch = await (following or self._fetch())

    def stop(self) -> None:
        """Take no more; `run` returns when what was taken is settled."""
        self.stopped = True
        if self.asked is not None:          # a queue that is away keeps nobody
            asyncio.ensure_future(self._say("leave", timeout=STOP))
            asyncio.get_running_loop().call_later(STOP if self.begun else 0.0, self.asked.cancel)

    # -- taking ------------------------------------------------------------------------------------------------------------

    async def _fetch(self) -> list[Task]:
        if self.stopped:
            return []
        try:
            if not self.begun:
                await self._ask("resume")
                self.begun = True
            asked, frames = self.size, await self._consume()
        except IpcError as error:
            self.log.debug("cannot take", reason=error.text)
            await asyncio.sleep(0.0 if self.stopped else PAUSE)
            return []
        tasks = [Task.read(path, facts) for path, facts in read_many(frames)]
        self.more = len(tasks) >= asked
        if tasks:
            await asyncio.get_running_loop().run_in_executor(self.thread, self._link, tasks)
        return tasks

    async def _consume(self) -> list[bytes]:
        """Tell the queue what is delivered, and have it say what is next as soon as there is something."""
        done = self._take_done()
        try:
            return await self._ask("consume", self.size, WAIT, *pack([json.dumps(path).encode() for path in done]), timeout=FOREVER)
        except BaseException:
            self.done[:0] = done
            raise

    def _take_done(self) -> list[str]:
        done, self.done = self.done, []
        return done

    async def _ask(self, verb: str, *words, **options) -> list[bytes]:
        """Ask the queue for more, until it answers or we stop: what it hands out meanwhile is ready again when we resume."""
        self.asked = asyncio.ensure_future(self.ask("queue", verb, self.queue, *words, **options))
        try:
            return await self.asked
        except asyncio.CancelledError:
            if not (self.stopped and self.asked.cancelled()):
                raise
            raise IpcError("4.3.2", "stopped while the queue was asked") from None
        finally:
            self.asked = None

    def _link(self, tasks: list[Task]) -> None:
        """In the thread: bring the contents in and make them durable, before any row names them."""
        for task in tasks:
            try:
                with read_slot(task.path) as slot:
                    task.envelope = slot.envelope
                    if slot.envelope is None:
                        raise SlotError("a slot without envelope: nobody knows whom it is for")
                    task.blob, head = self.mailboxes.stowage.take(slot)
                    if len(tasks) <= AT_ONCE and len(task.pending) <= AT_ONCE:
                        self._derive(task, slot.read() if task.blob.octets is None else task.blob.octets)
                task.relatives = relatives(head)
            except Exception as error:
                task.trouble = error
        crash_point("mailbox.linked")
        try:
            self.mailboxes.stowage.sync()
        except OSError as error:
            for task in tasks:
                task.trouble = task.trouble or error
        crash_point("mailbox.synced")

    def _derive(self, task: Task, content: bytes) -> None:
        """Compute what readers will ask for. Each recipient's copy begins with lines of its own."""
        received = int(task.envelope.received or task.first)
        try:
            for index, recipient in self._pending(task):
                task.derived[index] = precompute(trace(task.envelope.sender, self._split(recipient)[2]), content, received)
        except Exception as error:      # whatever it holds, it is delivered
            self.log.exception("cannot be derived", error, id=task.name)

    # -- delivering --------------------------------------------------------------------------------------------------------

    async def deliver(self, tasks: list[Task]) -> None:
        """Deliver and settle a batch. Trouble with the disk or with other daemons puts it off; a message that breaks us is set aside."""
        good = [task for task in tasks if task.trouble is None]
        aside = [self._trouble(task, task.trouble) for task in tasks if task.trouble is not None]
        try:
            if good:
                await self._together(good)
        finally:
            self._release(tasks)
            await asyncio.gather(*aside)

    def _release(self, tasks: list[Task]) -> None:
        self.mailboxes.stowage.release(task.blob for task in tasks if task.blob is not None)

    async def _together(self, tasks: list[Task]) -> None:
        try:
            await self._enter(tasks)
        except (StoreFailed, OSError) as error:
            self.log.error("not stored", reason=str(error), messages=len(tasks))
            await asyncio.gather(*(self._defer(task, TROUBLE, f"the mailboxes cannot be written: {error}") for task in tasks))
        except Exception as error:
            self.log.exception("batch failed", error, messages=len(tasks))
            if len(tasks) == 1:
                return await self._reject(tasks[0], f"{type(error).__name__}: {error}")
            for task in tasks:          # one of them did it: the others are innocent
                await self._together([task])

    async def _enter(self, tasks: list[Task]) -> None:
        accounts = await self.recipients.find_all(self._split(recipient)[0] for task in tasks for _, recipient in self._pending(task))
        arrivals = [arrival for task in tasks for arrival in self._arrivals(task, accounts)]
        by_id = {task.id: task for task in tasks}
        for start in range(0, len(arrivals), SLICE):
            part = arrivals[start:start + SLICE]
            outcomes = await self.turn.run(lambda: self.mailboxes.deliver(part))
            crash_point("mailbox.stored")
            for arrival, outcome in zip(part, outcomes):
                self._delivered(by_id[arrival.queue_id], arrival, outcome)
            for account in {arrival.account for arrival in part}:
                self.alert(account)
            if any(arrival.derived is None for arrival in part):
                self.later()
        await self._settle(tasks)

    def _pending(self, task: Task) -> Iterator[tuple[int, Recipient]]:
        known = task.envelope.recipients
        return ((index, known[index]) for index in task.pending if index < len(known))

    def _arrivals(self, task: Task, accounts: dict[str, Account | IpcError]) -> Iterator[Arrival]:
        """The recipients who have a mailbox; why the others have none goes into the attempt."""
        envelope = task.envelope
        for index, recipient in self._pending(task):
            user, tag, shown = self._split(recipient)
            account = accounts[user]
            if isinstance(account, Account):
                yield Arrival(account.address, task.id, index, envelope.sender, shown, tag, task.blob, envelope.received or task.first,
                              task.relatives, account.quota, task.derived.get(index))
            elif account.temporary:
                task.attempt.add([RecipientResult(index, "deferred", "4.3.0", account.text)])
            else:
                task.attempt.add([RecipientResult(index, "failed", account.status, account.text)])

    def _split(self, recipient: Recipient) -> tuple[str, str, str]:
        """Whose mailbox, which tag, and the address to show in Delivered-To. The tag is in what the sender wrote."""
        local, _, domain = recipient.address.rpartition("@")
        base, tag = detail(local, self.separator) if self.separator else (local, "")
        account = f"{base}@{domain}"
        if tag or not recipient.original or not self.separator:
            return account, tag, recipient.address
        written, _, there = recipient.original.rpartition("@")
        written, tag = detail(written, self.separator)
        same = tag and (written.lower(), there.lower()) == (base.lower(), domain.lower())
        return account, tag, recipient.original if same else recipient.address

    def _delivered(self, task: Task, arrival: Arrival, outcome: Delivered | MailboxRefusal) -> None:
        if isinstance(outcome, MailboxRefusal):
            task.attempt.add([RecipientResult(arrival.recipient, "deferred", outcome.status, outcome.text)])
            return
        task.delivered.append((arrival.recipient, outcome.mailbox))
        if outcome.duplicate:
            self.counters["duplicates"] += 1
            self.log.info("already delivered", id=task.name, to=arrival.account, mailbox=outcome.mailbox, uid=outcome.uid)
        else:
            self.counters["delivered"] += 1
            self.log.info("delivered", id=task.name, sender=arrival.sender, to=arrival.account, mailbox=outcome.mailbox, uid=outcome.uid,
                          size=arrival.blob.length)

    # -- settling ----------------------------------------------------------------------------------------------------------

    async def _settle(self, tasks: list[Task]) -> None:
        """Most are done, which is said with the next question; the others each have their own story."""
        stories = []
        for task in tasks:
            if task.attempt.results or any(recipient.notify and "SUCCESS" in recipient.notify for recipient in task.envelope.recipients):
                stories.append(self._conclude(task))
            else:
                self.done.append(task.path)
        for error in await asyncio.gather(*stories, return_exceptions=True):
            if isinstance(error, Exception):
                raise error

    async def _conclude(self, task: Task) -> None:
        """Give up what is too old, tell the sender, write down, defer what is left. The sender is told before the failure is
        written down: a crash between loses no DSN, and the queue knows one that is repeated."""
        attempt, envelope, age = task.attempt, task.envelope, max(self.clock() - task.first, 0.0)
        attempt.add(RecipientResult(index, "delivered", "2.1.5", f"delivered to {mailbox}") for index, mailbox in task.delivered)
        give_up(attempt, self.schedule, task.attempts, age)
        try:
            for notice in (*notices(envelope, attempt, self.schedule, age, task.told), *_receipts(task)):
                if await self.notices.tell(envelope, notice, task.path):
                    self.counters[f"notices_{notice.kind}"] += 1
                if notice.kind == DELAYED:
                    mark_told(attempt, [result.recipient for result in notice.results])
        except (IpcError, OSError) as error:        # what was delivered will be found so
            return await self._defer(task, TROUBLE, f"the sender cannot be told: {error}")
        mark_told(attempt, task.told)
        failed, waiting = attempt.in_state("failed"), attempt.in_state("deferred")
        if failed and not envelope.sender:
            self.counters["double_bounces"] += 1
            self.log.warning("double bounce", id=task.name, reason=unsent(failed))
        for result in (*failed, *waiting):
            self.counters[f"recipients_{result.state}"] += 1
            self.log.info(result.state, id=task.name, to=envelope.recipients[result.recipient].address, status=result.status, reason=result.text)
        await self._say("result", task.path, *dump_parts(result for _, result in sorted(attempt.results.items())))
        if waiting:
            await self._defer(task, self.schedule.wait(task.attempts, age, self.chance()), waiting[0].text)

    async def _trouble(self, task: Task, error: Exception) -> None:
        if isinstance(error, FileNotFoundError):
            await self._say("defer", task.path, 0.0, "its file is gone")        # somebody dropped it: the queue finds out
        elif isinstance(error, OSError):
            await self._defer(task, TROUBLE, f"the slot cannot be read: {error}")
        elif isinstance(error, (SlotError, BadContent)):
            await self._reject(task, str(error))
        else:
            self.log.exception("cannot be linked", error, id=task.id)
            await self._reject(task, f"{type(error).__name__}: {error}")

    async def _reject(self, task: Task, reason: str) -> None:
        self.counters["rejected"] += 1
        self.log.error("unusable", id=task.name, reason=reason)
        await self._say("reject", task.path, reason[:500])

    async def _defer(self, task: Task, seconds: float, reason: str) -> None:
        self.counters["deferred"] += 1
        await self._say("defer", task.path, round(seconds, 3), reason[:500])

    async def _say(self, verb: str, *words, timeout: float = PATIENCE) -> None:
        """Tell the queue. When it cannot hear it the lease ends by itself, and all of this is found to have been done."""
        try:
            await self.ask("queue", verb, self.queue, *words, timeout=timeout)
        except IpcError as error:
            self.log.warning("queue not told", what=verb, reason=error.text)


def _receipts(task: Task) -> Iterator[Notice]:
    """The DSN about deliveries that a sender asked for (RFC 3461 6.3)."""
    wished = [result for result in task.attempt.in_state("delivered") if "SUCCESS" in task.envelope.recipients[result.recipient].notify]
    if wished and task.envelope.sender:
        yield Notice("delivered", tuple(wished))
