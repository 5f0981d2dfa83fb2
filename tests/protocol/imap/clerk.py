"""A driver of ImapServer for talks: decisions at once, from nothing but the command; most are answered by saying what was understood.

Options of a talk: `tls: yes` (implicit TLS), `plaintext: yes`, `starttls: no`, `mechanisms: A B`, `state: authenticated` or `selected`,
`enabled: QRESYNC ...`, `without: ACL ...` (extensions that are not offered), `literal: LITERAL-`, `rev2: no`, `append: N`, `errors: N`,
`failures: N`, `depth: N`, `line: N`, `swallow: N`, `show: no` (answers do not say what was understood).

alice's password is secret. The mailbox "none" does not exist, "full" is full, in "broken" nothing can be kept, the URLs of "none" are none.
"""

from __future__ import annotations

import dataclasses
import types
from base64 import b64decode
from datetime import date

from fancymail.mail.imap.fetch import Binary, Section
from fancymail.mail.imap.sequence import SequenceSet
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r
from fancymail.protocol.imap.options import EXTENSIONS, LITERAL_PLUS, Limits, Options
from fancymail.protocol.imap.server import AUTHENTICATED, SELECTED, ImapServer


def options_of(said: dict[str, str]) -> Options:
    """The engine's options from those of a talk."""
    known = {field.name for field in dataclasses.fields(Limits)}
    limits = Limits(**{name: int(value) for name, value in said.items() if name in known and value.isdigit()},
                    **({"login_failures": int(said["failures"])} if "failures" in said else {}))
    return Options(banner="ready", mechanisms=tuple(said.get("mechanisms", "PLAIN").split()), plaintext=said.get("plaintext") == "yes",
                   starttls=said.get("starttls") != "no", literal=said.get("literal", LITERAL_PLUS), limits=limits,
                   extensions=frozenset(EXTENSIONS) - set(said.get("without", "").split()), revision_2=said.get("rev2") != "no")


class Clerk:
    """Decides as a daemon would, from the command alone."""

    def __init__(self, options: dict[str, str]) -> None:
        self.show = options.get("show") != "no"
        tls = options.get("tls") == "yes"
        self.engine = ImapServer(options_of(options), tls, tls)
        self.messages: list = []                    # of APPENDs that succeeded: (mailbox, flags, content)
        self.events: list = []
        self.parts: list = []                       # of the APPEND under way
        self.failed = 0                             # how many APPENDs broke off
        if "state" in options:
            self.engine.to_send()
            self.engine.state = {"authenticated": AUTHENTICATED, "selected": SELECTED}[options["state"]]
            self.engine.enabled.update(options.get("enabled", "").split())

    def tls(self) -> None:
        self.engine.tls_started(types.SimpleNamespace(server_end_point=b"hash"))

    def decide(self, event) -> None:
        self.events.append(event)
        _DECISIONS.get(type(event), Clerk._done)(self, event)

    def _done(self, event) -> None:
        self.engine.ok(describe(event).encode("ascii", "backslashreplace") if self.show else "")

    def _login(self, event) -> None:
        if (event.user, event.password) == ("alice", b"secret"):
            self.engine.logged_in()
        else:
            self.engine.refused("wrong user name or password")

    def _step(self, event) -> None:
        if event.response is None:
            self.engine.challenge(b"")
            return
        try:
            right = b64decode(event.response, validate=True) == b"\0alice\0secret"
        except ValueError:
            self.engine.refused("no base64", b"", True)
            return
        if right:
            self.engine.logged_in()
        else:
            self.engine.refused("wrong user name or password")

    def _select(self, event) -> None:
        if event.mailbox == "none":
            self.engine.no("no such mailbox", b"NONEXISTENT")
            return
        self.engine.untagged(b"* 3 EXISTS\r\n")
        self.engine.selected(event.read_only, describe(event) if self.show else "")

    def _enable(self, event) -> None:
        self.engine.untagged(r.enabled(event.names))
        self.engine.ok()

    def _idle(self, event) -> None:
        self.engine.idling()
        self.engine.untagged(b"* 4 EXISTS\r\n")

    def _idle_done(self, event) -> None:
        if event.done:
            self.engine.ok()

    def _message(self, event) -> None:
        if event.number == 0:
            self.parts = []
        if event.mailbox == "full":
            self.engine.no("over quota", b"OVERQUOTA")
            return
        self.parts.append([event, b""])
        self.engine.go_ahead()

    def _data(self, event) -> None:
        self.parts[-1][1] += event.data

    def _url(self, event) -> None:
        if event.message.mailbox == "none":
            self.engine.no("no such part", event.badurl)
            return
        self.parts[-1][1] += b"<%b>" % event.url.encode()
        self.engine.go_ahead()

    def _text(self, event) -> None:
        self.engine.go_ahead()

    def _append_end(self, event) -> None:
        assert event.messages == len(self.parts)
        for message, content in self.parts:
            assert message.catenate or len(content) == message.size
        if event.mailbox == "broken":
            self.engine.no("nothing can be kept")
            return
        self.messages += [(message.mailbox, message.flags, content) for message, content in self.parts]
        self.engine.ok(describe(self.parts[-1][0]) if self.show else "")

    def _append_failed(self, event) -> None:
        self.failed += 1
        self.parts = []

    def _nothing(self, event) -> None:
        pass


_DECISIONS = {c.Login: Clerk._login, c.SaslStep: Clerk._step, c.SaslCancelled: Clerk._nothing, c.Select: Clerk._select,
              c.Enable: Clerk._enable, c.Idle: Clerk._idle, c.IdleDone: Clerk._idle_done, c.AppendMessage: Clerk._message,
              c.AppendData: Clerk._data, c.AppendUrl: Clerk._url, c.AppendText: Clerk._text, c.AppendEnd: Clerk._append_end,
              c.AppendFailed: Clerk._append_failed, c.Close: lambda clerk, event: clerk.engine.deselected(describe(event))}


def describe(value) -> str:
    """What was understood, on one line: the fields that are not as by default."""
    if isinstance(value, (SequenceSet, int, date)):
        return str(value)
    if isinstance(value, (Section, Binary)):
        return value.label.decode() + "/peek" * value.peek + (f"/{value.partial[1]}" if value.partial else "")
    if isinstance(value, bytes):
        return repr(value)[1:]
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, dict):
        return "{" + " ".join(f"{key}={describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, frozenset):
        return "{" + " ".join(sorted(value)) + "}"
    if isinstance(value, tuple):
        return "[" + " ".join(map(describe, value)) + "]"
    if value is None:
        return "none"
    fields = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
    told = [field.name if item is True else f"{field.name}={describe(item)}" for field, item in fields if item != field.default]
    return " ".join([type(value).__name__, *told]) if value.__class__.__module__ == c.__name__ else f"{type(value).__name__}({', '.join(told)})"
