"""The verb `inject`: a whole message from an operator's hand into the queue, by the way that all mail takes.

Mixed into fm-smtpin's daemon. Recipients are resolved as in a session, one slot is written for the local and one for the
remote ones, and `ok` means what 250 means: every slot was pushed. The operator may name any sender and any recipient.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from fancymail.ipc.message import IpcError, Reply
from fancymail.ipc.raw import RawInbox
from fancymail.ipc.verb import Address, Octets, RawStream, verb
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.trace import received_field
from fancymail.servers.smtpin.transaction import refusal_of
from fancymail.storage.slots import SlotError, write_slot

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
        """Write and push one slot per queue; the first slot's id is the message's. Raises IpcError, and then it is nobody's."""
        slots = [((await self.ask("queue", "slot", QUEUES[kind]))[0].decode(), QUEUES[kind], people) for kind, people in routes.items()]
        id, now = slots[0][0].rpartition("/")[2], time.time()
        whole = received_field("localhost", "", self.settings.server.hostname, "LOCAL", "", id, "", now) + content
        body = "7BIT" if content.isascii() else "8BITMIME"
        envelopes = [(path, Envelope(id=id, sender=sender, recipients=people, received=now, client="", protocol="LOCAL", body=body))
                     for path, _, people in slots]
        await asyncio.to_thread(_write, envelopes, whole)
        for path, queue, _ in slots:
            await self.ask("queue", "push", queue, path)
        self.counters["injected"] += 1
        self.log.info("injected", id=id, sender=sender, recipients=sum(map(len, routes.values())), size=len(content))
        return id


def _write(envelopes: list[tuple[str, Envelope]], content: bytes) -> None:
    """Write all slots, or empty those that were: the queue would find a message in each. Raises IpcError."""
    written = []
    try:
        for path, envelope in envelopes:
            write_slot(path, envelope, content)
            written.append(path)
    except (OSError, SlotError) as error:
        for path in written:
            with suppress(OSError):
                os.truncate(path, 0)
        raise IpcError(refusal_of(error).status, f"not stored: {error}") from error


async def _read(raw: RawInbox, length: int) -> bytes:
    chunks = [chunk async for chunk in raw.read(length)]
    return b"".join(chunks)
