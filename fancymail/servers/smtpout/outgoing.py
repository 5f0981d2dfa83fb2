"""A slot as outbound mail sees it: checked against its hash, looked through once, read piece by piece.

    with await open_outgoing(path, sender, recipients) as message: ... message.facts, message.content() ...

Used by servers/smtpout/daemon.py. The look through the content tells what a next hop must be able to do, and how many hosts the
message has passed; what is not what was pushed never goes out. Large messages are read in a thread, small ones at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from hashlib import sha256
from typing import NamedTuple

from fancymail.mail.envelope import Envelope
from fancymail.protocol.smtp.content import bare_newline
from fancymail.protocol.smtp.transaction import Transaction
from fancymail.storage.slots import Slot, SlotError, read_slot

INLINE = 128 * 1024                  # octets that are looked through without a thread
HEADER_LIMIT = 512 * 1024            # octets in which the header must end; beyond, all is treated as header
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_RECEIVED = re.compile(rb"\nreceived[ \t]*:")
_AUTOMATIC = re.compile(rb"\nauto-submitted[ \t]*:")


class Damaged(Exception):
    """The content is not what was pushed."""


class Facts(NamedTuple):
    """What the content is like. `size` in octets as sent, dots unstuffed; `digest`: its SHA-256; `bare`: a CR or LF stands alone,
    which would smuggle (RFC 5321 2.3.8); `hops`: Received fields; `automatic`: it says Auto-Submitted (RFC 3834)."""

    size: int
    digest: bytes
    eight_bit: bool
    bare: bool
    utf8_header: bool
    hops: int
    automatic: bool


class Outgoing:
    """An open slot, its facts and its header. `kept`: all of a small content, which is read once."""

    def __init__(self, slot: Slot, facts: Facts, header: bytes, kept: bytes | None = None) -> None:
        self.slot, self.facts, self.header, self.kept = slot, facts, header, kept

    def content(self) -> Iterator[bytes]:
        """The content in pieces, lines ending in CRLF. Raises OSError or ValueError when it is not what was looked through."""
        return iter((self.kept,)) if self.kept is not None else self._read_again()

    def _read_again(self) -> Iterator[bytes]:
        """The last piece comes only when the hash is right: a file that changes under our hands (somebody drops the message, and
        the queue uses its file again) must never reach anybody, not even by BDAT, which needs no end mark."""
        running, held = sha256(), b""
        try:
            for piece in pieces(self.slot):
                running.update(piece)
                if held:
                    yield held
                held = piece
        except SlotError as error:
            raise ValueError(str(error)) from None
        if running.digest() != self.facts.digest:
            raise ValueError("the content changed while it was sent")
        yield held

    def transaction(self, envelope: Envelope) -> Transaction:
        """What is asked of the next hop."""
        # RFC 6531 3.6: a message whose header is ASCII needs no SMTPUTF8 for it, whatever its sender said
        return Transaction(
            envelope.sender, tuple(envelope.recipients), self.facts.size, eight_bit=self.facts.eight_bit,
            utf8=envelope.smtputf8 and self.facts.utf8_header, envid=envelope.envid, ret=envelope.ret, require_tls=envelope.require_tls)

    def close(self) -> None:
        self.slot.close()


async def open_outgoing(path: str, pool: Executor) -> Outgoing:
    """Open a slot and look through it. Raises OSError, SlotError (not a slot) or Damaged."""
    slot = read_slot(path)
    try:
        if slot.content_length <= INLINE:
            kept = slot.read() if not slot.bare else b"".join(pieces(slot))
            slot.close()
            return Outgoing(slot, *look_through(slot, (kept,)), kept)
        return Outgoing(slot, *await asyncio.get_running_loop().run_in_executor(pool, look_through, slot, pieces(slot)))
    except BaseException:
        slot.close()
        raise


def look_through(slot: Slot, content: Iterable[bytes]) -> tuple[Facts, bytes]:
    """Read all content of a slot once; return its facts and its header. Raises Damaged and OSError."""
    running, size, eight_bit, bare, last, head = sha256(), 0, False, False, b"", bytearray()
    try:
        for piece in content:
            running.update(piece)
            size += len(piece)
            eight_bit = eight_bit or not piece.isascii()
            whole, last = (last + piece[:-1], b"\r") if piece.endswith(b"\r") else (last + piece, b"")
            bare = bare or bare_newline(whole)
            if len(head) < HEADER_LIMIT:
                head += piece[:HEADER_LIMIT - len(head)]
    except SlotError as error:
        raise Damaged(str(error)) from None
    if slot.sha256 is not None and running.digest() != slot.sha256:
        raise Damaged("the content differs from its SHA-256")
    end = head.find(b"\r\n\r\n")
    header = bytes(head[:end + 2]) if end >= 0 else bytes(head)
    lines = b"\n" + header.lower()      # an expression that begins with an octet finds its places faster than one with ^
    hops, automatic = len(_RECEIVED.findall(lines)), _AUTOMATIC.search(lines) is not None
    return Facts(size, running.digest(), eight_bit, bare or bool(last), not header.isascii(), hops, automatic), header


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
