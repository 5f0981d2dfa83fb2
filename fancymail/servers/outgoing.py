"""A slot as outbound mail sees it: checked against its hash, looked through once, read piece by piece.

    with await open_outgoing(path, sender, recipients) as message: ... message.facts, message.content() ...

Used by servers/smtpout.py. The look through the content tells what a next hop must be able to do, and how many hosts the
message has passed; what is not what was pushed never goes out. Large messages are read in a thread, small ones at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from hashlib import sha256

from fancymail.mail.envelope import Envelope
from fancymail.protocol.smtp.transaction import Transaction
from fancymail.storage.slots import Slot, SlotError, read_slot

INLINE = 128 * 1024                  # octets that are looked through without a thread
HEADER_LIMIT = 512 * 1024            # octets in which the header must end; beyond, all is treated as header
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_AUTOMATIC = re.compile(rb"^auto-submitted[ \t]*:", re.IGNORECASE | re.MULTILINE)


class BadContent(Exception):
    """The content is not what was pushed, or cannot be sent; `damaged` when it changed on the disk."""

    def __init__(self, reason: str, damaged: bool = False) -> None:
        super().__init__(reason)
        self.damaged = damaged


@dataclass(frozen=True, slots=True)
class Facts:
    """What the content is like. `size` in octets as sent, dots unstuffed; `hops`: Received fields."""

    size: int
    eight_bit: bool
    utf8_header: bool
    hops: int
    automatic: bool


class Outgoing:
    """An open slot and its facts."""

    def __init__(self, slot: Slot, facts: Facts) -> None:
        self.slot, self.facts = slot, facts

    def content(self) -> Iterator[bytes]:
        """The content in pieces, lines ending in CRLF. Raises OSError or ValueError when it cannot be read to its end."""
        try:
            yield from pieces(self.slot)
        except SlotError as error:
            raise ValueError(str(error)) from None

    def header(self, limit: int = HEADER_LIMIT) -> bytes:
        """The header with its empty line, at most `limit` octets of it."""
        head = self.slot.read(0, limit)
        end = head.find(b"\r\n\r\n")
        return head[:end + 4] if end >= 0 else head

    def transaction(self, envelope: Envelope) -> Transaction:
        """What is asked of the next hop."""
        addresses = [envelope.sender, *(recipient.address for recipient in envelope.recipients)]
        # RFC 6531 3.6: a message whose addresses and header are ASCII needs no SMTPUTF8, whatever its sender said
        return Transaction(
            envelope.sender, tuple(envelope.recipients), self.facts.size, eight_bit=self.facts.eight_bit,
            utf8=not all(map(str.isascii, addresses)) or envelope.smtputf8 and self.facts.utf8_header,
            envid=envelope.envid, ret=envelope.ret, require_tls=envelope.require_tls)

    def close(self) -> None:
        self.slot.close()


async def open_outgoing(path: str, pool: Executor) -> Outgoing:
    """Open a slot and look through it. Raises FileNotFoundError, OSError, SlotError (not a slot) or BadContent."""
    slot = read_slot(path)
    try:
        if slot.content_length <= INLINE:
            facts = look_through(slot)
        else:
            facts = await asyncio.get_running_loop().run_in_executor(pool, look_through, slot)
    except BaseException:
        slot.close()
        raise
    return Outgoing(slot, facts)


def look_through(slot: Slot) -> Facts:
    """Read all content once. Raises BadContent and OSError."""
    running, size, eight_bit, last, head = sha256(), 0, False, b"", bytearray()
    try:
        for piece in (slot.chunks() if not slot.bare else pieces(slot)):
            running.update(piece)
            size += len(piece)
            eight_bit = eight_bit or not piece.isascii()
            if _BARE.search(last + piece[:-1] if piece[-1:] == b"\r" else last + piece):
                raise BadContent("the content has a bare CR or LF")      # RFC 5321 2.3.8: it would smuggle
            last = piece[-1:] if piece[-1:] == b"\r" else b""
            if len(head) < HEADER_LIMIT:
                head += piece[:HEADER_LIMIT - len(head)]
    except SlotError as error:
        raise BadContent(str(error), damaged=True) from None
    if last:
        raise BadContent("the content has a bare CR or LF")
    if slot.sha256 is not None and running.digest() != slot.sha256:
        raise BadContent("the content differs from its SHA-256", damaged=True)
    end = head.find(b"\r\n\r\n")
    header = bytes(head[:end]) if end >= 0 else bytes(head)
    return Facts(size, eight_bit, not header.isascii(), len(_RECEIVED.findall(header)), _AUTOMATIC.search(header) is not None)


def pieces(slot: Slot) -> Iterator[bytes]:
    """The content in pieces. A bare slot, written by a client that knows only the reference, gets CRLF line ends here."""
    if not slot.bare:
        yield from slot.chunks()
        return
    held = b""
    for piece in slot.chunks():
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        yield _BARE.sub(b"\r\n", piece[:-1] if held else piece)
    if held:
        yield b"\r\n"
