"""The life of one message, told in one file: begin to read here.

    arrive   somebody brings it; each recipient is judged; it is written into slots and pushed: only then it is ours ("250")
    deliver  local recipients: its content goes into the blob store, its rows into mailboxes
    carry    remote recipients: each is offered to the world, which takes it, refuses it or asks for patience
    settle   what became of each recipient is written down; who sent it hears of failures; what is left comes back later
    fetch    its reader finds it

The daemons do these steps over sockets, in batches, each in its own process: servers/smtpin, servers/mailbox/delivery.py,
servers/smtpout/dispatch.py, servers/pop3. Here they are plain calls on the same rules, over whatever engines one gives it;
tests/core/test_journey.py walks it in memory and on disk. It opens no socket and no file: `write`, `read` and `world` come from outside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fancymail.core.accounts import Directory
from fancymail.core.aliases import AccountError
from fancymail.core.delivery import Attempt, give_up, notices
from fancymail.core.heading import transfer_heading
from fancymail.core.mailboxes import Arrival, Mailboxes, MailboxRefusal
from fancymail.core.maildrop import RECORD, Maildrop, Snapshot
from fancymail.core.queue import QueueManager, pending
from fancymail.core.reception import Client, Refusal, Route, judge_unresolved
from fancymail.core.relatives import relatives
from fancymail.core.schedule import Schedule
from fancymail.mail import dsn
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.results import RecipientResult, dump
from fancymail.mail.trace import received_field
from fancymail.mail.uidset import ranges
from fancymail.storage.ports.queue import Entry

QUEUES = {"local": "incoming", "remote": "outgoing"}


class Outcome(NamedTuple):
    """What whoever brought a message hears: its id ("" when it was refused), and a refusal or None for each recipient."""

    id: str
    replies: list[Refusal | None]


class Journey:
    """A mail server without its daemons. host: its name. world(address, content) says what another server answers: a state and status of
    mail.results, and a text. write(path, envelope, content) and read(path) handle slots as a client of the queue does."""

    def __init__(self, host: str, directory: Directory, queue: QueueManager, mailboxes: Mailboxes, schedule: Schedule,
                 world: Callable[[str, bytes], tuple[str, str, str]], write: Callable, read: Callable, *,
                 clock: Callable[[], float] = time.time) -> None:
        self.host, self.directory, self.queue, self.mailboxes, self.schedule = host, directory, queue, mailboxes, schedule
        self.world, self.write, self.read, self.clock = world, write, read, clock

    # 1. It arrives.

    async def arrive(self, client: Client, helo: str, sender: str, addresses: list[str], content: bytes) -> Outcome:
        """Take a message in, or say why not. When this returns an id, the message is on the disk, and will be delivered or bounced."""
        recipients: dict[str, dict[str, Recipient]] = {}
        replies: list[Refusal | None] = []
        for address in addresses:
            routes = self.judge(client, address)
            if isinstance(routes, Refusal):
                replies.append(routes)
                continue
            replies.append(None)
            for kind, target in routes:             # an alias may lead two recipients to one mailbox: it gets one copy
                recipients.setdefault(kind, {}).setdefault(target, Recipient(target, address if target != address else ""))
        if not recipients:
            return Outcome("", replies)
        header, blank, body = content.partition(b"\r\n\r\n")
        heading = transfer_heading(header + b"\r\n", self.host, hops=50)
        if isinstance(heading, Refusal):            # it has been here too often
            return Outcome("", [heading] * len(addresses))
        return Outcome(await self.enqueue(helo, sender, recipients, heading + blank[2:] + body), replies)

    def judge(self, client: Client, address: str) -> list[Route] | Refusal:
        """Decide about one recipient: ours goes to a mailbox or where its alias leads; a stranger's is nobody's business of ours."""
        try:
            found = self.directory.resolve(address)
        except AccountError as error:
            return judge_unresolved(client, address, error.status, error.text)
        return [Route("local", account) for account in found.local] + [Route("remote", target) for target in found.remote]

    async def enqueue(self, helo: str, sender: str, recipients: dict[str, dict[str, Recipient]], content: bytes) -> str:
        """One slot for the local recipients, one for the remote ones; the first one's id follows the message everywhere."""
        slots = {kind: self.queue.slot(QUEUES[kind])[0] for kind in sorted(recipients)}
        id = next(iter(slots.values())).rpartition("/")[2]
        trace = received_field(helo, "", self.host, "ESMTP", "", id, "", self.clock())
        for kind, path in slots.items():
            self.write(path, Envelope(id, sender, list(recipients[kind].values()), received=self.clock(), helo=helo), trace + content)
        for kind, path in slots.items():
            await self.queue.push(QUEUES[kind], path)       # durable, or it raises and nobody says 250
        return id

    # 2. Local recipients: into mailboxes.

    async def deliver(self) -> int:
        """Deliver a batch from `incoming`; how many messages there were."""
        batch = self.queue.take("incoming", 64, "mailbox")
        for entry in batch:
            path, attempt = self.queue.path(entry), Attempt()
            with self.read(path) as slot:
                envelope = slot.envelope
                blob, head = self.mailboxes.stowage.take(slot)      # the hash is verified
            self.mailboxes.stowage.sync()                           # first a large content, then the rows that name it; a small one is in them
            arrivals = list(self._arrivals(entry, envelope, blob, relatives(head), attempt))
            for arrival, outcome in zip(arrivals, self.mailboxes.deliver(arrivals)):
                state, status, text = ("deferred", outcome.status, outcome.text) if isinstance(outcome, MailboxRefusal) else (
                    "delivered", "2.1.5", f"delivered to {outcome.mailbox}")
                attempt.add([RecipientResult(arrival.recipient, state, status, text)])
            self.mailboxes.stowage.release([blob])
            await self.settle("incoming", entry, envelope, attempt)
        return len(batch)

    def _arrivals(self, entry: Entry, envelope: Envelope, blob, references, attempt: Attempt) -> Iterator[Arrival]:
        for index in pending(entry):
            address = envelope.recipients[index].address
            account = self.directory.find(address)
            if account is None:                     # it went between acceptance and delivery
                attempt.add([RecipientResult(index, "failed", "5.1.1", "no such user")])
            else:                                   # by id and index a repetition is recognised: nothing arrives twice
                yield Arrival(account.address, entry.id, index, envelope.sender, address, "", blob, envelope.received, references, account.quota)

    # 3. Remote recipients: into the world.

    async def carry(self) -> int:
        """Offer a batch from `outgoing` to the world; how many messages there were."""
        batch = self.queue.take("outgoing", 64, "smtpout")
        for entry in batch:
            attempt = Attempt()
            with self.read(self.queue.path(entry)) as slot:
                envelope, content = slot.envelope, slot.read()
            for index in pending(entry):
                state, status, text = self.world(envelope.recipients[index].address, content)
                attempt.add([RecipientResult(index, state, status, text)])
            await self.settle("outgoing", entry, envelope, attempt)
        return len(batch)

    # 4. What became of it.

    async def settle(self, queue: str, entry: Entry, envelope: Envelope, attempt: Attempt) -> None:
        """Tell the sender what there is to tell, then write results down; the order loses no notice, whenever the power fails."""
        age = self.clock() - entry.pushed
        give_up(attempt, self.schedule, entry.attempts, age)
        for notice in notices(envelope, attempt, self.schedule, age, frozenset()):
            await self.notify(queue, entry, envelope, notice)
        waiting = attempt.in_state("deferred")
        if not await self.queue.result(queue, self.queue.path(entry), dump(attempt.results.values())) and waiting:
            self.queue.defer(queue, self.queue.path(entry), self.schedule.wait(entry.attempts, age, 0.5), waiting[0].text)

    async def notify(self, queue: str, entry: Entry, envelope: Envelope, notice) -> None:
        """A notice is a message like any other, but from nobody: so nobody answers it."""
        routes = self.judge(Client("submission", trusted=True), envelope.sender)
        if isinstance(routes, Refusal):
            return
        with self.read(self.queue.path(entry)) as slot:
            content = dsn.build(notice.kind, envelope, notice.results, slot.read(0, dsn.HEADER_LIMIT),
                                host=self.host, id=f"{entry.id}.{entry.attempts}", time=self.clock())
        recipients: dict[str, dict[str, Recipient]] = {}
        for kind, target in routes:
            recipients.setdefault(kind, {})[target] = Recipient(target, notify=("NEVER",))
        await self.enqueue(self.host, "", recipients, content)

    # 5. Its reader finds it.

    def fetch(self, user: str, delete: bool = False) -> list[bytes]:
        """All messages in a user's INBOX, as a POP3 session sees them; `delete` takes them away at its end."""
        account = self.directory.require(user).address
        box, sizes = self.mailboxes.inbox(account)
        maildrop = Maildrop(Snapshot(box.uidvalidity, b"".join(RECORD.pack(*each) for each in sizes)))
        messages = []
        for number in range(1, maildrop.count + 1):
            message = self.mailboxes.message(account, maildrop.find(number)[0])
            messages.append(b"".join(self.mailboxes.octets(message)))
        if delete:
            for number in range(1, len(messages) + 1):
                maildrop.delete(number)
            self.mailboxes.expunge(account, ranges(maildrop.deleted_uids()))
        return messages

    # All of it.

    async def walk(self) -> None:
        """Deliver and carry until nothing is left to do now."""
        while await self.deliver() + await self.carry():
            pass
