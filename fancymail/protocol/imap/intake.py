"""The octets of a client cut into what they are: lines, and literals that are collected, streamed or thrown away (RFC 9051 4.3).

Used by server.py only. It decides nothing: after each line that ends in a literal it is told what to do with that literal. Nothing is
ever scanned twice, nothing is allocated because a client claims it will come.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LITERAL = re.compile(rb"(~?)\{([0-9]{1,20})(\+?)\}\Z")
KEPT = 256                          # octets of a line that is too long: enough for its tag


class Literal(NamedTuple):
    """What a line announces: `sync`: the client waits for our "+"; `eight`: a literal8 (RFC 9051 4.3, RFC 3516 4.4)."""

    size: int
    sync: bool
    eight: bool = False


class Line(NamedTuple):
    """A line without its end that announces a literal, and without that. `overlong`: this is only its beginning."""

    text: bytes
    literal: Literal | None = None
    overlong: bool = False


class Collected(NamedTuple):
    """A whole literal."""

    octets: bytes


class Chunk(NamedTuple):
    """Octets of a literal that is streamed; `last`: it is complete."""

    octets: bytes
    last: bool


class Intake:
    """Cuts `inbox`, which its owner fills."""

    __slots__ = ("inbox", "discarded", "due", "_scanned", "_collect", "_stream", "_swallow", "_kept")

    def __init__(self, inbox: bytearray) -> None:
        self.inbox = inbox
        self.discarded = 0                      # octets thrown away since the last whole line
        self.due = False                        # a literal without octets was announced: it is whole although nothing comes
        self._scanned = 0                       # octets of the inbox that hold no LF
        self._collect = self._stream = -1
        self._swallow = 0
        self._kept = b""

    def collect(self, size: int) -> None:
        """The literal comes as one Collected."""
        self._collect, self.due = size, not size

    def stream(self, size: int) -> None:
        """The literal comes as Chunks."""
        self._stream, self.due = size, not size

    def swallow(self, size: int) -> None:
        """The literal is thrown away."""
        self._swallow += size

    def drop_stream(self) -> None:
        """Throw away what is left of the literal that is being streamed."""
        if self._stream > 0:
            self._swallow += self._stream
        self._stream, self.due = -1, False

    def clear(self) -> None:
        """Forget all that has arrived."""
        self.inbox.clear()
        self._scanned = self.discarded = self._swallow = 0
        self._collect = self._stream = -1
        self._kept, self.due = b"", False

    def next(self, most: int) -> bytes | Line | Collected | Chunk | None:
        """The next thing, None when more octets are needed; lines longer than `most` are cut. A whole line without a literal is just its octets."""
        if not self.inbox and not self.due:
            return None
        if self._swallow and not self._throw_away():
            return None
        if self._collect >= 0:
            return self._collected()
        if self._stream >= 0:
            return self._chunk()
        return self._line(most)

    def _throw_away(self) -> bool:
        gone = min(self._swallow, len(self.inbox))
        del self.inbox[:gone]
        self._swallow -= gone
        return not self._swallow

    def _collected(self) -> Collected | None:
        size = self._collect
        if len(self.inbox) < size:
            return None
        octets = bytes(self.inbox[:size])
        del self.inbox[:size]
        self._collect, self.due = -1, False
        return Collected(octets)

    def _chunk(self) -> Chunk | None:
        if not self.inbox and self._stream:
            return None
        octets = bytes(self.inbox[:self._stream])
        del self.inbox[:len(octets)]
        self._stream -= len(octets)
        if self._stream:
            return Chunk(octets, False)
        self._stream, self.due = -1, False
        return Chunk(octets, True)

    def _line(self, most: int) -> bytes | Line | None:
        inbox = self.inbox
        end = inbox.find(b"\n", self._scanned)
        if end < 0:
            self._wait(most)
            return None
        text = bytes(inbox[:end - 1 if end and inbox[end - 1] == 13 else end])
        del inbox[:end + 1]
        self._scanned = 0
        if self._kept or len(text) > most:
            text, self._kept, self.discarded = self._kept or text[:KEPT], b"", 0
            return Line(text, None, True)
        if text[-1:] == b"}" and (match := _LITERAL.search(text)):
            return Line(text[:match.start()], Literal(int(match[2]), not match[3], bool(match[1])))
        return text

    def _wait(self, most: int) -> None:
        """No end of the line yet; what is too long is thrown away as it comes."""
        inbox = self.inbox
        if len(inbox) > most + 1 or self._kept:
            self._kept = self._kept or bytes(inbox[:KEPT])
            self.discarded += len(inbox)
            inbox.clear()
        self._scanned = len(inbox)
