"""APPEND and REPLACE, read piece by piece as they arrive (RFC 9051 6.3.12, 3502, 4469, 6855, 8508).

Used by server.py: one Appending per command. Fed with a line and told of the literal behind it, it gives the events that follow from
them; the literal belongs to the last one. It holds no content and no decision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import commands as c
from .cursor import BadSyntax, Cursor, Refused
from .intake import Literal
from .options import Options
from .urls import read_url

PENDING = b"}\n"                    # stands for the literal that was announced and has not come; no line contains LF

_HEAD, _NEXT, _PART, _WRAPPED = "head", "next", "part", "wrapped"      # what the next line is the continuation of
LONGEST_URL = 4096

Reader = Callable[[], Any] | None


class NeedString(Exception):
    """The announced literal is a mailbox or a URL: feed the same text again once it is there."""


class Appending:
    """The state of one command; `messages` were begun."""

    def __init__(self, name: str, options: Options, enabled: set[str]) -> None:
        self.name, self.options, self.enabled = name, options, enabled
        self.mailbox = ""
        self.messages = 0
        self.replaces = 0
        self._place = _HEAD
        self._cursor: Cursor
        self._pending: Literal | None = None
        self._steps: list = []

    def feed(self, text: bytes, literals: list[bytes], pending: Literal | None) -> list:
        """Return the events of one line; raises BadSyntax, Refused, NeedString (and then nothing has changed)."""
        self._cursor = Cursor(text + PENDING if pending else text, list(literals), self.options, self.enabled)
        self._pending, self._steps = pending, []
        before = self._place, self.messages, self.mailbox, self.replaces
        try:
            self._read()
        except NeedString:
            self._place, self.messages, self.mailbox, self.replaces = before
            raise
        return self._steps

    def _read(self) -> None:
        """Each reader gives the one that goes on; so however many parts a line has, nothing nests."""
        read = {_HEAD: self._head, _PART: self._after_part, _WRAPPED: self._unwrap, _NEXT: self._after_message}[self._place]
        while read is not None:
            read = read()

    def _add(self, step) -> None:
        self._steps.append(step)
        if len(self._steps) > self.options.limits.items:
            raise BadSyntax("too many parts in one line")

    def _head(self) -> Reader:
        cursor = self._cursor
        if self.name != "APPEND":
            if cursor.uidonly and self.name == "REPLACE":
                raise BadSyntax("message numbers are off: only UIDs", b"UIDREQUIRED")
            last = self.name == "REPLACE" and cursor.skip(b"*")         # RFC 8508 4: a seq-number, but one UID
            self.replaces = c.LAST if last else cursor.sequence().single
            if not self.replaces:
                raise BadSyntax("REPLACE replaces one message")     # RFC 8508 3.1
            cursor.space()
        self._string_must_be_here()
        self.mailbox = cursor.mailbox()
        cursor.space()
        return self._message

    def _string_must_be_here(self) -> None:
        if self._cursor.next_is(PENDING):
            raise NeedString

    def _unwrap(self) -> Reader:
        self._cursor.expect(b")")
        return self._after_message

    def _after_message(self) -> Reader:
        cursor = self._cursor
        if not cursor.text[cursor.at:].strip(b" "):
            self._add(c.AppendEnd(self.mailbox, self.messages))
            return None
        if self.replaces or not self.options.extension("MULTIAPPEND"):
            raise BadSyntax("one message only")
        self._one_more()
        cursor.space()
        return self._message

    def _one_more(self) -> None:
        """Another message may come. RFC 9738 3.1: APPEND keeps all of its messages or none, so what is too many is refused."""
        limit = self.options.message_limit or self.options.save_limit
        if limit and self.messages >= limit:
            raise Refused(f"one command brings at most {limit} messages", b"MESSAGELIMIT %d" % limit)
        if self.messages >= self.options.limits.messages:
            raise Refused("too many messages at once", b"LIMIT")

    def _message(self) -> Reader:
        """`[flags] [date] literal`, or UTF8 (literal8), or CATENATE (parts)."""
        cursor, flags, date = self._cursor, (), None
        if cursor.next_is(b"("):
            flags = cursor.flags()
            cursor.space()
        if cursor.next_is(b'"'):
            date = cursor.date_time()
            cursor.space()
        number, self.messages = self.messages, self.messages + 1
        word = cursor.text[cursor.at:cursor.at + 10].upper()
        if cursor.next_is(PENDING):
            self._check(self._pending)
            self._place = _NEXT
            self._begin(number, flags, date, self._pending.size, binary=self._pending.eight)
        elif word.startswith(b"UTF8 (") and self.options.extension("UTF8=ACCEPT"):
            self._utf8(number, flags, date)
        elif word == b"CATENATE (" and self.options.extension("CATENATE"):
            cursor.at += 10
            self._begin(number, flags, date, 0, catenate=True)
            return self._part
        else:
            raise BadSyntax("the literal of the message is missing")
        return None

    def _begin(self, number: int, flags: tuple[str, ...], date: int | None, size: int, **kind: bool) -> None:
        self._add(c.AppendMessage(self.mailbox, number, size, flags, date, replaces=self.replaces,
                                  uid=self.name == "UID REPLACE", **kind))

    def _utf8(self, number: int, flags: tuple[str, ...], date: int | None) -> None:
        """RFC 6855 4: UTF8 (~{n}...)."""
        cursor = self._cursor
        cursor.at += 6
        if "UTF8=ACCEPT" not in self.enabled:
            raise BadSyntax("UTF8 is not said before ENABLE UTF8=ACCEPT")
        if not cursor.next_is(PENDING) or not self._pending.eight:
            raise BadSyntax("a literal8 is missing")
        self._check(self._pending)
        self._place = _WRAPPED
        self._begin(number, flags, date, self._pending.size, utf8=True)

    def _check(self, literal: Literal) -> None:
        if literal.eight and not self.options.extension("BINARY", "UTF8=ACCEPT"):
            raise BadSyntax("literal8 is not known here")
        if literal.size == 0:                   # RFC 3502 6.3.11: an empty message calls the whole command off
            raise Refused("an empty message is not kept")
        self._check_size(literal)

    def _check_size(self, literal: Literal) -> None:
        if literal.size > self.options.limits.append:       # RFC 7889 4
            raise Refused(f"a message has at most {self.options.limits.append} octets", b"TOOBIG")

    # -- CATENATE (RFC 4469 3) ---------------------------------------------------------------------------------------

    def _part(self) -> Reader:
        cursor = self._cursor
        word = cursor.word()
        cursor.space()
        if word == "TEXT":
            if not cursor.next_is(PENDING):
                raise BadSyntax("TEXT is followed by a literal")
            self._check_size(self._pending)
            self._place = _PART
            self._add(c.AppendText(self._pending.size))
            return None
        if word != "URL":
            raise BadSyntax("TEXT or URL is missing")
        self._string_must_be_here()
        url = cursor.astring()
        text = url.decode("ascii", "replace")
        if len(url) > LONGEST_URL or not text.isprintable():
            raise BadSyntax("this is no URL")
        try:
            self._add(c.AppendUrl(text, read_url(text, self.options)))
        except ValueError as error:             # RFC 4469 5
            raise Refused(f"this URL names nothing here: {error}", c.badurl(text)) from None
        return self._after_part

    def _after_part(self) -> Reader:
        if self._cursor.skip(b")"):
            self._place = _NEXT
            return self._after_message
        self._cursor.space()
        return self._part
