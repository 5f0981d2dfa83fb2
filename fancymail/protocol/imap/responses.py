"""Untagged responses and response codes as octets, each response with its CRLF, each code without its brackets.

Called by servers/imap and by the engine; what a view or a search says (EXISTS, FETCH, ESEARCH) core/imap renders on the same strings. Names and
texts are made safe here: whatever a mailbox or a keyword is called, it stays inside of its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from fancymail.mail.imap.strings import astring, mailbox_name, nstring, quoted, string
from fancymail.mail.uidset import Ranges, ranges
from fancymail.mail.kept import kept
from fancymail.mail.uidset import text as set_text

MOST_TOLD = 1_000                   # UIDs in a code that only informs

_UNSAYABLE = re.compile(rb"[^\x20-\x7e]")


# -- status responses ------------------------------------------------------------------------------------------------

def line(tag: bytes, word: bytes, text: bytes | str, code: bytes = b"") -> bytes:
    """One status response: `tag OK [code] text`; what cannot stand in a text becomes "?"."""
    return b"%b %b %b%b\r\n" % (tag, word, b"[%b] " % code if code else b"", _sayable(text))


@kept(64 << 10)
def _sayable(text: bytes | str) -> bytes:
    octets = text.encode("ascii", "replace") if isinstance(text, str) else text
    return _UNSAYABLE.sub(b"?", octets[:1000]) or b"done"


def ok(text: bytes | str, code: bytes = b"") -> bytes:
    """`* OK`: a notice."""
    return line(b"*", b"OK", text, code)


def no(text: bytes | str, code: bytes = b"") -> bytes:
    """`* NO`: a warning."""
    return line(b"*", b"NO", text, code)


def bye(text: bytes | str, code: bytes = b"") -> bytes:
    """`* BYE`: the end."""
    return line(b"*", b"BYE", text, code)


# -- codes -----------------------------------------------------------------------------------------------------------

def appenduid(uidvalidity: int, uids: Ranges) -> bytes:
    """RFC 4315 3."""
    return b"APPENDUID %d %b" % (uidvalidity, set_text(uids).encode())


def copyuid(uidvalidity: int, source: Ranges, target: Ranges) -> bytes:
    """RFC 4315 3: the sets in the order of the messages, of equal size."""
    return b"COPYUID %d %b %b" % (uidvalidity, set_text(source).encode(), set_text(target).encode())


def modified(numbers: Ranges) -> bytes:
    """RFC 7162 3.1.3: those that STORE left alone, UIDs for UID STORE."""
    return b"MODIFIED " + set_text(numbers).encode()


def highestmodseq(modseq: int) -> bytes:
    """RFC 7162 3.1.2."""
    return b"HIGHESTMODSEQ %d" % modseq


def messagelimit(limit: int, lowest: int = 0) -> bytes:
    """RFC 9738 3.1: more messages were named; `lowest`: the lowest UID of those that were worked on."""
    return b"MESSAGELIMIT %d %d" % (limit, lowest) if lowest else b"MESSAGELIMIT %d" % limit


def downgraded(uids: Iterable[int]) -> bytes:
    """RFC 6858 3: of these messages a surrogate was shown; of no more of them than people would read."""
    return b"DOWNGRADED " + set_text(ranges(sorted(uids)[:MOST_TOLD])).encode()


def mailboxid(objectid: str) -> bytes:
    """RFC 8474 4.1."""
    return b"MAILBOXID (%b)" % objectid.encode()


def inprogress(tag: bytes) -> bytes:
    """RFC 9585 3, as an untagged OK by itself; how far it is nobody can tell."""
    return ok("still at it", b"INPROGRESS (%b NIL NIL)" % quoted(tag))


# -- mailboxes -------------------------------------------------------------------------------------------------------

def list_(attributes: tuple[str, ...], name: str, utf8: bool = False, delimiter: str = "/", childinfo: Sequence[str] = (),
          old_name: str = "") -> bytes:
    """`* LIST (\\HasChildren) "/" name`, with CHILDINFO (RFC 9051 7.3.1) and OLDNAME (RFC 9051 6.3.5)."""
    more = _extended(childinfo, old_name, utf8) if childinfo or old_name else b""
    return _listing(b"LIST", attributes, name, utf8, delimiter) + more + b"\r\n"


def lsub(attributes: tuple[str, ...], name: str, utf8: bool = False, delimiter: str = "/") -> bytes:
    """`* LSUB`."""
    return _listing(b"LSUB", attributes, name, utf8, delimiter) + b"\r\n"


def _listing(word: bytes, attributes: tuple[str, ...], name: str, utf8: bool, delimiter: str) -> bytes:
    said = mailbox_name(name, utf8) if name else b'""'
    return b'* %b (%b) "%b" %b' % (word, _words(attributes), delimiter.encode(), said)


@kept(64 << 10)
def _words(attributes: tuple[str, ...]) -> bytes:
    return " ".join(attributes).encode()


def _extended(childinfo: Sequence[str], old_name: str, utf8: bool) -> bytes:
    items = []
    if childinfo:
        items.append(b'"CHILDINFO" (%b)' % b" ".join(quoted(option.encode()) for option in childinfo))
    if old_name:
        items.append(b'"OLDNAME" (%b)' % mailbox_name(old_name, utf8))
    return b" (" + b" ".join(items) + b")"


def status(name: str, items: Iterable[tuple[str, int | str | None]], utf8: bool = False) -> bytes:
    """`* STATUS name (MESSAGES 3 MAILBOXID (x))`: numbers as they are, None as NIL, an object id in parentheses."""
    told = " ".join([f"{item} {value}" if type(value) is int else f"{item} {_status_value(value)}" for item, value in items])
    return b"* STATUS %b (%b)\r\n" % (mailbox_name(name, utf8), told.encode())


def status_template(items: Iterable[str]) -> bytes:
    """What `status` says where all values are numbers, to be formatted: the name as it is said, then these."""
    return b"* STATUS %%b (%b)\r\n" % b" ".join([b"%b %%d" % item.encode() for item in items])


def _status_value(value: int | str | None) -> str:
    return "NIL" if value is None else f"({value})"


def namespace(personal: Sequence[tuple[str, str]], others: Sequence[tuple[str, str]] = (), shared: Sequence[tuple[str, str]] = (),
              utf8: bool = False) -> bytes:
    """Each namespace is (prefix, delimiter) pairs (RFC 2342)."""
    def said(spaces: Sequence[tuple[str, str]]) -> bytes:
        if not spaces:
            return b"NIL"
        pairs = (b"(%b %b)" % (_prefix(prefix, utf8), quoted(delimiter.encode())) for prefix, delimiter in spaces)
        return b"(" + b"".join(pairs) + b")"
    return b"* NAMESPACE %b %b %b\r\n" % (said(personal), said(others), said(shared))


def _prefix(prefix: str, utf8: bool) -> bytes:
    name = mailbox_name(prefix, utf8) if prefix else b'""'
    return name if name[:1] in b'"{' else quoted(name)


# -- what is set and known -------------------------------------------------------------------------------------------

def capability(words: bytes) -> bytes:
    """`* CAPABILITY`."""
    return b"* CAPABILITY %b\r\n" % words


def enabled(names: Iterable[str]) -> bytes:
    """`* ENABLED` (RFC 5161 3.2)."""
    return " ".join(["* ENABLED", *names]).encode() + b"\r\n"


def id_(fields: Mapping[str, str | None] | None) -> bytes:
    """`* ID` (RFC 2971 3.2)."""
    if not fields:
        return b"* ID NIL\r\n"
    words = (string(key.encode()) + b" " + nstring(None if value is None else value.encode()) for key, value in fields.items())
    return b"* ID (%b)\r\n" % b" ".join(words)


def quota(root: str, resources: Iterable[tuple[str, int, int]]) -> bytes:
    """`* QUOTA root (STORAGE used limit)`: STORAGE in units of 1024 octets (RFC 9208 4.2.1)."""
    told = " ".join(f"{name} {used} {limit}" for name, used, limit in resources)
    return b"* QUOTA %b (%b)\r\n" % (_root(root), told.encode())


def quotaroot(mailbox: str, roots: Iterable[str], utf8: bool = False) -> bytes:
    """`* QUOTAROOT mailbox root...`."""
    return b" ".join([b"* QUOTAROOT", mailbox_name(mailbox, utf8), *map(_root, roots)]) + b"\r\n"


def _root(root: str) -> bytes:
    return astring(root.encode()) if root else b'""'


def metadata(mailbox: str, entries: Sequence[tuple[str, bytes | None]], utf8: bool = False) -> bytes:
    """`* METADATA mailbox (entry value)` (RFC 5464 4.4.1); a value with NUL goes as a literal8."""
    said = b" ".join(astring(entry.encode()) + b" " + _value(value) for entry, value in entries)
    return b"* METADATA %b (%b)\r\n" % (mailbox_name(mailbox, utf8) if mailbox else b'""', said)


def metadata_changed(mailbox: str, entries: Sequence[str], utf8: bool = False) -> bytes:
    """`* METADATA mailbox entry...`: without values (RFC 5464 4.4.2)."""
    said = b" ".join(astring(entry.encode()) for entry in entries)
    return b"* METADATA %b %b\r\n" % (mailbox_name(mailbox, utf8) if mailbox else b'""', said)


def _value(value: bytes | None) -> bytes:
    if value is not None and b"\0" in value:
        return b"~{%d}\r\n%b" % (len(value), value)
    return nstring(value)


def acl(mailbox: str, rights: Iterable[tuple[str, str]], utf8: bool = False) -> bytes:
    """`* ACL mailbox identifier rights...` (RFC 4314 3.6)."""
    words = [b"* ACL", mailbox_name(mailbox, utf8)]
    for identifier, letters in rights:
        words += (astring(identifier.encode(), utf8), _rights(letters))
    return b" ".join(words) + b"\r\n"


def listrights(mailbox: str, identifier: str, required: str, optional: Iterable[str], utf8: bool = False) -> bytes:
    """`* LISTRIGHTS` (RFC 4314 3.7)."""
    words = [mailbox_name(mailbox, utf8), astring(identifier.encode(), utf8), _rights(required), *map(_rights, optional)]
    return b"* LISTRIGHTS " + b" ".join(words) + b"\r\n"


def myrights(mailbox: str, rights: str, utf8: bool = False) -> bytes:
    """`* MYRIGHTS` (RFC 4314 3.8)."""
    return b"* MYRIGHTS %b %b\r\n" % (mailbox_name(mailbox, utf8), _rights(rights))


def _rights(letters: str) -> bytes:
    return letters.encode() if letters else b'""'
