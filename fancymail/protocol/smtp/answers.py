"""What a remote SMTP server answers, and what that means for a recipient.

`ReplyReader` cuts multi-line replies out of a buffer; `Reply` is one of them, `Outcome` its meaning for one recipient. Called by
the client engine. A server may be hostile: lines, their number and their length are bounded, control characters never get out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from fancymail.mail.status import of_reply, safe_text

from ..engine import ProtocolError

MAX_LINE = 4096                      # RFC 5321 4.5.3.1.5 says 512; real servers say more
MAX_LINES = 128
MAX_TEXT = 600                       # characters that go into logs, results and DSNs
SHORT = 80                           # octets of a line that is remembered

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?:[ \t]+|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: its code, its enhanced status (RFC 3463; made from the code when none was said), its text on one line."""

    code: int
    status: str
    text: str
    lines: tuple[str, ...] = ()

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 300

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient: `state` is "delivered", "failed" or "deferred".

    `another` tells that the host did not decide anything: another host of the same destination may be asked at once.
    """

    state: str
    status: str
    text: str
    another: bool = False


def outcome_of(reply: Reply) -> Outcome:
    """Read a final reply as the outcome of a recipient (RFC 5321 4.2.1)."""
    return _outcome(reply.code // 100, reply.status, str(reply))


@lru_cache(1024)
def _outcome(kind: int, status: str, text: str) -> Outcome:
    """Hosts say the same to every message; what they said it in is not kept, since it may be half a megabyte."""
    return Outcome({2: "delivered", 5: "failed"}.get(kind, "deferred"), status if kind != 3 else "4.5.0", text)


class ReplyReader:
    """Cuts replies out of an inbox. A reply that breaks the grammar or the limits raises ProtocolError."""

    def __init__(self) -> None:
        self.parts: list[tuple[bytes, bytes]] = []
        self.seen = 0

    def take(self, inbox: bytearray) -> Reply | None:
        """Return the next whole reply and remove it from `inbox`, or None when more octets are needed."""
        while (end := inbox.find(b"\n", self.seen)) >= 0:
            line = bytes(inbox[:end]).rstrip(b"\r")
            del inbox[:end + 1]
            self.seen = 0
            if not self.parts and len(line) <= SHORT and line[3:4] != b"-":
                return _whole(line)
            if self._line(line):
                parts, self.parts = self.parts, []
                return make_reply(parts)
        self.seen = len(inbox)
        if self.seen > MAX_LINE:
            raise ProtocolError("a reply line without end")
        return None

    def _line(self, line: bytes) -> bool:
        code, mark, text = _parts(line)
        if self.parts and self.parts[0][0] != code:      # RFC 5321 4.2.1: all lines carry the same code
            raise ProtocolError("the lines of a reply carry different codes")
        self.parts.append((code, text))
        if len(self.parts) > MAX_LINES:
            raise ProtocolError("a reply without end")
        return mark != b"-"


def _parts(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Code, mark and text of a line. Raises ProtocolError."""
    match = _LINE.fullmatch(line) if len(line) <= MAX_LINE else None
    if match is None:
        raise ProtocolError("not an SMTP reply: " + safe_text(line, 80))
    return match[1], match[2] or b"", match[3] or b""


@lru_cache(1024)
def _whole(line: bytes) -> Reply:
    """A reply of one short line: hosts say the same three to every message."""
    code, _, text = _parts(line)
    return make_reply([(code, text)])


def make_reply(parts: list[tuple[bytes, bytes]]) -> Reply:
    """Build a Reply of the lines of one reply: code and text each."""
    code = int(parts[0][0])
    lines = tuple(text.decode("utf-8", "replace") for _, text in parts)
    status = of_reply(code, lines[0])
    # RFC 2034 4: the status stands in front of each line; once is enough for a reader
    texts = (_ENHANCED.sub("", line, count=1) if line[:1] == str(code)[0] else line for line in lines)
    return Reply(code, status, safe_text(" ".join(texts), MAX_TEXT), lines)
