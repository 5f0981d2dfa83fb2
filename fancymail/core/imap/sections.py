"""Sections of a message: which octets BODY[1.2.MIME]<0.99> or BINARY[3] are, cut from tables that were made at delivery.

Called by fetch.py, which reads the octets. `locate` answers by arithmetic; header fields are picked out by one compiled expression per list of
names. Nothing here is parsed for its meaning and nothing reads storage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from fancymail.core.imap import parts
from fancymail.core.imap.precompute import LISTED
from fancymail.mail.headers import iterate
from fancymail.mail.imap.fetch import HEADER, HEADER_FIELDS, HEADER_FIELDS_NOT, MIME, TEXT, WHOLE, Binary, Item, Section

FEW = 1024                          # octets of names, up to which an expression looks for them

Span = tuple[int, int]              # offset in the message, octets


class UnknownEncoding(ValueError):
    """BINARY of a part whose encoding nobody knows: NO [UNKNOWN-CTE] (RFC 9051 6.4.5)."""


def locate(section: Section, table: bytes, header: int, size: int) -> Span | None:
    """Where a section is, for HEADER.FIELDS the whole header; None if the message has no such part. `partial` is not cut yet."""
    if not section.part:
        if section.what == WHOLE:
            return 0, size
        return (header, size - header) if section.what == TEXT else (0, header)
    part = parts.find(table, section.part)
    if part is None:
        return None
    if section.what == WHOLE:
        return part.body, part.end - part.body
    if section.what == MIME:
        return part.start, part.body - part.start
    part = parts.inside(table, part)
    if part is None:                # RFC 9051 6.4.5: HEADER and TEXT are for messages only
        return None
    return (part.body, part.end - part.body) if section.what == TEXT else (part.start, part.body - part.start)


def locate_binary(item: Binary, table: bytes, size: int) -> tuple[Span, str] | None:
    """Where the octets are that BINARY decodes, and how; raises UnknownEncoding."""
    if not item.part:
        return (0, size), ""
    part = parts.find(table, item.part)
    if part is None:
        return None
    if part.encoding == "unknown":
        raise UnknownEncoding("a content-transfer-encoding that is not known")
    return (part.body, part.end - part.body), part.encoding if part.kind == parts.LEAF else ""


def cut(span: Span, partial: tuple[int, int] | None) -> Span:
    """The part of a span that <offset.octets> asks for; empty beyond its end."""
    if partial is None:
        return span
    offset = min(partial[0], span[1])
    return span[0] + offset, min(partial[1], span[1] - offset)


def cut_octets(octets: bytes, partial: tuple[int, int] | None) -> bytes:
    """The part of octets that <offset.octets> asks for."""
    return octets if partial is None else octets[partial[0]:partial[0] + partial[1]]


def picks_fields(section: Section) -> bool:
    """Is it HEADER.FIELDS or HEADER.FIELDS.NOT?"""
    return section.what in (HEADER_FIELDS, HEADER_FIELDS_NOT)


def is_listed(item: Item) -> bool:
    """Can Derived.fields answer it?"""
    return isinstance(item, Section) and item.what == HEADER_FIELDS and not item.part and LISTED.issuperset(item.fields)


def is_header(section: Section) -> bool:
    """Is it the header of the whole message, or some of it?"""
    return not section.part and section.what in (HEADER, HEADER_FIELDS, HEADER_FIELDS_NOT)


def picker(fields: tuple[bytes, ...], inverted: bool = False) -> Callable[[bytes], bytes]:
    """Return a function that picks fields out of a header section, in their order, with the empty line behind (RFC 9051 6.4.5)."""
    if inverted or sum(map(len, fields)) > FEW:
        names = frozenset(fields)
        return lambda header: b"".join(_chosen(header, names, inverted)) + b"\r\n"
    return _finder(fields)


@lru_cache(512)
def _finder(fields: tuple[bytes, ...]) -> Callable[[bytes], bytes]:
    """The same of a few fields, by an expression: a dozen octets for each octet of a name."""
    words = b"|".join(re.escape(name) for name in fields)
    # A literal line feed at its beginning is what the expression's engine can search for by itself, at half the cost of ^.
    find = re.compile(rb"\n((?:%b)[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+)" % words, re.IGNORECASE).findall

    def pick(header: bytes) -> bytes:
        found = find(b"\n" + header)
        if found and found[-1][-1:] != b"\r" and header.endswith(found[-1]):       # cut off in the middle of a line
            found[-1] += b"\r"
        return b"\n".join([*found, b"\r\n"])
    return pick


def _chosen(header: bytes, names: frozenset[bytes], inverted: bool) -> Iterator[bytes]:
    """Those fields, or all but those, each with its line end; the empty line is none."""
    for field in iterate(header, 0, len(header), len(header)):
        text = header[field.start:field.end]
        if (field.name in names) is not inverted and text.strip(b"\r\n"):
            yield text if text.endswith(b"\n") else text + b"\r\n"


def literal(octets: bytes) -> bytes:
    """A section as a literal. NUL may not stand in one (RFC 9051 9, CHAR8): it becomes 0x80, so that lengths and offsets stay true."""
    return b"{%d}\r\n%b" % (len(octets), clean(octets))


def clean(octets: bytes) -> bytes:
    """Octets without NUL, as many as before."""
    return octets.replace(b"\0", b"\x80") if b"\0" in octets else octets


def literal8(octets: bytes) -> bytes:
    """A decoded part: as literal8 where it holds NUL (RFC 9051 4.3.1)."""
    return b"%b{%d}\r\n%b" % (b"~" if b"\0" in octets else b"", len(octets), octets)
