"""Search keys read into a tree, with RETURN options, charsets and sort criteria (RFC 9051 6.4.4, RFC 5256 3).

Called by grammar.py. Depth and number of keys are bounded; strings become text here, so nobody behind knows of charsets. One pass,
never back.
"""

from __future__ import annotations

import re
from typing import Callable

from fancymail.mail.charset import codec
from fancymail.mail.imap import search as s
from fancymail.mail.imap.sequence import SequenceSet
from fancymail.mail.mailbox import SYSTEM_FLAGS
from fancymail.mail.uidset import LARGEST

from .cursor import LARGEST_63, LITERAL_MARK, BadSyntax, Cursor, Refused

LONGEST_TEXT = 8192                 # octets of one string: longer needles only burn time

_KEY = re.compile(rb"[A-Za-z][A-Za-z0-9.]*+")
_SEQUENCE_START = frozenset(b"0123456789*$")
_PARTIAL = re.compile(rb"(-?)([1-9][0-9]{0,9}):(-?)([1-9][0-9]{0,9})")
_SAFE = re.compile(rb"[\x20-\x7e]*+")
_OBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_ASCII_INSIDE = ("", "utf-8", "us-ascii")         # octets below 128 are ASCII in these, at least
RETURNS = frozenset(("MIN", "MAX", "ALL", "COUNT", "SAVE", "UPDATE", "CONTEXT", "RELEVANCY"))
CRITERIA = frozenset(("ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO", "RELEVANCY"))


class Searcher:
    """Reads the keys of one command from its cursor. `numbers`: message numbers mean something. `charset`: the codec of its strings."""

    def __init__(self, cursor: Cursor, numbers: bool = True) -> None:
        self.cursor, self.numbers, self.charset = cursor, numbers, ""

    def program(self) -> s.Key:
        """All keys up to the end of the command, which must all match."""
        keys = [self.key()]
        while not self._ended():
            self.cursor.space()
            keys.append(self.key())
        return keys[0] if len(keys) == 1 else s.And(tuple(keys))

    def _ended(self) -> bool:
        rest = self.cursor
        return rest.at >= len(rest.text) or not rest.text[rest.at:rest.at + 2].strip(b" ")

    def use(self, charset: bytes) -> str:
        """From here on strings are in this charset; raises Refused with BADCHARSET (RFC 9051 6.4.4)."""
        name = charset.decode("ascii", "replace").lower()
        self.charset = codec(name) if charset.isascii() else ""
        if not self.charset:
            raise Refused("this charset is not known here", b"BADCHARSET (US-ASCII UTF-8)")
        return name.upper()

    def key(self) -> s.Key:
        """One key."""
        cursor = self.cursor
        cursor.keys += 1
        if cursor.keys > cursor.limits.keys:
            raise BadSyntax("too many search keys", b"LIMIT")
        if cursor.next_is(b"("):
            return self._nested(self._group)
        match = cursor.take(_KEY)
        if match is None:
            if cursor.text[cursor.at:cursor.at + 1] and cursor.text[cursor.at] in _SEQUENCE_START:
                return self._numbers()
            raise BadSyntax("a search key is missing")
        name = match[0].decode().upper()
        plain = _PLAIN.get(name)
        if plain is not None:
            return plain
        read = _READERS.get(name)
        if read is None or name in _NEEDS and not cursor.options.extension(_NEEDS[name]):
            raise BadSyntax("there is no such search key")
        return read(self, name)

    def _nested(self, read: Callable[[], s.Key]) -> s.Key:
        self.cursor.depth += 1
        if self.cursor.depth > self.cursor.limits.depth:
            raise BadSyntax("search keys are nested too deeply", b"LIMIT")
        key = read()
        self.cursor.depth -= 1
        return key

    def _group(self) -> s.Key:
        keys = self.cursor.listed(self.key, self.cursor.limits.keys)
        return keys[0] if len(keys) == 1 else s.And(tuple(keys))

    def _numbers(self) -> s.Key:
        sequence = self.cursor.sequence()
        if self.cursor.uidonly and not sequence.saved:
            raise BadSyntax("message numbers are off: only UIDs", b"UIDREQUIRED")       # RFC 9586 3.5
        if not self.numbers:                    # RFC 7377 2.1
            raise BadSyntax("message numbers mean nothing in several mailboxes")
        if sequence.saved and not self.cursor.options.extension("SEARCHRES"):
            raise BadSyntax("there is no such search key")
        return s.Numbers(sequence)

    # -- keys with arguments -----------------------------------------------------------------------------------------

    def text(self) -> str:
        """An astring as text."""
        cursor = self.cursor
        cursor.space()
        octets = cursor.astring()
        if len(octets) > LONGEST_TEXT:
            raise Refused("the string is too long to be searched for", b"LIMIT")
        if self.charset in _ASCII_INSIDE and _SAFE.fullmatch(octets):
            return octets.decode("ascii")
        try:
            return octets.decode(self.charset or "utf-8")       # RFC 9051 6.4.4: UTF-8 is what no CHARSET means
        except (UnicodeError, LookupError):
            raise Refused("the string is not in its charset", b"BADCHARSET (US-ASCII UTF-8)") from None

    def _text(self, name: str) -> s.Key:
        return s.Text(name.lower(), self.text())

    def _header(self, name: str) -> s.Key:
        self.cursor.space()
        field = self.cursor.astring()
        if not field or not field.isascii() or len(field) > 998:
            raise BadSyntax("this is no name of a header field")
        return s.Header(field.decode().lower().removesuffix(":"), self.text())

    def _keyword(self, name: str) -> s.Key:
        self.cursor.space()
        return s.Flag(self.cursor.astring().decode("ascii", "replace"), name == "KEYWORD")

    def _date(self, name: str) -> s.Key:
        self.cursor.space()
        day = self.cursor.date()
        kind = "sent" if name.startswith("SENT") else "saved" if name.startswith("SAVED") else "internal"
        return s.Dated(kind, name.removeprefix("SENT").removeprefix("SAVED").lower(), day)

    def _within(self, name: str) -> s.Key:
        self.cursor.space()
        return s.Within(name.lower(), self.cursor.number(least=1))      # RFC 5032 2

    def _size(self, name: str) -> s.Key:
        self.cursor.space()
        return s.Size(name.lower(), self.cursor.number(LARGEST_63))

    def _uid(self, name: str) -> s.Key:
        self.cursor.space()
        return s.Numbers(self.cursor.sequence(), True)

    def _beside(self, name: str) -> s.Key:
        """RFC 9738 3.2: UIDAFTER n is above n, UIDBEFORE n below; `*` is in neither."""
        self.cursor.space()
        uid = self.cursor.number(LARGEST, 1)
        first, last = (uid + 1, LARGEST) if name == "UIDAFTER" else (1, uid - 1)
        return s.Numbers(SequenceSet(((first, last),) if first <= last else ()), True)

    def _not(self, name: str) -> s.Key:
        self.cursor.space()
        return s.Not(self._nested(self.key))

    def _fuzzy(self, name: str) -> s.Key:
        self.cursor.space()
        return s.Fuzzy(self._nested(self.key))

    def _or(self, name: str) -> s.Key:
        self.cursor.space()
        left = self._nested(self.key)
        self.cursor.space()
        return s.Or(left, self._nested(self.key))

    def _modseq(self, name: str) -> s.Key:
        """RFC 7162 3.1.5: MODSEQ ["/flags/\\\\Seen" all] 620162338."""
        self.cursor.space()
        entry = ""
        if self.cursor.next_is(b'"') or self.cursor.next_is(LITERAL_MARK):
            entry = self.cursor.text_of(self.cursor.string())
            self.cursor.space()
            if self.cursor.word() not in ("ALL", "PRIV", "SHARED"):
                raise BadSyntax("priv, shared or all is missing")
            self.cursor.space()
        return s.Modseq(self.cursor.number(LARGEST_63), entry)

    def _object_id(self, name: str) -> s.Key:
        self.cursor.space()
        text = self.cursor.text_of(self.cursor.astring())
        if not _OBJECT_ID.fullmatch(text):                      # RFC 8474 4
            raise BadSyntax("this is no object id")
        return s.ObjectId(name.removesuffix("ID").lower(), text)


_PLAIN: dict[str, s.Key] = {"ALL": s.All(), "RECENT": s.Recent(), "OLD": s.Recent(False), "SAVEDATESUPPORTED": s.SaveDateSupported(),
                            "NEW": s.And((s.Recent(), s.Flag("\\Seen", False)))}
for _flag in SYSTEM_FLAGS:
    _PLAIN[_flag[1:].upper()] = s.Flag(_flag)
    _PLAIN["UN" + _flag[1:].upper()] = s.Flag(_flag, False)
_NEEDS = {"MODSEQ": "CONDSTORE", "OLDER": "WITHIN", "YOUNGER": "WITHIN", "EMAILID": "OBJECTID", "THREADID": "OBJECTID", "FUZZY": "SEARCH=FUZZY",
          "SAVEDBEFORE": "SAVEDATE", "SAVEDON": "SAVEDATE", "SAVEDSINCE": "SAVEDATE", "UIDAFTER": "MESSAGELIMIT", "UIDBEFORE": "MESSAGELIMIT"}
_READERS: dict[str, Callable[[Searcher, str], s.Key]] = {
    **dict.fromkeys(("FROM", "TO", "CC", "BCC", "SUBJECT", "BODY", "TEXT"), Searcher._text),
    **dict.fromkeys(("BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE", "SAVEDBEFORE", "SAVEDON", "SAVEDSINCE"), Searcher._date),
    **dict.fromkeys(("KEYWORD", "UNKEYWORD"), Searcher._keyword), **dict.fromkeys(("LARGER", "SMALLER"), Searcher._size),
    **dict.fromkeys(("UIDAFTER", "UIDBEFORE"), Searcher._beside),
    **dict.fromkeys(("OLDER", "YOUNGER"), Searcher._within), **dict.fromkeys(("EMAILID", "THREADID"), Searcher._object_id),
    "HEADER": Searcher._header, "UID": Searcher._uid, "NOT": Searcher._not, "OR": Searcher._or, "FUZZY": Searcher._fuzzy,
    "MODSEQ": Searcher._modseq}


def read_returns(cursor: Cursor) -> s.Return | None:
    """RETURN (...) and the space behind it, if it is next."""
    if cursor.text[cursor.at:cursor.at + 8].upper() != b"RETURN (":
        return None
    cursor.at += 7
    found = cursor.listed(lambda: _return_option(cursor), cursor.limits.items, empty=True)
    cursor.space()
    options = frozenset(option for option in found if isinstance(option, str))
    partials = [option for option in found if not isinstance(option, str)]
    if len(partials) > 1 or partials and "ALL" in options:      # RFC 9394 3.1
        raise BadSyntax("PARTIAL stands alone, without ALL")
    if not found:
        return s.Return()
    return s.Return(options, partials[0] if partials else None)


def _return_option(cursor: Cursor) -> str | tuple[int, int]:
    word = cursor.word()
    if word == "PARTIAL":
        cursor.space()
        return read_partial(cursor)
    if word not in RETURNS:
        raise BadSyntax("there is no such return option")
    return word


def read_partial(cursor: Cursor) -> tuple[int, int]:
    """`1:100` or `-1:-100` (RFC 9394 4): both from the beginning or both from the end, the nearer one first."""
    match = cursor.take(_PARTIAL)
    if match is None or match[1] != match[3]:
        raise BadSyntax("a partial range is 1:100 or -1:-100")
    first, last = sorted((int(match[2]), int(match[4])))
    if last > 2**32 - 1:
        raise BadSyntax("a partial range ends at 4294967295")
    return (-first, -last) if match[1] else (first, last)


def read_criteria(cursor: Cursor) -> tuple[s.Criterion, ...]:
    """`(REVERSE DATE SUBJECT)` (RFC 5256 3)."""
    return tuple(cursor.listed(lambda: _criterion(cursor), len(CRITERIA) * 2))


def _criterion(cursor: Cursor) -> s.Criterion:
    word, reverse = cursor.word(), False
    if word == "REVERSE":
        cursor.space()
        word, reverse = cursor.word(), True
    if word not in CRITERIA:
        raise BadSyntax("there is no such sort key")
    return s.Criterion(word, reverse)


def asks_modseq(key: s.Key) -> bool:
    """Whether MODSEQ is anywhere in the tree: using it enables CONDSTORE (RFC 7162 3.1)."""
    waiting = [key]
    while waiting:
        key = waiting.pop()
        if isinstance(key, s.Modseq):
            return True
        if isinstance(key, s.And):
            waiting += key.keys
        elif isinstance(key, s.Or):
            waiting += (key.left, key.right)
        elif isinstance(key, (s.Not, s.Fuzzy)):
            waiting.append(key.key)
    return False
