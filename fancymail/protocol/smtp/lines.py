"""The ground of the SMTP server's engine: lines in, replies out, one decision at a time, and who has spoken too much.

server.py stands on security.py, which stands on this. Knows no command. A decision that is awaited stops all reading; replies
collect until the driver takes them, so those of a pipelined group leave together (RFC 2920).
"""

from __future__ import annotations

from collections.abc import Callable

from fancymail.protocol.engine import Engine
from fancymail.protocol.smtp import events
from fancymail.protocol.smtp import reply as r
from fancymail.protocol.smtp.data import Inbox
from fancymail.protocol.smtp.options import Options
from fancymail.protocol.smtp.reply import Reply

GO_ON = object()                                     # read on: what was read needs no decision


class LineServer(Engine):
    """Reads by `self._read`, which returns an event, GO_ON, or None when octets are missing or the session is over."""

    def __init__(self, options: Options, tls=None) -> None:
        super().__init__()
        self.options = options
        self.tls = tls                               # facts of the TLS session, or None
        self.inbox = Inbox()
        self._errors = self._junk = 0
        self._read: Callable = self._hang_up         # what the next octets are
        self._after: Callable[[Reply], None] = self._send
        self._otherwise: Callable[[Reply], None] = self._send

    def receive(self, data: bytes) -> None:
        """Take octets from the peer."""
        self.inbox.add(data)

    def release(self) -> None:
        """The connection is gone. Methods of its own kept an engine, with 64 KiB that came and were not read, until the collector looked for it."""
        self.closing = True
        self._read = self._after = self._otherwise = _nothing
        self.inbox.clear()

    def next_event(self) -> events.Event | None:
        """Return the next legal thing the client did; None when octets or a decision are awaited."""
        while not (self.busy or self.closing or self.want_tls):
            event = self._read()
            if event is None:
                if self.eof:
                    self.closing = True
                return None
            if event is not GO_ON:
                return event
        return None

    # The daemon's side

    def reply(self, reply: Reply) -> None:
        """Answer the event that waits; a positive reply lets the session go on from it."""
        self.busy = False
        if reply.code < 400:
            self._after(reply)
        else:
            self._otherwise(reply)

    def accept(self) -> None:
        """Answer Hello, DataStart or StartTls with the usual positive reply."""
        self.reply(r.OK)

    def close_with(self, reply: Reply) -> None:
        """End the session for the server's own reasons (421)."""
        if not self.closing:
            self._end(reply)

    # Reading and answering

    def _read_line(self, limit: int) -> bytearray | None:
        """The next line without its CR LF; None when it has not come, or ended the session."""
        inbox = self.inbox
        octets, start = inbox.octets, inbox.start
        end = octets.find(b"\n", inbox.seen)
        if end < 0:
            inbox.seen = len(octets)
            if inbox.seen - start >= limit:
                self._end(r.TOO_LONG)
            return None
        inbox.start = inbox.seen = end + 1
        if end == start or octets[end - 1] != 13:    # RFC 5321 2.3.8
            return self._end(r.BARE_NEWLINE)
        if end - start >= limit:
            return self._end(r.TOO_LONG)
        return octets[start:end - 1]

    def _decide(self, event, after: Callable[[Reply], None], otherwise: Callable[[Reply], None] | None = None):
        self.busy = True
        self._after = after
        self._otherwise = otherwise or self._refuse
        return event

    def _send(self, reply: Reply) -> None:
        self.out.append(reply.octets)

    def _answer(self, reply: Reply):
        self.out.append(reply.octets)
        return GO_ON

    def _error(self, reply: Reply):
        self._refuse(reply)
        return GO_ON

    def _refuse(self, reply: Reply) -> None:
        self.out.append(reply.octets)
        if reply.code == 421:                        # RFC 5321 3.8: the server closes
            self.closing = True
        else:
            self._count_error(reply)

    def _count_error(self, reply: Reply) -> None:
        if reply.code >= 500:
            self._errors += 1
            if self._errors >= self.options.errors > 0:
                self._end(r.TOO_MANY_ERRORS)

    def _is_junk(self) -> bool:
        """Count a command that brings no mail; True when it was one too many."""
        self._junk += 1
        if self._junk > self.options.junk > 0:
            self._end(r.TOO_MANY_COMMANDS)
        return self.closing

    def _end(self, reply: Reply) -> None:
        """Say why, and close."""
        self.out.append(reply.octets)
        self.closing = True

    def _hang_up(self) -> None:
        """Close without a word: the peer would not understand any, or wants to use it."""
        self.closing = True


def _nothing(*said: object) -> None:
    """What the next octets are, and what an answer leads to, when nobody is there any more."""
