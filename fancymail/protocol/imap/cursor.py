"""A reading place in one command: the lexical rules of IMAP (RFC 9051 9), each one compiled expression.

Made by server.py for the arguments of a command whose literals have arrived, and moved forward by the grammar modules. Literals stand in
the text as a mark that no line can contain, and are taken in their order. Whatever does not fit raises BadSyntax (a tagged BAD) or
Refused (a tagged NO); nothing else is ever raised for what a client sent.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Set
from datetime import date, datetime, timedelta, timezone
from typing import TypeVar

from fancymail.mail import utf7
from fancymail.mail.imap.sequence import SequenceSet, parse_sequence
from fancymail.mail.mailbox import SYSTEM_FLAGS, BadName, normal_name

from .options import Options

T = TypeVar("T")
LITERAL_MARK = b"{\n"                           # no line of a client contains LF
LITERAL8_MARK = b"~{\n"
LARGEST_32, LARGEST_63 = 2**32 - 1, 2**63 - 1

_ATOM = re.compile(rb"[^\x00-\x20(){%*\"\\\]\x7f-\xff]+")
_ASTRING = re.compile(rb"[^\x00-\x20(){%*\"\\\x7f-\xff]+")
_PATTERN = re.compile(rb"[^\x00-\x20(){\"\\\x7f-\xff]+")
_QUOTED = re.compile(rb'"((?:[^"\\\x00\r\n]|\\["\\])*+)"')
_ESCAPE = re.compile(rb'\\(["\\])')
_WORD = re.compile(rb"[A-Za-z][A-Za-z0-9.=\-]*+")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_SEQUENCE = re.compile(rb"[0-9:*,$]+")
_FLAGS = re.compile(rb"\(((?:\\?[^\x00-\x20(){%*\"\\\]\x7f-\xff]+(?: +\\?[^\x00-\x20(){%*\"\\\]\x7f-\xff]+)*+)?) *\)")
_FLAG = re.compile(rb"\\?[^\x00-\x20(){%*\"\\\]\x7f-\xff]+")
_SPACES = re.compile(rb" *+")
_DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1')
_DATE_TIME = re.compile(rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"')
_MONTHS = {name: number for number, name in enumerate(
    (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1)}
_SYSTEM = {name.lower().encode(): name for name in SYSTEM_FLAGS}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
LONGEST_KEYWORD = 255
LONGEST_MAILBOX = 4096                          # octets as sent; the name itself is shorter


class BadSyntax(Exception):
    """The command cannot be read, or breaks a rule: tagged BAD. `code` is without brackets."""

    def __init__(self, text: str, code: bytes = b"") -> None:
        super().__init__(text)
        self.text, self.code = text, code


class Refused(BadSyntax):
    """The command can be read but never be done: tagged NO."""


class Cursor:
    """`text` is read from `at` on; `enabled`: what ENABLE has switched on. `utf8`: names are UTF-8, not modified UTF-7."""

    __slots__ = ("text", "at", "literals", "options", "enabled", "limits", "utf8", "uidonly", "depth", "keys")

    def __init__(self, text: bytes, literals: list[bytes], options: Options, enabled: Set[str] = frozenset()) -> None:
        self.text, self.at, self.literals, self.options, self.enabled = text, 0, literals, options, enabled
        self.limits = options.limits
        self.utf8 = bool(enabled) and ("UTF8=ACCEPT" in enabled or "IMAP4REV2" in enabled)      # RFC 9051 5.1, RFC 6855 3
        self.uidonly = "UIDONLY" in enabled
        self.depth = self.keys = 0              # counted by search.py

    # -- places ------------------------------------------------------------------------------------------------------

    def take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Go behind what matches here."""
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match

    def skip(self, octets: bytes) -> bool:
        """Go behind these octets if they are next."""
        if self.text.startswith(octets, self.at):
            self.at += len(octets)
            return True
        return False

    def next_is(self, octets: bytes) -> bool:
        """Whether these octets are next."""
        return self.text.startswith(octets, self.at)

    def space(self) -> None:
        """One space; nothing else will do (RFC 9051 9, rule 1)."""
        if not self.text.startswith(b" ", self.at):
            raise BadSyntax("an argument is missing" if self.at >= len(self.text) else "a space is missing")
        self.at += 1

    def expect(self, octets: bytes) -> None:
        """These octets and no others."""
        if not self.skip(octets):
            raise BadSyntax(f"{octets.decode()} is missing")

    def end(self) -> None:
        """The end of the command; spaces before it, which some clients send, do no harm."""
        if _SPACES.match(self.text, self.at).end() != len(self.text):
            raise BadSyntax("more arguments than the command has")

    def listed(self, read: Callable[[], T], most: int, empty: bool = False) -> list[T]:
        """A list in parentheses, each item read by `read`."""
        self.expect(b"(")
        if self.skip(b")"):
            if not empty:
                raise BadSyntax("the list is empty")
            return []
        items = [read()]
        while not self.skip(b")"):
            self.space()
            items.append(read())
            if len(items) > most:
                raise BadSyntax("the list is too long")
        return items

    # -- strings -----------------------------------------------------------------------------------------------------

    def atom(self) -> bytes:
        """An atom."""
        match = self.take(_ATOM)
        if match is None:
            raise BadSyntax("an atom is missing")
        return match[0]

    def word(self) -> str:
        """A word of the grammar, in upper case."""
        match = self.take(_WORD)
        if match is None:
            raise BadSyntax("a word is missing")
        return match[0].decode().upper()

    def string(self) -> bytes:
        """A quoted string or a literal."""
        match = self.take(_QUOTED)
        if match is not None:
            return _ESCAPE.sub(rb"\1", match[1]) if b"\\" in match[1] else match[1]
        if self.skip(LITERAL_MARK):
            return self.literals.pop(0)
        raise BadSyntax("a string is missing, or it does not end")

    def astring(self) -> bytes:
        """An atom (with "]" allowed), a quoted string or a literal."""
        match = self.take(_ASTRING)
        return match[0] if match is not None else self.string()

    def nstring(self) -> bytes | None:
        """A string or NIL."""
        if self.text[self.at:self.at + 3].upper() == b"NIL":
            self.at += 3
            return None
        return self.string()

    def binary_nstring(self) -> bytes | None:
        """A string, NIL or a literal8 (RFC 9051 4.3)."""
        return self.literals.pop(0) if self.skip(LITERAL8_MARK) else self.nstring()

    def text_of(self, octets: bytes) -> str:
        """Octets that have to be UTF-8."""
        try:
            return octets.decode()
        except UnicodeDecodeError:
            raise BadSyntax("this is not UTF-8") from None

    # -- numbers and times -------------------------------------------------------------------------------------------

    def number(self, most: int = LARGEST_32, least: int = 0) -> int:
        """A number within these bounds."""
        match = self.take(_NUMBER)
        if match is None:
            raise BadSyntax("a number is missing")
        number = int(match[0])
        if not least <= number <= most:
            raise BadSyntax(f"a number here is {least} to {most}")
        return number

    def sequence(self) -> SequenceSet:
        """A sequence set."""
        match = self.take(_SEQUENCE)
        if match is None:
            raise BadSyntax("a set of messages is missing")
        try:
            return parse_sequence(match[0])
        except ValueError as error:
            raise BadSyntax(str(error)) from None

    def date(self) -> date:
        """`1-Feb-1994`, with quotes or without."""
        match = self.take(_DATE)
        if match is None:
            raise BadSyntax("a date is missing: 1-Feb-1994")
        try:
            return date(int(match[4]), _MONTHS[match[3].lower()], int(match[2]))
        except (ValueError, KeyError):
            raise BadSyntax("there is no such day") from None

    def date_time(self) -> int:
        """`"17-Jul-1996 02:44:25 -0700"` as seconds since the epoch."""
        match = self.take(_DATE_TIME)
        if match is None:
            raise BadSyntax('a date is missing: "17-Jul-1996 02:44:25 -0700"')
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
        east = int(zone_hours) * 60 + int(zone_minutes)
        try:
            moment = datetime(int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), min(int(second), 59),
                              tzinfo=timezone.utc)
            if int(second) > 60 or int(zone_minutes) > 59:
                raise ValueError
            moment -= timedelta(minutes=-east if sign == b"-" else east)
        except (ValueError, KeyError, OverflowError):
            raise BadSyntax("there is no such time") from None
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
        if not 0 <= seconds <= LARGEST_32 * 2:
            raise BadSyntax("a message has not come at such a time")
        return seconds

    # -- names and flags ---------------------------------------------------------------------------------------------

    def mailbox(self, new: bool = False) -> str:
        """The normal name of a mailbox; `new`: it may end in the delimiter (RFC 9051 6.3.4)."""
        name = self.name(self.astring())
        if new and len(name) > 1:
            name = name.removesuffix("/")
        try:
            return normal_name(name)
        except BadName as error:
            raise Refused(str(error), b"CANNOT" if new else b"NONEXISTENT") from None

    def mailbox_or_server(self) -> str:
        """A mailbox, or "" for the server itself (RFC 5464 4.2)."""
        return "" if self.skip(b'""') else self.mailbox()

    def name(self, octets: bytes) -> str:
        """A name or a pattern decoded, not looked at otherwise."""
        if len(octets) > LONGEST_MAILBOX:
            raise Refused("the name is too long", b"LIMIT")
        try:
            return unicodedata.normalize("NFC", octets.decode() if self.utf8 else utf7.decode(octets))
        except ValueError:
            raise Refused("a mailbox name is in UTF-8 here" if self.utf8 else "a mailbox name is in modified UTF-7 here",
                          b"CANNOT") from None

    def pattern(self) -> str:
        """What LIST matches with: a mailbox name with % and *."""
        match = self.take(_PATTERN)
        return self.name(match[0] if match is not None else self.string())

    def flags(self) -> tuple[str, ...]:
        """`(\\Seen work)`."""
        match = self.take(_FLAGS)
        if match is None:
            raise BadSyntax("a list of flags is missing")
        return read_flags(match[1])

    def flags_loose(self) -> tuple[str, ...]:
        """The same without parentheses, which STORE allows."""
        if self.next_is(b"("):
            return self.flags()
        start = self.at
        while self.take(_FLAG) and self.text[self.at:self.at + 1] == b" ":
            self.at += 1
        if start == self.at:
            raise BadSyntax("a flag is missing")
        return read_flags(self.text[start:self.at])


def read_flags(text: bytes) -> tuple[str, ...]:
    """Flags between spaces, none twice: system flags as they are spelled, keywords as they came."""
    found = {}
    for word in text.split():
        folded = word.lower()
        if word[:1] != b"\\":
            if len(word) > LONGEST_KEYWORD:
                raise Refused("the keyword is too long", b"LIMIT")
            found.setdefault(folded, word.decode())
        elif folded in _SYSTEM:
            found[folded] = _SYSTEM[folded]
        else:                                   # RFC 9051 2.3.2: \Recent cannot be changed; others are not defined
            raise BadSyntax("there is no such system flag")
    return tuple(found.values())
