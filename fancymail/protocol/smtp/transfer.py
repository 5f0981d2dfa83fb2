"""One transaction under way: MAIL, RCPT and the content, and what each reply means for each recipient (RFC 5321 3.3).

Made by the client engine for each `send`; it speaks through that session and keeps its own outcomes. Commands go in one write
where the host offers PIPELINING, content by BDAT where it offers CHUNKING. It ends exactly once, with an outcome for everyone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ..engine import ProtocolError
from .answers import Outcome, Reply, outcome_of
from .transaction import Transaction, speakable

Handler = Callable[[Reply], None]


class Session(Protocol):
    """What a transfer needs of the engine."""

    extensions: dict[str, str]
    tls: bool

    def say(self, line: bytes, phase: str, handler: Handler) -> None: ...
    def expect(self, phase: str, handler: Handler) -> None: ...
    def write(self, data: bytes) -> None: ...
    def want_content(self) -> None: ...
    def transfer_ended(self, usable: bool) -> None: ...


class Transfer:
    """The state of one transaction at one host."""

    def __init__(self, session: Session, transaction: Transaction) -> None:
        self.session = session
        self.transaction = transaction
        self.outcomes: list[Outcome | None] = [None] * len(transaction.recipients)
        self.accepted: list[int] = []
        self.content_done = False
        self.chunking = "CHUNKING" in session.extensions
        self.left = transaction.size
        self.line_start = True
        self._waiting: deque[tuple[bytes, str, Handler]] = deque()
        self._unanswered = 0

    def begin(self) -> None:
        """Offer the message, unless the host cannot take it."""
        refusal = self.transaction.refusal(self.session.extensions, self.session.tls)
        if self.transaction.sender and not speakable(self.transaction.sender):
            refusal = Outcome("failed", "5.1.7", "the sender's address cannot be said in SMTP")
        if refusal:
            self.settle(refusal)
            self.session.transfer_ended(True)
        elif self._queue_commands():
            self._speak()
        else:
            self.session.transfer_ended(True)

    def settle(self, outcome: Outcome) -> None:
        """Give the outcome to every recipient that has none yet."""
        self.outcomes = [known or outcome for known in self.outcomes]

    def broken(self, outcome: Outcome) -> None:
        """The session is over. Before the final dot the next host may be asked; after it the message may have been taken."""
        self.settle(replace(outcome, another=outcome.another and not self.content_done))

    def content(self, data: bytes) -> None:
        """Send a piece of the content; with DATA its dots are stuffed."""
        if not self.chunking:
            self._stuff(data)
        elif len(data) > self.left:
            raise ValueError("more content than the transaction announced")
        else:
            self.left -= len(data)
            self.session.write(data)

    def content_end(self) -> None:
        """Mark the end of the content."""
        if self.chunking and self.left:
            raise ValueError("less content than the transaction announced")
        if not self.chunking:          # RFC 5321 4.1.1.4: the CRLF before the dot is the last line's own
            self.session.write(b".\r\n" if self.line_start else b"\r\n.\r\n")
        self.content_done = True
        self.session.expect("final", self._finished)

    def _queue_commands(self) -> bool:
        """Prepare the commands; False when no recipient can be named at all."""
        extensions, recipients = self.session.extensions, self.transaction.recipients
        queue = self._waiting.append
        queue((self.transaction.mail_command(extensions), "mail", self._mailed))
        for index, recipient in enumerate(recipients):
            self.outcomes[index] = self.transaction.objection(recipient, extensions)
            if self.outcomes[index] is None:
                line = self.transaction.rcpt_command(recipient, extensions)
                queue((line, "rcpt", lambda reply, index=index: self._named(index, reply)))
        if not self.chunking:
            queue((b"DATA\r\n", "data", self._go_ahead))
        return None in self.outcomes

    def _speak(self) -> None:
        """Send what waits: all of it to a host that takes commands in a row (RFC 2920 3.1), else the next one."""
        count = len(self._waiting) if "PIPELINING" in self.session.extensions else 1
        for _ in range(count):
            line, phase, handler = self._waiting.popleft()
            self._unanswered += 1
            self.session.say(line, phase, handler)

    def _mailed(self, reply: Reply) -> None:
        self._unanswered -= 1
        if not reply.positive:
            self.settle(outcome_of(reply))
            self._waiting.clear()
        self._advance()

    def _named(self, index: int, reply: Reply) -> None:
        self._unanswered -= 1
        if self.outcomes[index] is None:
            if reply.positive:         # 250 or 251 (RFC 5321 3.4)
                self.accepted.append(index)
            else:
                self.outcomes[index] = outcome_of(reply)
        self._advance()

    def _advance(self) -> None:
        """After a reply to MAIL or RCPT: what is next?"""
        if self._unanswered:
            return
        if self._waiting and (self.accepted or self._waiting[0][1] == "rcpt"):
            self._speak()
        elif not self.accepted:
            self._reset()
        else:                          # RFC 3030 2: one chunk, its size is known
            self.session.write(b"BDAT %d LAST\r\n" % self.left)
            self.session.want_content()

    def _go_ahead(self, reply: Reply) -> None:
        self._unanswered -= 1
        if reply.code == 354 and self.accepted:
            self.session.want_content()
        elif reply.code == 354:        # RFC 2920 3.1: all recipients were refused, yet the host wants a message: give it none
            self.session.write(b".\r\n")
            self.session.expect("final", lambda reply: self._reset())
        elif reply.code < 400:
            raise ProtocolError(f"{reply.code} to DATA")
        else:
            self.settle(outcome_of(reply))
            self._reset()

    def _stuff(self, data: bytes) -> None:
        """Double the dot at the begin of a line (RFC 5321 4.5.2)."""
        if self.line_start and data[:1] == b".":
            self.session.write(b".")
        self.session.write(data.replace(b"\n.", b"\n..") if b"\n." in data else data)
        if data:
            self.line_start = data.endswith(b"\n")

    def _finished(self, reply: Reply) -> None:
        if 300 <= reply.code < 400:
            raise ProtocolError(f"{reply.code} to the content")
        self.settle(outcome_of(reply))
        self.session.transfer_ended(True)

    def _reset(self) -> None:
        self.session.say(b"RSET\r\n", "rset", lambda reply: self.session.transfer_ended(reply.positive))
