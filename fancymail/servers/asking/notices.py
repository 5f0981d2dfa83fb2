"""Delivery status notifications on their way: built by mail/dsn.py, pushed into the queue as messages of their own.

Used by smtpout and mailbox for what core/delivery.py says is due. A local sender's goes into `incoming`, a remote one's into
`outgoing`; its reverse-path is null, so that it never causes another. `tell` returns when the notification is durable, and raises
IpcError when it cannot be made so now: then the failure must not be written down yet.

Its slot has a name that follows from what it tells, so that one which was pushed before a crash, and is told again after it, is known to
the queue, and to the mailbox that has it already. A key of the daemon's own goes into the name: nobody else can guess it, as with all slots.
"""

from __future__ import annotations

import asyncio
import os
import time
from base64 import b32encode
from collections.abc import Callable
from concurrent.futures import Executor
from hashlib import blake2b

from fancymail.base.log import Log
from fancymail.core.delivery import Notice
from fancymail.ipc.message import IpcError
from fancymail.mail import dsn
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.trace import made_here
from fancymail.storage.slots import SlotError, SlotWriter, read_slot

QUEUES = {"local": "incoming", "remote": "outgoing"}


class Notices:
    """Tells senders. ask(daemon, verb, ...) is Daemon.ask; expire: seconds after which a message is given up; clock is for tests."""

    def __init__(self, ask: Callable[..., asyncio.Future], hostname: str, expire: float, pool: Executor, log: Log, secret: bytes,
                 clock: Callable[[], float] = time.time) -> None:
        self.ask, self.hostname, self.expire, self.pool, self.log, self.secret, self.clock = ask, hostname, expire, pool, log, secret, clock

    async def tell(self, envelope: Envelope, notice: Notice, path: str, header: bytes | None = None) -> bool:
        """Tell the sender; False when nobody is there to be told. `path`: the original's slot, which must still be in the queue;
        when it may be gone give its header instead."""
        ways = await self._ways(envelope)
        if header is None:
            try:
                content, whole = await asyncio.get_running_loop().run_in_executor(self.pool, _original, path, envelope)
            except OSError as error:        # no descriptor, a disk in trouble: later there may be something to show
                raise IpcError("4.3.0", f"the original cannot be read: {error}") from error
        else:
            content, whole = header, False
        for queue, addresses in ways.items():
            await self._send(envelope, notice, path, queue, addresses, content, whole)
        return bool(ways)

    async def _ways(self, envelope: Envelope) -> dict[str, list[str]]:
        """Where the sender's mail goes: queue -> addresses. Nowhere, when it is an address of ours that does not exist."""
        try:
            words = [word.decode() for word in await self.ask("auth", "resolve", envelope.sender)]
        except IpcError as error:
            if error.temporary:
                raise
            if error.status != "5.1.2":
                self.log.warning("double bounce", id=envelope.id, sender=envelope.sender, reason=error.text)
                return {}
            words = [f"remote:{envelope.sender}"]
        ways: dict[str, list[str]] = {}
        for word in words:
            kind, _, address = word.partition(":")
            if kind in QUEUES:
                ways.setdefault(QUEUES[kind], []).append(address)
        return ways

    async def _send(self, envelope: Envelope, notice: Notice, original: str, queue: str, addresses: list[str], content: bytes,
                    whole: bool) -> None:
        path = self.place(original, queue, notice)
        if await self._is_there(queue, path):
            self.log.info("notified before", id=envelope.id, notice=path.rpartition("/")[2], kind=notice.kind)
            return
        try:
            await self._write(envelope, notice, path, addresses, content, whole)
            await self.ask("queue", "push", queue, path)
        except IpcError as error:
            if error.status != "4.3.0":
                raise
            path = (await self.ask("queue", "slot", queue))[0].decode()         # a slot whose sync failed is never used again
            await self._write(envelope, notice, path, addresses, content, whole)
            await self.ask("queue", "push", queue, path)
        self.log.info("notified", id=envelope.id, notice=path.rpartition("/")[2], kind=notice.kind, sender=envelope.sender,
                      recipients=len(notice.results))

    def place(self, original: str, queue: str, notice: Notice) -> str:
        """The slot of a notification: named after the message, whom it tells of, and what."""
        told = ",".join(str(number) for number in sorted(result.recipient for result in notice.results))
        queues, name = os.path.split(os.path.dirname(original))[0], os.path.basename(original)
        digest = blake2b("\0".join((name, queue, notice.kind, told)).encode(), key=self.secret[:64], digest_size=20).digest()
        return f"{queues}/{queue}/{b32encode(digest)[:26].decode().lower()}"

    async def _is_there(self, queue: str, path: str) -> bool:
        """Whether the queue has it, or had it not long ago; what a power cut spoilt is taken away."""
        try:
            await self.ask("queue", "push", queue, path)
            return True
        except IpcError as error:
            if error.status == "5.6.0":
                await asyncio.get_running_loop().run_in_executor(self.pool, os.unlink, path)
            elif os.path.exists(path):
                raise
            return False

    async def _write(self, envelope: Envelope, notice: Notice, path: str, addresses: list[str], content: bytes, whole: bool) -> None:
        id, now = path.rpartition("/")[2], self.clock()

        def write() -> None:             # in the pool: thousands of recipients take a while to be spoken of
            message = made_here(self.hostname, id, now) + dsn.build(
                notice.kind, envelope, notice.results, content, host=self.hostname, id=id, time=now, whole=whole,
                retry_until=envelope.received + self.expire)
            body, smtputf8 = dsn.needs(message)
            # RFC 3461 6.2: a DSN goes from the null reverse-path, and asks for none itself
            people = [Recipient(address, envelope.sender if address != envelope.sender else "", notify=("NEVER",)) for address in addresses]
            smtputf8 = smtputf8 or not all(map(str.isascii, addresses))
            _write_whole(path, Envelope(id, "", people, received=now, client="", protocol="LOCAL", body=body, smtputf8=smtputf8), message)
        try:
            await asyncio.get_running_loop().run_in_executor(self.pool, write)
        except OSError as error:         # no room, no descriptor: the failure waits with it
            raise IpcError("4.3.0", f"the notification cannot be written: {error}") from error


def _write_whole(path: str, envelope: Envelope, message: bytes) -> None:
    """Write a slot that stands under its name only when it is whole: half of one, under a name that is used again, could pass for a bare slot."""
    writer = SlotWriter(aside := f"{path}.new")
    writer.write(message)
    writer.path = path                  # the name that the envelope says
    writer.finish(envelope)
    os.rename(aside, path)


def _original(path: str, envelope: Envelope) -> tuple[bytes, bool]:
    """The original's content, or its beginning, and whether that is all; nothing when it is gone, or another one by now. Raises OSError."""
    try:
        with read_slot(path) as slot:
            if slot.envelope is None or slot.envelope.id != envelope.id:
                return b"", False
            whole = envelope.ret == "FULL" and slot.content_length <= dsn.FULL_LIMIT or slot.content_length <= dsn.HEADER_LIMIT
            return slot.read(0, None if whole else dsn.HEADER_LIMIT * 2), whole
    except (FileNotFoundError, SlotError):
        return b"", False
