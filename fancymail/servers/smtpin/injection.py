"""The verb `inject`: a whole message from an operator's hand into the queue, by the way that all mail takes.

Mixed into fm-smtpin's daemon. Recipients are resolved as in a session, one slot is written for the local and one for the
remote ones, and `ok` means what 250 means: every slot was pushed. The operator may name any sender and any recipient.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fancymail.ipc.message import IpcError, Reply
from fancymail.ipc.raw import RawInbox
from fancymail.ipc.verb import Address, Octets, RawStream, verb
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.trace import received_field
from fancymail.storage.slots import write_slot

QUEUES = {"local": "incoming", "remote": "outgoing"}


class Injection:
    """Gives a daemon the verb `inject`; needs `ask`, `settings`, `log` and `counters` of Daemon."""

    @verb
    async def inject(self, sender: Address, length: Octets, *recipients: Address, raw: RawStream) -> AsyncIterator[Reply]:
        """Queue a message for recipients: `ok`, then `length` raw octets are sent, then `ok: id` when all of it is durable."""
        if not recipients:
            raise IpcError("5.5.4", "there is no recipient")
        if length > self.settings.smtpin.message_size:
            raise IpcError("5.3.4", f"the message is larger than {self.settings.smtpin.message_size} octets")
        routes = await self._routes(recipients)
        yield Reply("ok")
        content = await _read(raw, length)
        yield Reply("ok", await self._queue(sender, routes, content))

    async def _routes(self, recipients: tuple[str, ...]) -> dict[str, list[Recipient]]:
        """Ask auth where each recipient's mail goes; a domain that is not ours is remote. Raises IpcError for no such user."""
        routes: dict[str, list[Recipient]] = {}
        for address in recipients:
            try:
                words = [word.decode() for word in await self.ask("auth", "resolve", address)]
            except IpcError as error:
                if error.status != "5.1.2":
                    raise IpcError(error.status, f"{address}: {error.text}") from None
                words = [f"remote:{address}"]
            for word in words:
                kind, _, target = word.partition(":")
                if kind in QUEUES:
                    original = address if target != address else ""
                    routes.setdefault(kind, []).append(Recipient(target, original))
        if not routes:
            raise IpcError("5.1.1", "no recipient leads anywhere")
        return routes

    async def _queue(self, sender: str, routes: dict[str, list[Recipient]], content: bytes) -> str:
        """Write and push one slot per queue; the first slot's id is the message's."""
        id, pushes = "", []
        for kind, recipients in routes.items():
            path = (await self.ask("queue", "slot", QUEUES[kind]))[0].decode()
            id = id or path.rpartition("/")[2]
            envelope = Envelope(id=id, sender=sender, recipients=recipients, received=time.time(), client="", protocol="LOCAL",
                                body="7BIT" if content.isascii() else "8BITMIME")
            trace = received_field("localhost", "", self.settings.server.hostname, "LOCAL", "", id, "", time.time())
            await asyncio.to_thread(write_slot, path, envelope, trace + content)
            pushes.append((QUEUES[kind], path))
        for queue, path in pushes:
            await self.ask("queue", "push", queue, path)
        self.counters["injected"] += 1
        self.log.info("injected", id=id, sender=sender, recipients=sum(map(len, routes.values())), size=len(content))
        return id


async def _read(raw: RawInbox, length: int) -> bytes:
    chunks = [chunk async for chunk in raw.read(length)]
    return b"".join(chunks)
