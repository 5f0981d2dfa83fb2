"""A driver of the receiving engine with fake decisions: us.test is ours, alice and bob live there, the password is "secret"."""

from __future__ import annotations

from types import SimpleNamespace

from fancymail.protocol.smtp import events
from fancymail.protocol.smtp.content import ContentLimits
from fancymail.protocol.smtp.options import Deadlines, Options
from fancymail.protocol.smtp.reply import RECIPIENT_OK, SENDER_OK, Reply
from fancymail.protocol.smtp.server import SmtpServer

TLS = SimpleNamespace(server_end_point=b"end point")
USERS = ("alice@us.test", "bob@us.test", "postmaster")


def make_options(options: dict[str, str]) -> Options:
    """Options of a talk: those of the engine by name, `size`, `header`, `fields`, `line` for content, `delay` for the greeting."""
    given = dict(options)
    given.pop("cut", None)
    content = ContentLimits(int(given.pop("size", 100_000)), int(given.pop("header", 10_000)), int(given.pop("fields", 100)),
                            int(given.pop("line", 2000)))
    deadlines = Deadlines(greeting=float(given.pop("delay", 0)))
    values: dict = {"mechanisms": tuple(given.pop("mechanisms", "").split())}
    for name, value in given.items():
        values[name] = {"yes": True, "no": False}.get(value, int(value) if value.isdecimal() else value)
    return Options(host="mx.us.test", content=content, deadlines=deadlines, **values)


class Receiver:
    """Decides as a small daemon would; `messages` are (sender, recipients, content) of what was accepted."""

    def __init__(self, options: dict[str, str] | None = None) -> None:
        self.engine = SmtpServer(make_options(options or {}))
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.events: list = []
        self.sender, self.recipients, self.content = "", [], b""
        self.receiving = False                       # between DataStart and the end or failure of content
        self.engine.greet()

    def decide(self, event) -> None:
        """Answer one event."""
        self.events.append(event)
        getattr(self, f"_{type(event).__name__.lower()}")(event)

    def tls(self) -> None:
        """The handshake is done."""
        self.engine.tls_started(TLS)

    def _hello(self, event: events.Hello) -> None:
        self._rset(event)
        self.engine.accept()

    def _mail(self, event: events.Mail) -> None:
        self._rset(event)
        self.sender = event.address
        self.engine.reply(Reply(553, "5.7.1", "Not you") if event.address.startswith("evil") else SENDER_OK)

    def _rcpt(self, event: events.Rcpt) -> None:
        if event.address in USERS or self.engine.account:
            self.recipients.append(event.address)
            self.engine.reply(RECIPIENT_OK)
        elif event.address.startswith("later"):
            self.engine.reply(Reply(451, "4.3.0", "Later"))
        else:
            self.engine.reply(Reply(550, "5.1.1", "No such user") if event.address.endswith("@us.test") else
                              Reply(550, "5.7.1", "Relaying denied"))

    def _datastart(self, event) -> None:
        if self.sender.startswith("full"):
            self.engine.reply(Reply(452, "4.3.1", "No room"))
        else:
            self.receiving = True
            self.engine.accept()

    def _header(self, event: events.Header) -> None:
        assert self.receiving and not self.content
        self.content = event.block

    def _content(self, event: events.Content) -> None:
        assert self.receiving
        self.content += event.data

    def _dataend(self, event: events.DataEnd) -> None:
        assert self.receiving and event.octets == len(self.content)
        self.receiving = False
        if self.sender.startswith("doubt"):
            self.engine.reply(Reply(451, "4.3.0", "Queue is away"))
            return
        self.messages.append((self.sender, self.recipients, self.content))
        self._rset(event)
        if self.engine.options.mode == "lmtp" and self.messages[-1][1][-1] == "postmaster":
            self.engine.reply_each([Reply(250, "2.0.0", "first")] * (len(self.messages[-1][1]) - 1) + [Reply(452, "4.2.2", "full")])
        else:
            self.engine.reply(Reply(250, "2.0.0", "queued"))

    def _datafail(self, event) -> None:
        assert self.receiving
        self.receiving = False
        self._rset(event)

    def _authstart(self, event: events.AuthStart) -> None:
        if event.mechanism.startswith("SCRAM"):
            self.engine.challenge(b"r=nonce")
        elif event.response.split(b"\0")[1:] == [b"alice", b"secret"]:
            self.engine.authenticated("alice@us.test")
        else:
            self.engine.reply(Reply(454 if b"away" in event.response else 535, "5.7.8", "Authentication failed"))

    def _authstep(self, event: events.AuthStep) -> None:
        if event.response == b"proof":
            self.engine.authenticated("alice@us.test", b"v=server")
        else:
            self.engine.reply(Reply(535, "5.7.8", "Authentication failed"))

    def _authcancel(self, event) -> None: ...

    def _starttls(self, event) -> None:
        self.engine.accept()

    def _rset(self, event) -> None:
        self.sender, self.recipients, self.content, self.receiving = "", [], b"", False

    def _quit(self, event) -> None: ...
