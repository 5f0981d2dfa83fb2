"""The way of a message from the blob store to a client: where it lies is asked of fm-mailbox, its octets are read from the disk.

One `Letters` per session of servers/pop3/session.py. Clients fetch messages one after the other, so while one is sent the places
of the next few are asked for already. A small message goes out in one piece, a large one in chunks; none is ever whole in memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from fancymail.ipc.message import IpcError
from fancymail.protocol.pop3.content import Top
from fancymail.protocol.pop3.events import Maildrop, Retrieve
from fancymail.protocol.pop3.server import Pop3Server
from fancymail.servers.connection import CHUNK, Connection

SMALL = 64 * 1024               # octets of a message that is sent in one piece
TOP_CHUNK = 16 * 1024           # most headers end within it
AHEAD = 32                      # messages whose places are asked for in one request while a client fetches one after the other


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies: `prefix`, then `length` octets of a file from `offset` on; a small one is `prefix` alone, and has no path."""

    path: bytes
    offset: int
    length: int
    prefix: bytes


class Letters:
    """Finds and sends the messages of one maildrop. `ask(uids)` is the verb `blob` of fm-mailbox for its account."""

    def __init__(self, connection: Connection, engine: Pop3Server, maildrop: Maildrop, ask: Callable[[list[int]], asyncio.Future]) -> None:
        self._connection, self._engine, self._maildrop, self._ask = connection, engine, maildrop, ask
        self._asked: dict[int, tuple[asyncio.Future, int]] = {}         # UID -> (answer, which of its places)
        self._previous = self._reached = 0                              # the last number sent, and asked for

    def send(self, event: Retrieve) -> Coroutine | None:
        """Send a message, at once if its place is known and it is small. It, or the coroutine, raises OSError, IpcError, ValueError."""
        if event.number != self._previous + 1:
            self._asked.clear()                 # it picks: nobody knows what it wants next
            self._reached = event.number
        elif event.number > self._reached - AHEAD // 2:
            self._look_ahead(event.number)
        self._previous = event.number
        answer, index = self._asked.pop(event.uid, None) or (self._ask([event.uid]), 0)
        if not answer.done():
            return self._send_later(event, answer, index)
        return self._send_from(event, _place(answer.result(), index))

    def forget(self) -> None:
        """The session is over."""
        self._asked.clear()

    def _look_ahead(self, number: int) -> None:
        """Ask for the places of the next messages, in one request."""
        first = max(number, self._reached + 1)
        self._reached = first + AHEAD - 1
        found = [self._maildrop.find(following) for following in range(first, first + AHEAD)]
        uids = [message[0] for message in found if message is not None and message[0] not in self._asked]
        if uids:
            answer = self._ask(uids)
            answer.add_done_callback(_seen)
            self._asked.update((uid, (answer, index)) for index, uid in enumerate(uids))

    async def _send_later(self, event: Retrieve, answer: asyncio.Future, index: int) -> None:
        sending = self._send_from(event, _place(await answer, index))
        if sending is not None:
            await sending

    def _send_from(self, event: Retrieve, place: Place) -> Coroutine | None:
        if not place.path:
            return self._say(event, place.prefix)
        fd = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
        if len(place.prefix) + place.length > SMALL:
            return self._stream(fd, event, place)
        try:
            content = place.prefix + os.pread(fd, place.length, place.offset)
        finally:
            os.close(fd)
        if len(content) < len(place.prefix) + place.length:
            raise OSError(f"{os.fsdecode(place.path)} is shorter than it was")
        return self._say(event, content)

    def _say(self, event: Retrieve, content: bytes) -> None:
        self._engine.content(content if event.lines is None else Top(event.lines)(content))

    async def _stream(self, fd: int, event: Retrieve, place: Place) -> None:
        """Send a large message. From here on an error can only end the connection: the client counts on an end."""
        try:
            if os.fstat(fd).st_size < place.offset + place.length:
                raise OSError(f"{os.fsdecode(place.path)} is shorter than it was")
            stuff = self._engine.begin_content(event.octets)
            if event.lines is None:
                transform, size = stuff, CHUNK
            else:
                transform, size = _cut(Top(event.lines), stuff), TOP_CHUNK
            self._connection.flush()
            self._connection.write(transform(place.prefix) or b"")
            await self._connection.send_file(fd, place.offset, place.length, transform, size)
        finally:
            os.close(fd)
        self._engine.end_content()


def _cut(top: Top, stuff: Callable[[bytes], bytes]) -> Callable[[bytes], bytes | None]:
    """Join TOP's cut with the stuffing; None ends the sending."""
    def transform(chunk: bytes) -> bytes | None:
        wanted = top(chunk)
        return None if wanted is None else stuff(wanted)
    return transform


def _place(words: list[bytes], index: int) -> Place:
    path, offset, length, prefix = words[4 * index:4 * index + 4]
    if not path and not prefix:
        raise IpcError("5.5.4", "no such message")
    return Place(path, int(offset), int(length), prefix)


def _seen(answer: asyncio.Future) -> None:
    """Nobody may ever wait for what was asked ahead; whoever does gets the error all the same."""
    answer.cancelled() or answer.exception()
