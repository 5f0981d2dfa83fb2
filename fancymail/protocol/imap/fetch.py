"""FETCH's items, read once: lists that clients repeat come from a memory keyed by their octets (RFC 9051 6.4.5).

Called by grammar.py, and for the MessageNew of NOTIFY. The same list always gives the same tuple object.
"""

from __future__ import annotations

import re

from fancymail.mail.imap import fetch as f
from fancymail.mail.imap.strings import astring
from fancymail.mail.kept import Kept, kept

from .cursor import LARGEST_63, BadSyntax, Cursor
from .options import Options

MOST_PARTS = 100                    # numbers in a section; mail.mime gives up before
MOST_FIELDS = 256
LONGEST_LIST = 1024                 # octets of a list that are worth remembering

_MEMORY = Kept(1 << 20)

_BODY = re.compile(rb"(BODY|BINARY)(\.PEEK|\.SIZE)?\[", re.IGNORECASE)
_PART = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*+")
_WHAT = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)
_PARTIAL = re.compile(rb"<([0-9]{1,19})\.([1-9][0-9]{0,18})>")
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.]*+")
_FIELD = re.compile(rb"[!-9;-~]+")
_LAZY = re.compile(rb" \(LAZY\)", re.IGNORECASE)
# A list without strings: every word, section and partial of it, so that its end is known before it is read.
SIMPLE_LIST = re.compile(rb"\((?:[A-Za-z0-9. <>]|\[[A-Za-z0-9. \-_]*+(?:\([A-Za-z0-9 \-_]*+\))?\]|\(LAZY\))*+\)"
                         rb"|[A-Za-z0-9.]+(?![\[.<A-Za-z0-9]| \(LAZY)"
                         rb"|[A-Za-z0-9.]+\[[A-Za-z0-9. \-_]*+(?:\([A-Za-z0-9 \-_]*+\))?\](?:<[0-9.]+>)?", re.IGNORECASE)
_MACROS = {"ALL": (f.FLAGS, f.INTERNALDATE, f.SIZE, f.ENVELOPE), "FAST": (f.FLAGS, f.INTERNALDATE, f.SIZE),
           "FULL": (f.FLAGS, f.INTERNALDATE, f.SIZE, f.ENVELOPE, f.BODY)}
# RFC 3501 6.4.5: the three old names are sections under their own label.
_OLD = {"RFC822": f.Section(b"RFC822"), "RFC822.HEADER": f.Section(b"RFC822.HEADER", what=f.HEADER, peek=True),
        "RFC822.TEXT": f.Section(b"RFC822.TEXT", what=f.TEXT)}


def read_items(cursor: Cursor) -> f.Items:
    """A macro, an item or a list of items; raises BadSyntax."""
    match = SIMPLE_LIST.match(cursor.text, cursor.at)
    if match is not None and match.end() - match.start() <= LONGEST_LIST:
        cursor.at = match.end()
        return _MEMORY.get(match[0]) or _remember(match[0], cursor.options)
    return _read_items(cursor)


def _remember(text: bytes, options: Options) -> f.Items:
    cursor = Cursor(text, [], options)
    items = _read_items(cursor)
    cursor.end()
    _MEMORY.put(text, items)
    return items


@kept(1 << 20)
def _same(items: f.Items) -> f.Items:
    """One object for equal lists, however they were spelled."""
    return items


def _read_items(cursor: Cursor) -> f.Items:
    if cursor.next_is(b"("):
        items = cursor.listed(lambda: _item(cursor), cursor.limits.items)
    else:
        match = _NAME.match(cursor.text, cursor.at)
        macro = _MACROS.get(match[0].decode().upper()) if match else None
        if macro:
            cursor.at = match.end()
            return macro
        items = [_item(cursor)]
    return _same(tuple(dict.fromkeys(items)))


def _item(cursor: Cursor) -> f.Item:
    match = cursor.take(_BODY)
    if match is not None:
        return _section(cursor, match[1].upper(), (match[2] or b"").upper())
    match = cursor.take(_NAME)
    name = match[0].decode().upper() if match else ""
    if name == f.PREVIEW:
        return f.PREVIEW_LAZY if cursor.take(_LAZY) else f.PREVIEW       # RFC 8970 3.1
    if name in f.ATTRIBUTES:
        return name
    if name in _OLD:
        return _OLD[name]
    raise BadSyntax("there is no such item to fetch")


def _section(cursor: Cursor, word: bytes, suffix: bytes) -> f.Item:
    """Behind "BODY[", "BINARY.PEEK[" ..."""
    if word == b"BODY" and suffix == b".SIZE":
        raise BadSyntax("there is no such item to fetch")
    match = cursor.take(_PART)
    part = tuple(map(int, match[0].split(b"."))) if match else ()
    if len(part) > MOST_PARTS:
        raise BadSyntax("the section is too deep")
    what, fields, said = _what(cursor, part) if word == b"BODY" else (f.WHOLE, (), b"")
    cursor.expect(b"]")
    label = word + (suffix if suffix == b".SIZE" else b"") + b"[" + (match[0] if match else b"")
    label += (b"." if part and said else b"") + said + b"]"
    if suffix == b".SIZE":
        return f.Binary(label, part, True, None, True)
    partial = _partial(cursor)
    if partial is not None:
        label += b"<%d>" % partial[0]           # RFC 9051 7.5.2: only the offset is said back
    if word == b"BINARY":
        return f.Binary(label, part, bool(suffix), partial)
    return f.Section(label, part, what, fields, bool(suffix), partial)


def _what(cursor: Cursor, part: tuple[int, ...]) -> tuple[str, tuple[bytes, ...], bytes]:
    """Return (what, fields, how it is said back)."""
    if part and not cursor.skip(b"."):
        return f.WHOLE, (), b""
    match = cursor.take(_WHAT)
    if match is None:
        if part:
            raise BadSyntax("the section cannot be read")
        return f.WHOLE, (), b""
    what = match[0].decode().upper()
    if what == f.MIME and not part:             # RFC 9051 6.4.5: MIME belongs to a part
        raise BadSyntax("MIME has a part number before it")
    if what not in (f.HEADER_FIELDS, f.HEADER_FIELDS_NOT):
        return what, (), what.encode()
    cursor.space()
    names = cursor.listed(lambda: _field(cursor), MOST_FIELDS)
    return what, tuple(dict.fromkeys(name.lower() for name in names)), b"%b (%b)" % (what.encode(), b" ".join(map(astring, names)))


def _field(cursor: Cursor) -> bytes:
    name = cursor.astring()
    if not _FIELD.fullmatch(name) or len(name) > 998:
        raise BadSyntax("this is no name of a header field")
    return name


def _partial(cursor: Cursor) -> tuple[int, int] | None:
    if not cursor.next_is(b"<"):
        return None
    match = cursor.take(_PARTIAL)
    if match is None or int(match[1]) > LARGEST_63 or int(match[2]) > LARGEST_63:
        raise BadSyntax("a partial is <offset.octets>")
    return int(match[1]), int(match[2])
