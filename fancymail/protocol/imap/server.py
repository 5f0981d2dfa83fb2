"""The server's side of IMAP4rev1 and IMAP4rev2 (RFC 3501, RFC 9051): lines and literals in, commands out, decisions in, responses out.

Driven by servers/doors/connection.py for servers/imap, and by the talks in tests/talks/imap. The engine answers alone what needs no decision:
syntax, states, limits, CAPABILITY, LOGOUT, STARTTLS. All else comes out as a value of commands.py and waits until it is answered. It
knows no account, no mailbox, no message and no clock.
"""

from __future__ import annotations

import re

from fancymail.mail.imap.fetch import MODSEQ
from fancymail.protocol.sasl import MAX_RESPONSE, offered

from . import commands as c
from . import responses as r
from .cursor import BadSyntax, Refused
from .grammar import AUTHENTICATED, LOGOUT, NOT_AUTHENTICATED, SELECTED
from .intake import Line, Literal
from .options import Options, capabilities
from .reading import CommandReader
from .search import asks_modseq

__all__ = ("ImapServer", "NOT_AUTHENTICATED", "AUTHENTICATED", "SELECTED", "LOGOUT")

_NUMBERED = re.compile(rb"(?:\A|\n)[^ \r\n]{1,64} (?:FETCH|STORE|SEARCH|COPY|MOVE|SORT|THREAD|REPLACE) ", re.IGNORECASE)


class ImapServer(CommandReader):
    """One session. `tls`: the connection is encrypted from its beginning; `binding`: it has channel-binding data.

    Public besides what the methods say: `state`, `enabled`, `tag`, `command`, `idle`, `want_deflate` (see docs/house.md 10)."""

    def __init__(self, options: Options, tls: bool = False, binding: bool = False) -> None:
        super().__init__(options)
        self.tls, self.binding = tls, binding
        self.compressed = False
        self._failures = 0
        self.out.append(r.line(b"*", b"OK", options.banner, b"CAPABILITY " + self.capability()))
        self.arm(options.login_timeout)

    # -- what the session may ask ------------------------------------------------------------------------------------

    @property
    def utf8(self) -> bool:
        """Names go as UTF-8 (RFC 9051 5.1, RFC 6855 3)."""
        return "UTF8=ACCEPT" in self.enabled or "IMAP4REV2" in self.enabled

    @property
    def rev2(self) -> bool:
        """The client speaks IMAP4rev2: no RECENT, SEARCH is answered by ESEARCH."""
        return "IMAP4REV2" in self.enabled

    @property
    def uidonly(self) -> bool:
        """The client knows no message numbers (RFC 9586)."""
        return "UIDONLY" in self.enabled

    def numbers_follow(self) -> bool:
        """Whether a command with message numbers is buffered behind this one: an EXPUNGE now would shift what it means."""
        return bool(self.inbox) and _NUMBERED.search(self.inbox) is not None

    def capability(self) -> bytes:
        """The words of CAPABILITY at this moment."""
        return capabilities(self.options, self.tls, self.binding, self.state != NOT_AUTHENTICATED, self.compressed)

    # -- appending ---------------------------------------------------------------------------------------------------

    def go_ahead(self) -> None:
        """The message, part or URL is welcome."""
        event, self.busy = self._event, False
        if self.closing:
            return
        if type(event) is c.AppendMessage and not event.catenate or type(event) is c.AppendText:
            literal, self._pending = self._pending, None
            self._eight = literal.eight
            self._intake.stream(literal.size)
            if literal.sync:
                self.out.append(b"+ go on\r\n")

    # -- logging in --------------------------------------------------------------------------------------------------

    def _passwords_allowed(self) -> None:
        if not (self.tls or self.options.plaintext):
            raise Refused("passwords are taken in TLS only", b"PRIVACYREQUIRED")

    def _authenticate(self, text: bytes) -> c.Command | None:
        word, space, initial = text.rstrip(b" ").partition(b" ")
        name = word.decode("ascii", "replace").upper()
        mechanisms = self.options.mechanisms
        if name not in offered(mechanisms, self.tls, self.binding, self.options.plaintext):
            if name in offered(mechanisms, True, True):
                raise Refused("this mechanism needs TLS", b"PRIVACYREQUIRED")
            raise Refused("this mechanism is not known", b"CANNOT")
        self._mechanism = name
        return c.SaslStep(name, initial if space else None)     # RFC 4959 3

    def _response(self, line: Line) -> c.Command | None:
        mechanism = self._mechanism
        text = line.text + _announcement(line.literal)
        if text == b"*" or line.overlong or len(text) > MAX_RESPONSE:
            self._mechanism = None                  # RFC 9051 6.2.2: the client gives up
            self._refuse(BadSyntax("cancelled" if text == b"*" else "the response is too long"), None)
            return c.SaslCancelled(mechanism)
        return c.SaslStep(mechanism, text)

    def _starttls(self, text: bytes) -> None:
        if text.strip(b" ") or self.tls or not self.options.starttls:
            raise BadSyntax("TLS is here already" if self.tls else "there is no TLS here" if not text else "more arguments than needed")
        if self.inbox:
            # Whoever sits on the wire can put commands behind STARTTLS; kept, they would count as the client's (CVE-2011-0411).
            self.bad("nothing may follow STARTTLS before TLS does")
            return self._end("nothing may follow STARTTLS before TLS does")
        self.ok("begin TLS")
        self.want_tls = True

    def tls_started(self, info) -> None:
        """The handshake is done: what was said in plain text is forgotten (RFC 9051 6.2.1)."""
        super().tls_started(info)
        self._intake.clear()
        self._drop()
        self._verdict, self._errors = None, 0
        self.tls, self.binding = True, bool(info is not None and info.server_end_point)

    # -- what needs no decision --------------------------------------------------------------------------------------

    def _capability(self, text: bytes) -> None:
        if text.strip(b" "):
            raise BadSyntax("more arguments than the command has")
        self.out.append(r.capability(self.capability()))
        self.ok()

    def _noop(self, text: bytes) -> None:
        if text.strip(b" "):
            raise BadSyntax("more arguments than the command has")
        self.ok()

    def _logout(self, text: bytes) -> None:
        if text.strip(b" "):
            raise BadSyntax("more arguments than the command has")
        self.out.append(r.bye("good bye"))
        self.ok()
        self.state, self.closing = LOGOUT, True
        self.inbox.clear()

    def _done(self, line: Line) -> c.Command:
        self.idle = False
        if line.text.upper() == b"DONE" and line.literal is None:
            return c.IdleDone()
        self._refuse(BadSyntax("DONE was expected"), line.literal)
        return c.IdleDone(False)

    def _checked(self, event: c.Command) -> c.Command | None:
        """What a command means for the engine itself."""
        if (heed := _HEED.get(type(event))) is not None:
            heed(self, event)
        return event

    def _enables(self, event: c.Enable) -> None:
        self._enable(*event.names, *("CONDSTORE",) * ("QRESYNC" in event.names))        # RFC 7162 3.2.3

    def _selects(self, event: c.Select) -> None:
        if self.state == SELECTED:
            self.state = AUTHENTICATED              # RFC 9051 6.3.2: whether it succeeds or not
            self.out.append(r.ok("the other mailbox is closed", b"CLOSED"))
        self._implied(event)

    def _implied(self, event: c.Command) -> None:
        """RFC 7162 3.1: commands that enable CONDSTORE."""
        if "CONDSTORE" not in self.enabled and _IMPLIES[type(event)](event) and self.options.extension("CONDSTORE"):
            self._enable("CONDSTORE")

    def _somewhere(self, event: c.MultiSearch) -> None:
        """RFC 7377 2.1: without IN the selected mailbox is searched, and UPDATE is of the selected one only."""
        if self.state != SELECTED and (not event.sources or any(source.kind == "selected" for source in event.sources)
                                       or "UPDATE" in event.returns.options):
            raise BadSyntax("no mailbox is selected")

    def _enable(self, *names: str) -> None:
        self.enabled.update(names)
        self._memory = self.options.memory(self.enabled)

    def _may_compress(self, event: c.Compress) -> None:
        if self.compressed:
            raise Refused("the connection is compressed", b"COMPRESSIONACTIVE")
        if self.inbox:                              # RFC 4978 3: nobody could tell which of it is deflated
            raise BadSyntax("nothing may follow COMPRESS before it is answered")

    # -- decisions ---------------------------------------------------------------------------------------------------

    def untagged(self, *responses: bytes) -> None:
        """Say these, each with its CRLF; also between commands, while the client idles. Behind a BYE nothing is said any more."""
        if not self.closing:
            self.out += responses

    def ok(self, text: bytes | str = "", code: bytes = b"") -> None:
        """The command is done."""
        self._errors = 0
        if type(self._event) is c.Compress and self.busy and not self.closing:
            self.compressed = self.want_deflate = True
        self._answer(b"OK", text or self.command + " completed", code)

    def no(self, text: bytes | str, code: bytes = b"") -> None:
        """The command could be read and was not done."""
        self._answer(b"NO", text, code)

    def bad(self, text: bytes | str, code: bytes = b"") -> None:
        """The command cannot be done by anyone: a number beyond the messages, for one."""
        self._errors += 1
        self._answer(b"BAD", text, code)

    def _answer(self, word: bytes, text: bytes | str, code: bytes) -> None:
        """One tagged response; a literal that the command announced and nobody waits for is thrown away first."""
        self.busy, self._event, self._mechanism = False, None, None
        if self.closing:
            return
        if self._append is None:
            self.out.append(r.line(self.tag, word, text, code))
            if word == b"BAD" and self._errors >= self.options.limits.errors:
                self._end("too many errors")
            return
        literal = self._pending
        self._drop()
        self._judge(r.line(self.tag, word, text, code), literal)

    def logged_in(self, text: bytes | str = "welcome") -> None:
        """The login is right."""
        self._enter(AUTHENTICATED)
        self.ok(text, b"CAPABILITY " + self.capability())
        self.arm(self.options.idle)

    def challenge(self, data: bytes) -> None:
        """The mechanism asks on; `data` is base64."""
        self.busy = False
        self.untagged(b"+ %b\r\n" % data)

    def refused(self, text: bytes | str, code: bytes = b"AUTHENTICATIONFAILED", counts: bool = True) -> None:
        """The login failed. `counts`: because of what the client sent, so a few of these end the session."""
        self._failures += counts
        self._answer(b"NO", text, code)
        if not self.closing and self._failures >= self.options.limits.login_failures:
            self._end("too many failed logins")

    def selected(self, read_only: bool, text: bytes | str = "") -> None:
        """The mailbox is selected; all about it has been said."""
        self._enter(SELECTED)
        self.ok(text, b"READ-ONLY" if read_only else b"READ-WRITE")

    def deselected(self, text: bytes | str = "") -> None:
        """CLOSE or UNSELECT is done."""
        self._enter(AUTHENTICATED)
        self.ok(text)

    def idling(self) -> None:
        """IDLE begins (RFC 2177 3)."""
        self.idle, self.busy, self._errors = not self.closing, False, 0
        self.untagged(b"+ idling\r\n")

    def _enter(self, state: int) -> None:
        """Go into a state, unless the session has come to its end meanwhile."""
        if not self.closing:
            self.state = state

    # -- the end -----------------------------------------------------------------------------------------------------

    def bye(self, text: bytes | str, code: bytes = b"") -> None:
        """End the session, whatever is under way."""
        self._end(text, code)

    def expire(self) -> None:
        """Too long a silence (RFC 9051 5.4)."""
        self._end("too slow to log in" if self.state == NOT_AUTHENTICATED else "too long a silence")

    def leave(self) -> None:
        """End the session behind the command that is under way: the daemon goes away."""
        self._leaving = True
        if not self.busy and self._append is None:
            self._end("the session ends here, log in again", b"UNAVAILABLE")


def _announcement(literal: Literal | None) -> bytes:
    """A line that only looked as if it announced a literal, as it was."""
    if literal is None:
        return b""
    return b"%b{%d%b}" % (b"~" * literal.eight, literal.size, b"" if literal.sync else b"+")


# Commands that enable CONDSTORE by being said (RFC 7162 3.1).
_IMPLIES = {
    c.Select: lambda command: command.condstore,
    c.Status: lambda command: "HIGHESTMODSEQ" in command.items,
    c.Fetch: lambda command: command.changed_since is not None or MODSEQ in command.items,
    c.Store: lambda command: command.unchanged_since is not None,
    c.Search: lambda command: asks_modseq(command.key),
    c.Sort: lambda command: asks_modseq(command.key),
    c.Thread: lambda command: asks_modseq(command.key),
}
# Commands that mean something for the engine itself.
_HEED = {**dict.fromkeys(_IMPLIES, ImapServer._implied), c.Select: ImapServer._selects, c.Enable: ImapServer._enables,
         c.Compress: ImapServer._may_compress, c.MultiSearch: ImapServer._somewhere}
