"""Readers of message content: DATA, which ends with a line of one dot, and BDAT, which counts.

Used by server.py. A reader takes octets from the front of the session's inbox and feeds ContentRules; it always stands at the
beginning of a line, so only CR LF dot CR LF can end DATA, wherever the network cuts the octets (RFC 5321 4.1.1.4).
"""

from __future__ import annotations

from fancymail.protocol.smtp.content import ContentRules, Unacceptable
from fancymail.protocol.smtp.reply import Reply

_END = b"\r\n.\r\n"
_DOT = b"\r\n."


class Inbox:
    """Octets from the peer and how far they are read. Reading moves a mark; octets are dropped many at a time."""

    __slots__ = ("octets", "start", "seen")

    def __init__(self) -> None:
        self.octets = bytearray()
        self.start = 0                               # what lies before is read
        self.seen = 0                                # what lies before was searched already

    def __len__(self) -> int:
        return len(self.octets) - self.start

    def add(self, data: bytes) -> None:
        """Append what the peer sent."""
        if self.start:
            del self.octets[:self.start]
            self.seen = max(self.seen - self.start, 0)
            self.start = 0
        self.octets += data

    def take(self, end: int) -> bytes:
        """Take all up to a position."""
        with memoryview(self.octets) as view:
            data = bytes(view[self.start:end])
        self.start = self.seen = end
        return data

    def clear(self) -> None:
        """Forget all of it."""
        self.octets.clear()
        self.start = self.seen = 0


class DataReader:
    """The content of DATA. `read` returns True once the end came; `failed` is the reply it then deserves."""

    def __init__(self, rules: ContentRules) -> None:
        self.rules = rules
        self.failed: Reply | None = None
        self._ended = False
        self._line_start = True                      # while dropping: nothing of the current line was dropped

    def read(self, inbox: Inbox) -> bool:
        """Take what has come; raise Unacceptable once. After that the rest is dropped up to its end."""
        if self.failed is not None:
            return self._ended or self._drop(inbox)
        try:
            return self._read(inbox)
        except Unacceptable as refusal:
            self.failed = refusal.reply
            raise

    def _read(self, inbox: Inbox) -> bool:
        octets, start = inbox.octets, inbox.start
        if octets.startswith(b".\r\n", start):
            inbox.start = inbox.seen = start + 3
            return self._finish(b"")
        # One search for both: without a dot behind a line end there is neither an end of the content nor anything to unstuff.
        dot = octets.find(_DOT, max(start, inbox.seen - 4))
        end = octets.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            block = inbox.take(end + 2)
            inbox.start = inbox.seen = end + 5
            return self._finish(_unstuff(block) if dot < end else _first_unstuffed(block))
        last = octets.rfind(b"\r\n", max(start, inbox.seen - 1))
        if last >= 0:
            block = inbox.take(last + 2)
            self.rules.take(_unstuff(block) if dot >= 0 else _first_unstuffed(block))
        self.rules.check_partial(octets[max(inbox.seen - 1, inbox.start):], len(inbox))
        inbox.seen = len(octets)
        return False

    def _finish(self, block: bytes) -> bool:
        self._ended = True                           # before the rules may object: the end was read in any case
        if block:
            self.rules.take(block)
        self.rules.finish()
        return True

    def _drop(self, inbox: Inbox) -> bool:
        """Look for the end only; the last four octets may be its beginning."""
        octets = inbox.octets
        if self._line_start:
            if octets.startswith(b".\r\n", inbox.start):
                inbox.start = inbox.seen = inbox.start + 3
                return True
            if b".\r\n".startswith(octets[inbox.start:inbox.start + 3]):
                return False
            self._line_start = False
        end = octets.find(_END, inbox.start)
        if end >= 0:
            inbox.start = inbox.seen = end + 5
            return True
        inbox.start = inbox.seen = max(len(octets) - 4, inbox.start)
        return False


class ChunkReader:
    """The content of BDAT, chunk by chunk (RFC 3030 2). It needs no mark of its end, so a bad line costs the message only."""

    def __init__(self, rules: ContentRules) -> None:
        self.rules = rules
        self.failed: Reply | None = None
        self.left = 0
        self.last = False
        self._line = bytearray()                     # a line whose end is in a chunk to come

    def begin(self, octets: int, last: bool) -> None:
        """A BDAT command announced a chunk."""
        self.left = octets
        self.last = last

    def read(self, inbox: Inbox) -> bool:
        """Take what has come; return True once the chunk is complete; raise Unacceptable once."""
        data = inbox.take(min(inbox.start + self.left, len(inbox.octets)))
        self.left -= len(data)
        if self.failed is None:
            try:
                self._feed(data)
            except Unacceptable as refusal:
                self.failed = refusal.reply
                self._line.clear()
                raise
        return not self.left

    def _feed(self, data: bytes) -> None:
        rules, line = self.rules, self._line
        seen = len(line)
        line += data
        last = line.rfind(b"\r\n", max(seen - 1, 0))
        if last >= 0:
            block = bytes(line[:last + 2])
            del line[:last + 2]
            seen = 0
            rules.take(block)
        rules.check_partial(line[max(seen - 1, 0):], len(line))
        if self.last and not self.left:
            self._finish()

    def _finish(self) -> None:
        """A message is made of whole lines: end the last one if its sender did not."""
        if self._line:
            self._line += b"\r\n"
            self.rules.take(bytes(self._line))
        self.rules.finish()


def _unstuff(block: bytes) -> bytes:
    """RFC 5321 4.5.2: the first dot of a line is not content."""
    return _first_unstuffed(block).replace(_DOT, b"\r\n")


def _first_unstuffed(block: bytes) -> bytes:
    """The same of the first line alone: no other begins with a dot."""
    return block[1:] if block[:1] == b"." else block
