"""The way of a message from the mailbox to a client: read through the reader, dots stuffed, sent.

One `Letters` per session of servers/pop3/session.py. Clients fetch messages one after the other, so with one of them the next few are read, as many
as are small together. A message that fits is answered in one piece, a larger one in chunks; none of these is ever whole in memory. To a client that
did not say UTF8 no header goes out but in ASCII (RFC 6856 2, mail/downgrade.py); nearly all messages have no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from fancymail.core.imap.parts import headers
from fancymail.ipc.message import IpcError
from fancymail.mail import uidset
from fancymail.mail.downgrade import Downgrade
from fancymail.protocol.pop3.content import Top
from fancymail.protocol.pop3.events import Maildrop, Retrieve
from fancymail.protocol.pop3.server import Pop3Server
from fancymail.servers.doors.connection import CHUNK, Connection
from fancymail.storage.ports.reader import CONTENT, KEPT, BoxReader, Content

SMALL = 64 * 1024               # octets of a message that is sent in one piece
TOP_CHUNK = 16 * 1024           # most headers end within it
AHEAD = 16                      # messages that are read at once while a client fetches one after the other
ROOM = 128 * 1024               # ... and their octets


class Found(NamedTuple):
    """A message: where its octets are, and these themselves if they were at hand."""

    content: Content
    kept: bytes | None


class Letters:
    """Finds and sends the messages of one maildrop."""

    def __init__(self, connection: Connection, engine: Pop3Server, maildrop: Maildrop, box: BoxReader) -> None:
        self._connection, self._engine, self._maildrop, self._box = connection, engine, maildrop, box
        self._ahead: dict[int, Found] = {}      # by UID: read, and not sent yet
        self._previous = 0                      # the last number sent

    async def send(self, event: Retrieve) -> None:
        """Send a message. Raises IpcError (it is gone), KeyError (its content is), OSError; MailboxGone, StoreFailed."""
        found = self._ahead.pop(event.uid, None)
        if found is None:
            await self._read(event.number, AHEAD if event.number == self._previous + 1 else 1)
            found = self._ahead.pop(event.uid, None)
        self._previous = event.number
        if found is None:
            raise IpcError("5.5.4", "no such message")
        content, size = found.content, len(found.content.prefix) + found.content.length
        if found.kept is not None:
            await self._say(event, content.prefix + found.kept)
        elif size <= SMALL:
            await self._say(event, _whole(await self._box.octets(content), size))
        else:
            await self._stream(event, content, size)

    def forget(self) -> None:
        """The session is over."""
        self._ahead.clear()

    async def _read(self, number: int, most: int) -> None:
        """Read where messages from a number on are, and the octets of small ones."""
        uids, room = [], ROOM
        for following in range(number, number + most):
            message = self._maildrop.find(following)
            if message is None:
                continue
            uid, octets = message
            room -= octets
            if uids and room < 0:
                break
            uids.append(uid)
        rows = await self._box.columns((*CONTENT, KEPT), uidset.ranges(uids))
        self._ahead = {row[0]: Found(Content(*row[:-1]), row[-1]) for row in rows}

    async def _say(self, event: Retrieve, content: bytes) -> None:
        if not self._engine.utf8 and not content.isascii():
            content = (await self._downgrade(event.uid))(content)
        self._engine.content(content if event.lines is None else Top(event.lines)(content))

    async def _stream(self, event: Retrieve, content: Content, size: int) -> None:
        """Send a large message. From its beginning on an error can only end the connection: the client counts on an end."""
        _whole(await self._box.octets(content, size - 1, 1), 1)         # all of it is there
        plain = await self._downgrade(event.uid) if not self._engine.utf8 else None
        stuff = self._engine.begin_content(event.octets)
        transform, step = (stuff, CHUNK) if event.lines is None else (_cut(Top(event.lines), stuff), TOP_CHUNK)
        self._connection.flush()
        for at in range(0, size, step):
            length = min(step, size - at)
            chunk = _whole(await self._box.octets(content, at, length), length)
            chunk = transform(chunk if plain is None else plain(chunk))
            if chunk is None:
                break
            self._connection.write(chunk)
            await self._connection.drained()
            await asyncio.sleep(0)              # a fast peer must not keep the loop from the others
        self._engine.end_content()

    async def _downgrade(self, uid: int) -> Downgrade:
        """What makes the headers of a message ASCII: where they are was found out at its delivery. Raises IpcError."""
        rows = await self._box.columns(("parts",), [(uid, uid)])
        if not rows:
            raise IpcError("4.3.0", "nothing is known of the message's parts")
        return Downgrade(headers(rows[0][1]))


def _cut(top: Top, stuff: Callable[[bytes], bytes]) -> Callable[[bytes], bytes | None]:
    """Join TOP's cut with the stuffing; None ends the sending."""
    def transform(chunk: bytes) -> bytes | None:
        wanted = top(chunk)
        return None if wanted is None else stuff(wanted)
    return transform


def _whole(octets: bytes, size: int) -> bytes:
    """Octets, as many as were promised. Raises KeyError."""
    if len(octets) < size:
        raise KeyError("the content is shorter than it was")
    return octets
