"""The server's side of IMAP4rev1 and IMAP4rev2 (RFC 3501, RFC 9051): lines and literals in, commands out, decisions in, responses out.

Driven by servers/connection.py for servers/imap, and by the talks in tests/talks/imap. The engine answers alone what needs no decision:
syntax, states, limits, CAPABILITY, LOGOUT, STARTTLS. All else comes out as a value of commands.py and waits until it is answered. It
knows no account, no mailbox, no message and no clock.
"""

from __future__ import annotations

import re
from collections import deque

from fancymail.mail.imap.fetch import MODSEQ
from fancymail.protocol.engine import Engine
from fancymail.protocol.sasl import MAX_RESPONSE, offered

from . import commands as c
from . import responses as r
from .appending import Appending, NeedString
from .cursor import LITERAL8_MARK, LITERAL_MARK, BadSyntax, Cursor, Refused
from .grammar import ANY, APPENDING, AUTHENTICATED, LOGOUT, NOT_AUTHENTICATED, RULES, SELECTED
from .intake import Chunk, Collected, Intake, Line, Literal
from .options import LITERAL_MINUS, LITERAL_MINUS_MOST, Options, capabilities
from .search import asks_modseq

__all__ = ("ImapServer", "NOT_AUTHENTICATED", "AUTHENTICATED", "SELECTED", "LOGOUT")

_COMMAND = re.compile(rb"([^\x00-\x20(){%*\"\\+\x7f-\xff]{1,64}) (UID )?([A-Za-z0-9]{1,20})(?: |\Z)", re.IGNORECASE)
_TAG = re.compile(rb"([^\x00-\x20(){%*\"\\+\x7f-\xff]{1,64})(?: |\Z)")
_FOREIGN = re.compile(rb"(?:GET|HEAD|POST|PUT|OPTIONS|CONNECT|DELETE|PATCH|PRI|EHLO|HELO|USER|SSH-\S*)(?: |\Z)", re.IGNORECASE)
_NUMBERED = re.compile(rb"(?:\A|\n)[^ \r\n]{1,64} (?:FETCH|STORE|SEARCH|COPY|MOVE|SORT|THREAD|REPLACE) ", re.IGNORECASE)
# What the engine answers by itself: name -> (method, states).
_OWN = {"CAPABILITY": ("_capability", ANY), "LOGOUT": ("_logout", ANY), "STARTTLS": ("_starttls", NOT_AUTHENTICATED),
        "AUTHENTICATE": ("_authenticate", NOT_AUTHENTICATED), "NOOP": ("_noop", NOT_AUTHENTICATED)}
_UNANSWERED = (c.AppendData, c.AppendFailed, c.SaslCancelled)
_MARKS = {False: LITERAL_MARK, True: LITERAL8_MARK}


class ImapServer(Engine):
    """One session. `tls`: the connection is encrypted from its beginning; `binding`: it has channel-binding data."""

    def __init__(self, options: Options, tls: bool = False, binding: bool = False) -> None:
        super().__init__()
        self.options, self.tls, self.binding = options, tls, binding
        self.state = NOT_AUTHENTICATED
        self.enabled: set[str] = set()              # CONDSTORE QRESYNC IMAP4REV2 UTF8=ACCEPT UIDONLY
        self.tag, self.command = b"*", ""           # of the command under way
        self.idle = False                           # between idling() and DONE
        self.compressed = self.want_deflate = False
        self._intake = Intake(self.inbox)
        self._text, self._literals, self._octets = b"", [], 0       # of a command that goes on behind a literal
        self._eights: list[bool] = []
        self._event: object = None                  # what waits for its answer
        self._verdict: bytes | None = None          # the answer to a refused command whose literals are still coming
        self._append: Appending | None = None
        self._steps: deque = deque()                # of an APPEND, not handed out yet
        self._pending: Literal | None = None        # of an APPEND, for the last of its steps
        self._eight = False                         # the literal being streamed may hold NUL
        self._mechanism: str | None = None          # of the exchange that is under way
        self._failures = self._errors = 0
        self._leaving = False
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

    # -- reading -----------------------------------------------------------------------------------------------------

    def next_event(self) -> c.Command | None:
        """Answer commands until one needs a decision."""
        while not (self.busy or self.closing or self.want_tls or self.want_deflate):
            if self._leaving and not self.idle and self._append is None:
                return self.leave()
            event = self._steps.popleft() if self._steps else self._read()
            if event is None:
                return None
            if event is not True:
                self._event = event
                kind = type(event)
                self.busy = kind not in _UNANSWERED and not (kind is c.IdleDone and not event.done)
                return event
        return None

    def _read(self) -> c.Command | bool | None:
        """Take one piece; True when it needed no decision, None when nothing has arrived."""
        before = self.state == NOT_AUTHENTICATED
        limits = self.options.limits
        piece = self._intake.next(limits.line_before_login if before else limits.line)
        if piece is None:
            self._watch(before)
            return None
        if not before:
            self.arm(self.options.idle)             # before the login, time counts from the connection on
        if type(piece) is Line:
            return self._line(piece) or True
        if type(piece) is Chunk:
            return self._chunk(piece) or True
        return self._collected(piece) or True

    def _watch(self, before: bool) -> None:
        """What arrived is no whole piece: is it one that will never be?"""
        if before and self.inbox[:1] == b"\x16" and self._between():
            self._end("this port begins in plain text")     # a TLS ClientHello: no end of line will come
        elif self._intake.discarded > self.options.limits.abuse:
            self._end("the line does not end")

    def _between(self) -> bool:
        """Whether the next octets begin a command."""
        return not (self._text or self._mechanism or self._append is not None or self._verdict is not None)

    def _line(self, line: Line) -> c.Command | None:
        if self._mechanism:
            return self._response(line)
        if self.idle:
            return self._done(line)
        if self._verdict is not None:
            return self._judge(self._verdict, line.literal)
        if line.overlong:
            return self._overlong(line)
        if self._text or self._append is not None:
            return self._continued(line)
        return self._command(line)

    def _command(self, line: Line) -> c.Command | None:
        """The first line of a command."""
        match = _COMMAND.match(line.text)
        if match is None:
            return self._unreadable(line)
        self.tag = match[1]
        self.command = name = _NAMES.get(match[0][len(match[1]) + 1:]) or _name(match)
        rule = RULES.get(name)
        try:
            if rule is not None and self.state & rule.states:
                if rule.needs and not self.options.extension(*rule.needs):
                    raise BadSyntax("unknown command")
                if name == "LOGIN":
                    self._passwords_allowed()
                if line.literal is not None:
                    return self._announced(line.text[match.end():], line.literal)
                event = rule.read(Cursor(line.text[match.end():], [], self.options, self.enabled))
                return self._checked(event)
            return self._other(name, line, match.end())
        except BadSyntax as error:
            return self._refuse(error, line.literal)

    def _other(self, name: str, line: Line, start: int) -> c.Command | None:
        """A command that the engine answers by itself, one that comes in pieces, or none."""
        own = _OWN.get(name)
        if own is not None and self.state & own[1]:
            if line.literal is not None:
                raise BadSyntax("this command has no literal")
            return getattr(self, own[0])(line.text[start:])
        appending = APPENDING.get(name)
        if appending is not None and (not appending[1] or self.options.extension(*appending[1])):
            if self.state & appending[0]:
                self._append = Appending(name, self.options, self.enabled)
                return self._feed(line.text[start:], line.literal)
        elif name not in RULES and own is None:
            if self.state == NOT_AUTHENTICATED and _FOREIGN.match(line.text):
                return self._end("this is an IMAP server")
            raise BadSyntax("unknown command")
        raise BadSyntax("not in this state")

    def _unreadable(self, line: Line) -> None:
        """No tag, or nothing behind it."""
        tag = _TAG.match(line.text)
        self.tag, self.command = tag[1] if tag else b"*", ""
        if self.state == NOT_AUTHENTICATED and line.text[:1] == b"\x16":
            return self._end("this port begins in plain text")
        if self.state == NOT_AUTHENTICATED and _FOREIGN.match(line.text):
            return self._end("this is an IMAP server")
        return self._refuse(BadSyntax("a command is missing" if tag else "a tag is missing"), line.literal)

    def _overlong(self, line: Line) -> None:
        if not self._text and self._append is None:
            tag = _TAG.match(line.text)
            self.tag = tag[1] if tag and tag.end() > len(tag[1]) else b"*"
        return self._refuse(BadSyntax("the line is too long", b"LIMIT"), None)

    # -- literals ----------------------------------------------------------------------------------------------------

    def _announced(self, text: bytes, literal: Literal) -> None:
        """A line of a command ends in a literal that is a string: may it come?"""
        limits = self.options.limits
        before = self.state == NOT_AUTHENTICATED
        if literal.size > (limits.literal_before_login if before else limits.literal):
            raise Refused("the literal is too long", b"TOOBIG")
        if literal.eight and self.command != "SETMETADATA":
            raise BadSyntax("a literal8 does not belong here")
        self._admit(literal)
        self._octets += len(text) + literal.size
        if self._octets > limits.command or len(self._literals) > limits.items * 2:
            raise BadSyntax("the command is too long", b"LIMIT")
        self._text += text + _MARKS[literal.eight]
        self._eights.append(literal.eight)
        self._intake.collect(literal.size)
        if literal.sync:
            self.out.append(b"+ go on\r\n")

    def _admit(self, literal: Literal) -> None:
        if not literal.sync and self.options.literal == LITERAL_MINUS and literal.size > LITERAL_MINUS_MOST:
            raise BadSyntax("a non-synchronizing literal has at most 4096 octets", b"TOOBIG")       # RFC 7888 5

    def _collected(self, piece: Collected) -> None:
        if b"\0" in piece.octets and not self._eights[-1]:
            # The rest of the command is still to come; it is answered where it ends.
            self._verdict = self._said(BadSyntax("a literal has no NUL"))
            self._drop()
        else:
            self._literals.append(piece.octets)

    def _continued(self, line: Line) -> c.Command | None:
        """What follows a literal."""
        try:
            if self._append is not None:
                return self._feed(self._text + line.text, line.literal)
            if line.literal is not None:
                return self._announced(line.text, line.literal)
            cursor = Cursor(self._text + line.text, self._literals, self.options, self.enabled)
            self._drop()
            return self._checked(RULES[self.command].read(cursor))
        except BadSyntax as error:
            return self._refuse(error, line.literal)

    def _drop(self) -> None:
        """Forget the command that was being put together."""
        self._text, self._literals, self._octets, self._eights = b"", [], 0, []
        self._append, self._pending = None, None
        self._steps.clear()

    def _refuse(self, error: BadSyntax, literal: Literal | None) -> c.Command | None:
        """Answer BAD or NO, as soon as the client listens: not while a literal comes that it did not ask about."""
        told = self._append is not None and self._append.messages > 0 and isinstance(self._event, _APPEND_EVENTS)
        self._drop()
        self._event = None
        self._judge(self._said(error), literal)
        return c.AppendFailed() if told else None

    def _said(self, error: BadSyntax) -> bytes:
        if isinstance(error, Refused):
            return r.line(self.tag, b"NO", error.text, error.code)
        self._errors += 1
        return r.line(self.tag, b"BAD", error.text, error.code)

    def _judge(self, verdict: bytes, literal: Literal | None) -> None:
        if literal is not None and not literal.sync:
            self._verdict, limits = verdict, self.options.limits
            if literal.size > (limits.literal if self.state == NOT_AUTHENTICATED else limits.swallow):
                return self._end("the literal is far too long", b"TOOBIG")
            return self._intake.swallow(literal.size)
        self._verdict = None
        self.out.append(verdict)
        if self._errors >= self.options.limits.errors:
            self._end("too many errors")

    # -- appending ---------------------------------------------------------------------------------------------------

    def _feed(self, text: bytes, literal: Literal | None) -> c.Command | None:
        """A line of an APPEND."""
        try:
            if literal is not None:
                self._admit(literal)
            steps = self._append.feed(text, self._literals, literal)
        except NeedString:
            self._announced(text[len(self._text):], literal)
            return None
        self._text, self._literals, self._octets, self._eights = b"", [], 0, []
        self._steps.extend(steps)
        self._pending = literal
        return self._steps.popleft()

    def _chunk(self, piece: Chunk) -> c.Command:
        if b"\0" in piece.octets and not self._eight:
            self._intake.drop_stream()
            self._verdict = self._said(BadSyntax("a literal has no NUL; a literal8 may"))
            self._drop()
            return c.AppendFailed()
        return c.AppendData(piece.octets)

    def go_ahead(self) -> None:
        """The message, part or URL is welcome."""
        event, self.busy = self._event, False
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
        kind = type(event)
        if kind is c.Enable:
            self.enabled.update(event.names, ("CONDSTORE",) * ("QRESYNC" in event.names))       # RFC 7162 3.2.3
        elif kind is c.Compress:
            self._may_compress()
        elif kind is c.MultiSearch and self.state != SELECTED:
            _somewhere(event)
        elif kind is c.Select and self.state == SELECTED:
            self.state = AUTHENTICATED              # RFC 9051 6.3.2: whether it succeeds or not
            self.out.append(r.ok("the other mailbox is closed", b"CLOSED"))
        if "CONDSTORE" not in self.enabled and (implies := _IMPLIES.get(kind)) is not None and implies(event):
            if self.options.extension("CONDSTORE"):
                self.enabled.add("CONDSTORE")       # RFC 7162 3.1: commands that enable it
        return event

    def _may_compress(self) -> None:
        if self.compressed:
            raise Refused("the connection is compressed", b"COMPRESSIONACTIVE")
        if self.inbox:                              # RFC 4978 3: nobody could tell which of it is deflated
            raise BadSyntax("nothing may follow COMPRESS before it is answered")

    # -- decisions ---------------------------------------------------------------------------------------------------

    def untagged(self, *responses: bytes) -> None:
        """Say these, each with its CRLF; also between commands, while the client idles."""
        self.out += responses

    def ok(self, text: bytes | str = "", code: bytes = b"") -> None:
        """The command is done."""
        self._errors = 0
        if type(self._event) is c.Compress and self.busy:
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
        self.state = AUTHENTICATED
        self.ok(text, b"CAPABILITY " + self.capability())
        self.arm(self.options.idle)

    def challenge(self, data: bytes) -> None:
        """The mechanism asks on; `data` is base64."""
        self.busy = False
        self.out.append(b"+ %b\r\n" % data)

    def refused(self, text: bytes | str, code: bytes = b"AUTHENTICATIONFAILED", counts: bool = True) -> None:
        """The login failed. `counts`: because of what the client sent, so a few of these end the session."""
        self._failures += counts
        self._answer(b"NO", text, code)
        if self._failures >= self.options.limits.login_failures:
            self._end("too many failed logins")

    def selected(self, read_only: bool, text: bytes | str = "") -> None:
        """The mailbox is selected; all about it has been said."""
        self.state = SELECTED
        self.ok(text, b"READ-ONLY" if read_only else b"READ-WRITE")

    def deselected(self, text: bytes | str = "") -> None:
        """CLOSE or UNSELECT is done."""
        self.state = AUTHENTICATED
        self.ok(text)

    def idling(self) -> None:
        """IDLE begins (RFC 2177 3)."""
        self.idle, self.busy, self._errors = True, False, 0
        self.out.append(b"+ idling\r\n")

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

    def _end(self, text: bytes | str, code: bytes = b"") -> None:
        if not self.closing:
            self.out.append(r.bye(text, code))
        self._intake.clear()
        self._drop()
        self.state, self.closing, self.busy, self.idle = LOGOUT, True, False, False


_APPEND_EVENTS = (c.AppendMessage, c.AppendData, c.AppendText, c.AppendUrl)
_NAMES: dict[bytes, str] = {}
for _known in (*RULES, *APPENDING, *_OWN):
    for _spelled in (_known.encode(), _known.encode() + b" "):
        _NAMES[_spelled] = _known


def _somewhere(event: c.MultiSearch) -> None:
    """RFC 7377 2.1: without IN the selected mailbox is searched."""
    if not event.sources or any(source.kind == "selected" for source in event.sources):
        raise BadSyntax("no mailbox is selected")


def _name(match: re.Match[bytes]) -> str:
    return ("UID " if match[2] else "") + match[3].decode().upper()


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
