"""The octets of one message while FETCH answers about it: sections cut and decoded, of a message in memory, or of a long one read in pieces.

Used by fetch.py for each message whose content is asked for. A `Letter` holds at most one piece and the header. What a literal promised is always
delivered: where the content turns out to be short or lost behind the first piece, spaces fill it up and `damaged` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fancymail.core.imap import parts, sections
from fancymail.core.imap.sections import Span
from fancymail.core.imap.surrogate import downgrade, plain
from fancymail.mail.imap.fetch import HEADER_FIELDS_NOT, Binary, Section
from fancymail.mail.transfer import decoder
from fancymail.storage.ports.reader import BoxReader, Content

PIECE = 65_536                      # octets read at once
SMALL = 1_048_576                   # octets of an encoded part that is decoded in memory; longer ones are read twice instead


class Letter:
    """One long message: where its octets are, and its table of parts."""

    def __init__(self, box: BoxReader, content: Content, table: bytes, header: int, ascii: bool = False) -> None:
        self.box, self.content, self.table, self.header = box, content, table, header
        self.size = len(content.prefix) + content.length
        self.ascii = ascii              # headers go out in ASCII only
        self.downgraded = False         # some that are not have been written anew
        self.damaged = False
        self._head: bytes | None = None

    async def value(self, item: Section | Binary) -> AsyncIterator[bytes]:
        """Yield what stands behind the label of an item. Raises KeyError if the content is lost, UnknownEncoding."""
        if isinstance(item, Binary):
            async for piece in self._binary(item):
                yield piece
            return
        span = sections.locate(item, self.table, self.header, self.size)
        if span is None:
            yield b"NIL"                                    # RFC 9051 6.4.5: a part that isn't there
        elif self.ascii and await self._foreign(span):
            async for piece in self._surrogate(item, span):
                yield piece
        elif sections.picks_fields(item):
            yield pick(item, await self._octets(span))
        elif sections.is_header(item) or (span := sections.cut(span, item.partial))[1] <= PIECE:
            octets = await self._octets(span)
            yield sections.literal(sections.cut_octets(octets, item.partial) if sections.is_header(item) else octets)
        else:
            async for piece in self._stream(span):
                yield piece

    async def _foreign(self, span: Span) -> bool:
        """Whether there is a header within a span that is not in ASCII."""
        for low, high in parts.headers(self.table):
            if span[0] <= low and high <= span[0] + span[1] and not (await self._octets((low, high - low))).isascii():
                return True
        return False

    async def _surrogate(self, item: Section, span: Span) -> AsyncIterator[bytes]:
        """A section whose headers are written anew: read a first time for its length, unless it is a header."""
        if sections.picks_fields(item) or sections.is_header(item):
            octets = plain(kept := await self._octets(span), span[0], self.table)
            self.downgraded = self.downgraded or octets != kept
            yield pick(item, octets) if sections.picks_fields(item) else sections.literal(sections.cut_octets(octets, item.partial))
            return
        size, position = 0, 0
        async for piece in self._plain(span):
            size += len(piece)
        offset, length = sections.cut((0, size), item.partial)
        yield b"{%d}\r\n" % length
        async for piece in self._plain(span):
            yield sections.clean(piece[max(0, offset - position):max(0, offset + length - position)])
            position += len(piece)

    async def _plain(self, span: Span) -> AsyncIterator[bytes]:
        """The octets of a span in pieces, its headers in ASCII."""
        anew = downgrade(self.table, *span)
        async for piece in self._pieces(span):
            written = anew(piece)
            self.downgraded = self.downgraded or written != piece
            yield written

    async def _octets(self, span: Span) -> bytes:
        """All octets of a span; of the message's header only once, since several items may want it."""
        if span != (0, self.header) or not span[1]:
            return await self._read(span) if span[1] else b""
        if self._head is None:
            self._head = await self._read(span)
        return self._head

    async def _read(self, span: Span) -> bytes:
        octets = await self.box.octets(self.content, *span)
        return octets if len(octets) == span[1] else self._fill(octets, span[1])

    def _fill(self, octets: bytes, length: int) -> bytes:
        self.damaged = True
        return octets[:length].ljust(length)

    async def _stream(self, span: Span) -> AsyncIterator[bytes]:
        """A long section as a literal."""
        opening = b"{%d}\r\n" % span[1]
        async for piece in self._pieces(span):
            yield opening + sections.clean(piece)
            opening = b""

    async def _pieces(self, span: Span) -> AsyncIterator[bytes]:
        """The octets of a span in pieces; only before the first one it may fail."""
        start, end = span[0], span[0] + span[1]
        for at in range(start, end, PIECE):
            length = min(PIECE, end - at)
            try:
                octets = await self.box.octets(self.content, at, length)
            except KeyError:
                if at == start:
                    raise
                octets = b""
            yield octets if len(octets) == length else self._fill(octets, length)

    async def _binary(self, item: Binary) -> AsyncIterator[bytes]:
        """A part decoded, or the size of that (RFC 9051 6.4.5)."""
        found = sections.locate_binary(item, self.table, self.size)
        if found is None:
            yield b"0" if item.size else b"NIL"
        elif item.size:
            yield b"%d" % (await self._measure(*found))[0]
        elif found[0][1] <= SMALL:
            octets = b"".join([piece async for piece in self._decoded(*found)])
            yield sections.literal8(sections.cut_octets(octets, item.partial))
        else:
            async for piece in self._long_binary(item, *found):
                yield piece

    async def _long_binary(self, item: Binary, span: Span, encoding: str) -> AsyncIterator[bytes]:
        """Read a first time for its length and for NULs, a second time to send it."""
        size, nul = await self._measure(span, encoding)
        offset, length = sections.cut((0, size), item.partial)
        yield b"%b{%d}\r\n" % (b"~" if nul else b"", length)
        position = 0
        async for piece in self._decoded(span, encoding):
            yield piece[max(0, offset - position):max(0, offset + length - position)]
            position += len(piece)

    async def _measure(self, span: Span, encoding: str) -> tuple[int, bool]:
        """(octets, whether NUL is among them) of a decoded part."""
        size, nul = 0, False
        async for piece in self._decoded(span, encoding):
            size += len(piece)
            nul = nul or b"\0" in piece
        return size, nul

    async def _decoded(self, span: Span, encoding: str) -> AsyncIterator[bytes]:
        machine = decoder(encoding)
        async for piece in self._plain(span) if self.ascii and not encoding else self._pieces(span):
            yield machine.feed(piece)
        yield machine.finish()


def value_of(item: Section | Binary, octets: bytes, table: bytes, header: int, ascii: bool = False) -> bytes:
    """What stands behind the label of an item, of a message that is in memory; `ascii`: its headers go out in ASCII only. Raises UnknownEncoding."""
    if isinstance(item, Binary):
        return _decoded(item, octets, table, ascii)
    span = sections.locate(item, table, header, len(octets))
    if span is None:
        return b"NIL"                                       # RFC 9051 6.4.5: a part that isn't there
    if ascii:
        section = plain(octets[span[0]:span[0] + span[1]], span[0], table)
        return pick(item, section) if sections.picks_fields(item) else sections.literal(sections.cut_octets(section, item.partial))
    if sections.picks_fields(item):
        return pick(item, octets[span[0]:span[0] + span[1]])
    start, length = sections.cut(span, item.partial)
    return sections.literal(octets[start:start + length])


def _decoded(item: Binary, octets: bytes, table: bytes, ascii: bool) -> bytes:
    found = sections.locate_binary(item, table, len(octets))
    if found is None:
        return b"0" if item.size else b"NIL"
    (start, length), encoding = found
    section, machine = octets[start:start + length], decoder(encoding)
    part = machine.feed(plain(section, start, table) if ascii and not encoding else section) + machine.finish()
    return b"%d" % len(part) if item.size else sections.literal8(sections.cut_octets(part, item.partial))


def pick(item: Section, header: bytes) -> bytes:
    """HEADER.FIELDS and HEADER.FIELDS.NOT of a header, as a literal."""
    return sections.literal(sections.cut_octets(sections.picker(item.fields, item.what == HEADER_FIELDS_NOT)(header), item.partial))
