"""The client's side of an SMTP session (RFC 5321): a host's replies in, our commands out.

Driven by servers/smtpout/destination.py, one engine per connection. It greets, starts TLS and authenticates by itself, then says Ready;
for each `send(transaction)` it says WantContent once the host wants it, and Ended with an outcome per recipient. A session
that ends before says Failed. It never reads a file, never decides about a failure, never believes a reply out of turn.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque

from ..engine import Engine, ProtocolError
from .answers import Outcome, Reply, ReplyReader, outcome_of
from .credentials import start
from .session import TLS_NEVER, TLS_REQUIRE, Ended, Event, Failed, Profile, Ready, Timeouts, WantContent
from .transaction import Transaction
from .transfer import Handler, Transfer


class SmtpClient(Engine):
    """One session with one host."""

    def __init__(self, profile: Profile, timeouts: Timeouts = Timeouts()) -> None:
        super().__init__()
        self.profile = profile
        self.timeouts = timeouts
        self.extensions: dict[str, str] = {}
        self.tls = profile.secured
        self.ready = self.ended = False
        self._reader = ReplyReader()
        self._events: deque[Event] = deque()
        self._expected: deque[tuple[str, Handler]] = deque()
        self._transfer: Transfer | None = None
        self._phase = "greeting"
        self.expect("greeting", self._greeted)

    # what the driver calls

    def receive(self, data: bytes) -> None:
        if self.want_tls:              # RFC 3207 6: nothing in plain text may come behind the reply to STARTTLS
            self._fail("protocol", "4.7.0", "octets in plain text behind STARTTLS")
        else:
            super().receive(data)

    def next_event(self) -> Event | None:
        if not self._events:
            self._drain()
        if not self._events and self.eof:
            self._fail("lost", "4.4.2", f"connection lost {self._where()}")
        return self._events.popleft() if self._events else None

    def expire(self) -> None:
        self._fail("timeout", "4.4.2", f"timed out {self._where()}")

    def tls_started(self, info: object) -> None:
        """The handshake is done: what was learned in plain text is forgotten (RFC 3207 4.2)."""
        super().tls_started(info)
        self.tls = True
        self.extensions = {}
        self.say(b"EHLO " + self.profile.hostname.encode() + b"\r\n", "hello", self._hello)

    def tls_failed(self, reason: str) -> None:
        """The handshake failed; with tls="may" the driver may come again on a new connection without it."""
        self.want_tls = False
        self._fail("tls", "4.7.5", f"TLS handshake failed: {reason}")

    def send(self, transaction: Transaction) -> None:
        """Begin a transaction; only after Ready, and not before the one before has Ended."""
        if not self.ready or self._transfer is not None:
            raise RuntimeError("no transaction can begin now")
        self._transfer = Transfer(self, transaction)
        self._transfer.begin()

    def content(self, data: bytes) -> None:
        """Send the next piece of the content, after WantContent; ignored when the host has already said no."""
        if self._phase == "content":
            self._transfer.content(data)
            self.arm(self.timeouts.block)

    def content_end(self) -> None:
        """All content was given."""
        if self._phase == "content":
            self._transfer.content_end()

    def abort(self, reason: str) -> None:
        """The content cannot be read to its end: leave without the final dot, so that no half message is accepted."""
        self.out.clear()
        self._fail("lost", "4.3.0", reason)

    @property
    def at_rest(self) -> bool:
        """Whether the session is up and between messages."""
        return self.ready and self._transfer is None and not self.inbox

    def quit(self) -> None:
        """Say goodbye; `closing` follows the answer, or its deadline."""
        if self.ended:
            return
        self.ready = False
        self.say(b"QUIT\r\n", "quit", lambda reply: self._finish())

    # the session: greeting, EHLO, STARTTLS, AUTH

    def _greeted(self, reply: Reply) -> None:
        if reply.code == 220:
            self.say(b"EHLO " + self.profile.hostname.encode() + b"\r\n", "hello", self._hello)
        else:
            self._refused(reply)

    def _hello(self, reply: Reply) -> None:
        if reply.code == 250:
            self.extensions = _extensions(reply)
            self._secure()
        elif reply.code // 100 == 5 and not self.tls and self.profile.tls != TLS_REQUIRE and not self.profile.credentials:
            self.say(b"HELO " + self.profile.hostname.encode() + b"\r\n", "hello", self._helo)      # RFC 5321 3.2
        else:
            self._refused(reply)

    def _helo(self, reply: Reply) -> None:
        if reply.code == 250:
            self._up()
        else:
            self._refused(reply)

    def _secure(self) -> None:
        if self.tls or self.profile.tls == TLS_NEVER:
            self._authenticate()
        elif "STARTTLS" in self.extensions:
            self.say(b"STARTTLS\r\n", "tls", self._starttls)
        elif self.profile.tls == TLS_REQUIRE:
            self._fail("tls", "4.7.4", "TLS is required, the host does not offer STARTTLS")
        else:
            self._authenticate()

    def _starttls(self, reply: Reply) -> None:
        if reply.code == 220 and self.inbox:
            self._fail("protocol", "4.7.0", "octets in plain text behind STARTTLS")
        elif reply.code == 220:
            self.want_tls = True
            self._phase = "tls"
            self.arm(self.timeouts.tls)
        elif reply.code < 400:
            raise ProtocolError(f"{reply.code} to STARTTLS")
        elif self.profile.tls == TLS_REQUIRE:
            self._fail("tls", "4.7.4", f"TLS is required, the host said {reply}")
        else:
            self._authenticate()

    def _authenticate(self) -> None:
        credentials = self.profile.credentials
        if credentials is None:
            self._up()
        elif not (self.tls or self.profile.auth_in_clear):
            self._fail("auth", "4.7.11", "no TLS: the password is not shown")
        elif (mechanism := start(credentials, self.extensions.get("AUTH", "").split())) is None:
            self._fail("auth", "4.7.9", "the host offers no mechanism to authenticate with")
        else:
            self._mechanism = mechanism
            initial = mechanism.initial()
            word = b"" if initial is None else b" " + (base64.b64encode(initial) or b"=")
            self.say(b"AUTH " + mechanism.name.encode() + word + b"\r\n", "auth", self._challenged)

    def _challenged(self, reply: Reply) -> None:
        if reply.code == 334:          # RFC 4954 4
            answer = self._mechanism.answer(_challenge(reply))
            self.say(base64.b64encode(answer) + b"\r\n", "auth", self._challenged)
        elif reply.code == 235:
            if not self._mechanism.complete and reply.lines[0].split():     # SCRAM's last word may come with the 235
                self._mechanism.answer(_challenge(reply))
            if not self._mechanism.complete:
                raise ProtocolError("the host accepts us without having proved itself")
            self._up()
        else:                          # our configuration is at fault, not the mail: it waits
            self._fail("auth", "4.7.8", f"authentication failed: {reply}")

    def _up(self) -> None:
        self.ready = True
        self._phase = "idle"
        self._events.append(Ready(self.extensions, self.tls))

    # what a transfer calls

    def say(self, line: bytes, phase: str, handler: Handler) -> None:
        self.write(line)
        self.expect(phase, handler)

    def write(self, data: bytes) -> None:
        if not self.ended:
            self.out.append(data)

    def expect(self, phase: str, handler: Handler) -> None:
        """Await a reply; octets that came before there was anything to answer end the session."""
        if self.ended:
            return
        if not self._expected:
            if self.inbox:
                return self._fail("protocol", "4.5.0", f"octets out of turn {self._where()}")
            self._phase = phase
            self.arm(getattr(self.timeouts, phase))
        self._expected.append((phase, handler))

    def want_content(self) -> None:
        if self.inbox:
            return self._fail("protocol", "4.5.0", f"octets out of turn {self._where()}")
        self._phase = "content"
        self.arm(self.timeouts.block)
        self._events.append(WantContent())

    def transfer_ended(self, usable: bool) -> None:
        transfer, self._transfer = self._transfer, None
        self._phase = "idle"
        self._events.append(Ended(tuple(transfer.outcomes), "DSN" in self.extensions))
        if not usable:
            self._finish()

    # replies and ends

    def _drain(self) -> None:
        """Take replies while no event waits and the session lives."""
        while not self._events and not self.ended and not self.want_tls:
            try:
                reply = self._reader.take(self.inbox)
                if reply is None:
                    return
                self._answered(reply)
            except ProtocolError as error:
                self._fail("protocol", "4.5.0", f"protocol error {self._where()}: {error}")

    def _answered(self, reply: Reply) -> None:
        if reply.code == 421:          # RFC 5321 3.8: it may come at any time, and the host closes
            self._fail("refused", reply.status, str(reply))
        elif not self._expected:
            self._out_of_turn(reply)
        else:
            _, handler = self._expected.popleft()
            if self._expected:
                self._phase = self._expected[0][0]
                self.arm(getattr(self.timeouts, self._phase))
            else:
                self.arm(None)
            handler(reply)

    def _out_of_turn(self, reply: Reply) -> None:
        """A reply that nothing asked for: a refusal of content that is still under way counts, nothing else does."""
        if self._phase == "content" and reply.code >= 400:
            self._transfer.settle(outcome_of(reply))
            self._fail("refused", reply.status, str(reply))
        else:
            raise ProtocolError(f"a reply out of turn: {reply}")

    def _refused(self, reply: Reply) -> None:
        if reply.code < 400:
            raise ProtocolError(f"{reply.code} {self._where()}")
        # RFC 7504 3: 521 is the host's word that it never takes mail; any other refusal of the session may pass
        failed = reply.code == 521
        status = reply.status if failed else "4" + reply.status[1:]
        self._fail("refused", status, "", Outcome("failed" if failed else "deferred", status, str(reply), True))

    def _fail(self, kind: str, status: str, text: str, outcome: Outcome | None = None) -> None:
        """End the session at once; recipients without a final word are deferred."""
        if self.ended:
            return
        self.out.clear()
        outcome = outcome or Outcome("deferred", status, text, kind != "auth")
        if self._transfer is not None:
            self._transfer.broken(outcome)
            self.transfer_ended(False)
            return
        if self._phase != "quit":
            self._events.append(Failed(kind, outcome))
        self._finish()

    def _finish(self) -> None:
        self.ended = self.closing = True
        self.ready = self.want_tls = False
        self.inbox.clear()
        self._expected.clear()
        self.arm(None)

    def _where(self) -> str:
        return _PLACES.get(self._phase, f"after {self._phase.upper()}")


_PLACES = {"greeting": "before the greeting", "hello": "after EHLO", "tls": "at STARTTLS", "auth": "during authentication",
           "idle": "between messages", "content": "while sending the content", "final": "after the content"}


def _extensions(reply: Reply) -> dict[str, str]:
    """Read the EHLO reply: keyword -> parameters; the old form "AUTH=LOGIN" counts as AUTH."""
    found: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.replace("AUTH=", "AUTH ", 1).strip().partition(" ")
        keyword = keyword.upper()
        found[keyword] = f"{found[keyword]} {parameters}" if keyword in found else parameters
    return found


def _challenge(reply: Reply) -> bytes:
    words = reply.lines[0].split()
    try:
        return base64.b64decode(words[-1] if words else b"", validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("a challenge that is not base64") from None
