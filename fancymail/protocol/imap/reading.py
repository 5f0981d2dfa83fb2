"""How an IMAP engine comes from octets to commands: lines, literals, the table, and one answer for whatever is no command.

The lower half of server.py's engine. It keeps what has arrived of the command under way, asks for literals or throws them away, and answers what
breaks a rule, never while octets come that could be taken for something else. What a command means is above; what it says is in grammar.py.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import deque

from fancymail.protocol.engine import Engine

from . import commands as c
from . import responses as r
from .appending import Appending, NeedString
from .cursor import LITERAL8_MARK, LITERAL_MARK, BadSyntax, Cursor, Refused
from .grammar import ANY, APPENDING, LOGOUT, NOT_AUTHENTICATED, RULES
from .intake import Chunk, Collected, Intake, Line, Literal
from .options import LITERAL_MINUS, LITERAL_MINUS_MOST, Options

_COMMAND = re.compile(rb"([^\x00-\x20(){%*\"\\+\x7f-\xff]{1,64}) (UID )?([A-Za-z0-9]{1,20})(?: |\Z)", re.IGNORECASE)
_BARE_TAG = re.compile(rb"[^\x00-\x20(){%*\"\\+\x7f-\xff]{1,64}")
_TAG = re.compile(rb"([^\x00-\x20(){%*\"\\+\x7f-\xff]{1,64})(?: |\Z)")
_FOREIGN = re.compile(rb"(?:GET|HEAD|POST|PUT|OPTIONS|CONNECT|DELETE|PATCH|PRI|EHLO|HELO|USER|SSH-\S*)(?: |\Z)", re.IGNORECASE)
# What the engine answers by itself: name -> (method, states).
_OWN = {"CAPABILITY": ("_capability", ANY), "LOGOUT": ("_logout", ANY), "STARTTLS": ("_starttls", NOT_AUTHENTICATED),
        "AUTHENTICATE": ("_authenticate", NOT_AUTHENTICATED), "NOOP": ("_noop", NOT_AUTHENTICATED)}
_UNANSWERED = (c.AppendData, c.AppendFailed, c.SaslCancelled)
_MARKS = {False: LITERAL_MARK, True: LITERAL8_MARK}


class CommandReader(Engine):
    """Octets in, commands out. Subclasses answer commands and read what is no command: SASL responses and DONE."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.state = NOT_AUTHENTICATED
        self.enabled: set[str] = set()              # CONDSTORE QRESYNC IMAP4REV2 UTF8=ACCEPT UIDONLY
        self.tag, self.command = b"*", ""           # of the command under way
        self.idle = False                           # between idling() and DONE
        self.want_deflate = False
        self._intake = Intake(self.inbox)
        self._memory = options.memory(self.enabled)
        self._text, self._literals, self._octets = b"", [], 0       # of a command that goes on behind a literal
        self._eights: list[bool] = []
        self._event: object = None                  # what waits for its answer
        self._verdict: bytes | None = None          # the answer to a refused command whose literals are still coming
        self._append: Appending | None = None
        self._steps: deque = deque()                # of an APPEND, not handed out yet
        self._pending: Literal | None = None        # of an APPEND, for the last of its steps
        self._eight = False                         # the literal being streamed may hold NUL
        self._mechanism: str | None = None          # of the exchange that is under way
        self._errors = 0
        self._leaving = False

    @abstractmethod
    def leave(self) -> None:
        """End the session when no command is under way."""

    @abstractmethod
    def _response(self, line: Line) -> c.Command | None:
        """A line of a SASL exchange."""

    @abstractmethod
    def _done(self, line: Line) -> c.Command | None:
        """A line of a client that idles."""

    @abstractmethod
    def _checked(self, event: c.Command) -> c.Command | None:
        """What a command means for the engine itself; raises BadSyntax."""

    @abstractmethod
    def _passwords_allowed(self) -> None:
        """Raises Refused when they are not."""

    # -- pieces ------------------------------------------------------------------------------------------------------

    def next_event(self) -> c.Command | None:
        """Answer commands until one needs a decision."""
        while not (self.busy or self.closing or self.want_tls or self.want_deflate):
            if self._leaving and not self.idle and self._append is None:
                return self.leave()
            if self._steps:
                event = self._steps.popleft()
            elif not self.inbox and not self._intake.due or (event := self._read()) is None:
                return None
            if event is not True:
                self._event = event
                kind = type(event)
                self.busy = kind not in _UNANSWERED and not (kind is c.IdleDone and not event.done)
                return event
        return None

    def _read(self) -> c.Command | bool | None:
        """Take one piece; True when it needed no decision, None when it has not arrived."""
        before = self.state == NOT_AUTHENTICATED
        limits = self.options.limits
        piece = self._intake.next(limits.line_before_login if before else limits.line)
        if piece is None:
            self._watch(before)
            return None
        if not before:
            self.arm(self.options.idle)             # before the login, time counts from the connection on
        if type(piece) is bytes:
            return (self._repeated(piece) if self._between() and not self.idle else self._line(Line(piece))) or True
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

    def _repeated(self, line: bytes) -> c.Command | None:
        """A whole command: one that was read before, if it may be said now, needs no reading."""
        tag, _, text = line.partition(b" ")
        known = self._memory.recall(text)
        if known is None or not known[1] & self.state or not _BARE_TAG.fullmatch(tag):
            return self._command(Line(line))
        self.tag, self.command, event = tag, known[0], known[2]
        try:
            return self._checked(event)
        except BadSyntax as error:
            return self._refuse(error, None)

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
                if not rule.states & NOT_AUTHENTICATED:
                    self._memory.keep(line.text[len(match[1]) + 1:], (name, rule.states, event))
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

    # -- the end -----------------------------------------------------------------------------------------------------

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


def _name(match: re.Match[bytes]) -> str:
    return ("UID " if match[2] else "") + match[3].decode().upper()
