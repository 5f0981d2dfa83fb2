"""A driver of Pop3Server for talks: three accounts and one maildrop, all in memory, decisions at once.

Options of a talk: `tls: yes` (implicit TLS), `plaintext: yes`, `stls: no`, `mechanisms: A B`, `failures: N`, `errors: N`,
`delay: N`, `message: octets` (repeated as message2, message3 ...; \\r \\n as in C lines), `login: yes` (alice is logged in already),
`update: fails`, `blob: fails`, `lock: taken`.
"""

from __future__ import annotations

import types
from base64 import b64decode

from fancymail.core.maildrop import RECORD, Maildrop, Snapshot
from fancymail.protocol.pop3.content import Top
from fancymail.protocol.pop3.events import Login, Options, Retrieve, SaslCancelled, SaslStep, Update
from fancymail.protocol.pop3.server import Pop3Server
from tests.talks.player import octets

PASSWORDS = {"alice": b"secret", "bob": b" two  words ", "jos\u00e9": "contrase\u00f1a".encode()}


class Fetcher:
    """Decides as a daemon would, from a dictionary."""

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options
        tls = options.get("tls") == "yes"
        self.contents = [octets(options[name]) for name in sorted(options) if name.startswith("message")]
        self.messages: list = []                    # the player's: what was accepted; POP3 accepts none
        self.expunged: list[int] = []
        self.cancelled: list[str] = []
        self.engine = Pop3Server(Options(
            banner="ready", mechanisms=tuple(options.get("mechanisms", "PLAIN LOGIN").split()), plaintext=options.get("plaintext") == "yes",
            stls=options.get("stls") != "no", login_failures=int(options.get("failures", 3)), errors=int(options.get("errors", 50)),
            login_delay=int(options.get("delay", 0))), tls, tls)
        self.proving = False
        if options.get("login") == "yes":
            self.engine.to_send()
            self._enter()
            self.engine.to_send()

    def tls(self) -> None:
        self.engine.tls_started(types.SimpleNamespace(server_end_point=b"hash"))

    def decide(self, event) -> None:
        if isinstance(event, Login):
            self._check(event.user, event.password)
        elif isinstance(event, SaslStep):
            self._step(event)
        elif isinstance(event, SaslCancelled):
            self.cancelled.append(event.mechanism)
            self.proving = False
        elif isinstance(event, Retrieve):
            self._retrieve(event)
        elif isinstance(event, Update):
            self.engine.updated(self.options.get("update") != "fails")
            self.expunged = event.uids
        else:
            raise AssertionError(f"no event: {event!r}")

    def _check(self, user: str, password: bytes) -> None:
        if PASSWORDS.get(user) == password:
            self._enter()
        else:
            self.engine.refused("wrong user name or password")

    def _step(self, event: SaslStep) -> None:
        """PLAIN; LOGIN as two questions; SCRAM-SHA-256 stands for any mechanism with a proof that comes with the success."""
        if event.mechanism.startswith("SCRAM"):
            self._prove(event)
        elif event.response is None:
            self.engine.challenge(b"")
        else:
            try:
                _, user, password = b64decode(event.response, validate=True).split(b"\0")
            except ValueError:
                self.engine.refused("this login cannot be read")
            else:
                self._check(user.decode("utf-8", "replace"), password)

    def _prove(self, event: SaslStep) -> None:
        if self.proving:
            self.proving = False
            self.engine.refused("the last answer of this exchange is empty") if event.response else self._enter()
        elif event.response is None:
            self.engine.challenge(b"")
        else:
            self.proving = True
            self.engine.challenge(b"dj1wcm9vZg==")

    def _enter(self) -> None:
        if self.options.get("lock") == "taken":
            self.engine.refused("another session has this maildrop", "IN-USE", counts=False)
            return
        records = b"".join(RECORD.pack(10 + number, len(content)) for number, content in enumerate(self.contents))
        self.engine.logged_in(Maildrop(Snapshot(7, records)))

    def _retrieve(self, event: Retrieve) -> None:
        content = self.contents[event.uid - 10]
        assert event.octets == len(content)
        if self.options.get("blob") == "fails":
            self.engine.failed("the message cannot be read now")
        elif self.options.get("blob") == "streamed":
            self._stream(content, event.lines)
        else:
            self.engine.content(content if event.lines is None else Top(event.lines)(content))

    def _stream(self, content: bytes, lines: int | None) -> None:
        """The same octet by octet, as a large message goes in chunks."""
        stuff = self.engine.begin_content(len(content))
        top = Top(lines) if lines is not None else lambda chunk: chunk
        for at in range(len(content)):
            piece = top(content[at:at + 1])
            if piece is None:
                break
            self.engine.out.append(stuff(piece))
        self.engine.end_content()
