"""The rules of message content, whether DATA or BDAT carries it: line discipline, limits, and where the header ends.

Used by data.py and bdat.py. Works on blocks of whole lines with bytes.find and its like, never on lines or octets: 50 MiB of
hostile content cost as little as 50 MiB of honest mail. Never changes an octet.
"""

from __future__ import annotations

from typing import NamedTuple

from fancymail.protocol.smtp import reply as r
from fancymail.protocol.smtp.events import Content, Header
from fancymail.protocol.smtp.reply import Reply


class ContentLimits(NamedTuple):
    """Octets, octets, count, octets; 0 octets means no limit of size."""

    octets: int = 50 * 1024 * 1024
    header_octets: int = 256 * 1024
    header_fields: int = 1000
    line: int = 1024 * 1024


class Unacceptable(Exception):
    """The content breaks a rule. `fatal`: its lines cannot be trusted, so neither can the place where it ends."""

    def __init__(self, reply: Reply, fatal: bool = False) -> None:
        super().__init__(reply.text)
        self.reply = reply
        self.fatal = fatal


def bare_newline(block: bytes) -> bool:
    """Whether a block contains a CR without LF or an LF without CR (RFC 5321 2.3.8).

    All CRs and LFs are in pairs exactly when none is left without the pairs. To look at their order alone would not do: in
    CR dot LF it is the right one, and that is how messages are smuggled.
    """
    rest = block.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


class ContentRules:
    """One message's content as it comes: counts, checks, and cuts the header off."""

    __slots__ = ("limits", "octets", "eight_bit", "_header", "_fields", "_ready")

    def __init__(self, limits: ContentLimits) -> None:
        self.limits = limits
        self.octets = 0
        self.eight_bit = False
        self._header: bytearray | None = bytearray()             # the part that has come, until it is complete
        self._fields = 0
        self._ready: list[Header | Content] = []

    def check_partial(self, tail: bytearray, length: int) -> None:
        """Refuse at once what no further octet can mend in an unfinished line: `tail` is its new part, `length` its whole."""
        if length > self.limits.line + 1:            # a CR may be the last
            raise Unacceptable(r.TEXT_LINE_TOO_LONG)
        if b"\n" in tail or b"\r" in tail[:-1]:
            raise Unacceptable(r.CONTENT_NEWLINE, fatal=True)
        if b"\0" in tail:
            raise Unacceptable(r.CONTENT_NUL, fatal=True)

    def take(self, block: bytes) -> None:
        """Take whole lines, unstuffed; raise Unacceptable."""
        if bare_newline(block):
            raise Unacceptable(r.CONTENT_NEWLINE, fatal=True)
        if b"\0" in block:
            raise Unacceptable(r.CONTENT_NUL, fatal=True)
        self.octets += len(block)
        limits = self.limits
        if limits.octets and self.octets > limits.octets:
            raise Unacceptable(r.TOO_BIG)
        if len(block) > limits.line:
            self._check_lines(block)
        if not self.eight_bit and not block.isascii():
            self.eight_bit = True
        if self._header is None:
            self._ready.append(Content(block))
        else:
            self._take_header(block)

    def finish(self) -> None:
        """The content ended; a message may be nothing but a header."""
        if self._header is not None:
            self._end_header(bytes(self._header))

    def next_event(self) -> Header | Content | None:
        """The next part for the daemon, in order."""
        return self._ready.pop(0) if self._ready else None

    def discard(self) -> None:
        """The message is refused: what was read of it and not handed out yet is nobody's."""
        self._ready.clear()

    def _take_header(self, block: bytes) -> None:
        """Nothing is looked at twice: a header that comes line by line costs as little as one that comes at once."""
        header = self._header
        if block[:2] == b"\r\n" and (not header or header[-2:] == b"\r\n"):
            self._end_header(bytes(header))
            self._ready.append(Content(block))
            return
        end = block.find(b"\r\n\r\n")
        if end >= 0:
            self._count_header(block[:end + 2])
            self._end_header(bytes(header) + block[:end + 2])
            self._ready.append(Content(block[end + 2:]))
        else:
            self._count_header(block)
            header += block

    def _end_header(self, header: bytes) -> None:
        self._header = None
        self._ready.append(Header(header))

    def _count_header(self, lines: bytes) -> None:
        limits = self.limits
        if len(self._header) + len(lines) > limits.header_octets:
            raise Unacceptable(r.HEADER_TOO_BIG)
        folded = lines.count(b"\r\n ") + lines.count(b"\r\n\t") + (lines[:1] in (b" ", b"\t"))
        self._fields += lines.count(b"\r\n") - folded
        if self._fields > limits.header_fields:
            raise Unacceptable(r.HEADER_TOO_BIG)

    def _check_lines(self, block: bytes) -> None:
        """Leap from line end to line end, each leap as wide as a line may be."""
        start, limit = 0, self.limits.line
        while len(block) - start > limit:
            end = block.rfind(b"\r\n", start, start + limit + 2)
            if end < 0:
                raise Unacceptable(r.TEXT_LINE_TOO_LONG)
            start = end + 2
