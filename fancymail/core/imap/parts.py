"""Where each section of a message is: a table packed into a few octets per part, so that FETCH BODY[1.2.MIME] is a slice.

Packed by precompute, read by fetch.py and servers/pop3. Offsets are into the message as clients get it. The table of a hostile message is bounded by
the scanner (10,000 parts); reading looks at each record once. Never looks at the message itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from fancymail.mail.part import Structure

RECORD = struct.Struct("<iIIIBB")       # parent, start, body, end, encoding, kind
ENCODINGS = ("", "7bit", "8bit", "binary", "base64", "quoted-printable")
UNKNOWN = len(ENCODINGS)
LEAF, MULTIPART, MESSAGE = 0, 1, 2


class Section(NamedTuple):
    """One part: header [start:body], the empty line included, body [body:end]. `holds`: the index of the message inside a message/rfc822, or -1."""

    start: int
    body: int
    end: int
    encoding: str               # "" for none; "unknown" where BINARY cannot decode it
    kind: int
    holds: int


def pack(structure: Structure) -> bytes:
    """The table of all parts, in the order of their headers."""
    return b"".join([RECORD.pack(part.parent, part.start, part.body, part.end, _encoding(part.encoding),
                                 MULTIPART if part.type == "multipart" else MESSAGE if part.children else LEAF) for part in structure])


def _encoding(name: str) -> int:
    return ENCODINGS.index(name) if name in ENCODINGS else UNKNOWN


def find(table: bytes, path: tuple[int, ...]) -> Section | None:
    """The part with this section number, () for the message itself; None if there is none (RFC 9051 6.4.5)."""
    records = list(RECORD.iter_unpack(table))
    if not records:
        return None
    place = 0
    if path and records[0][5] != MULTIPART:
        if path[0] != 1:
            return None
        path = path[1:]                 # part 1 of a message that has no parts is its body
    for number in path:
        place = _step(records, place, number)
        if place < 0:
            return None
    return _section(records, place)


def headers(table: bytes) -> list[tuple[int, int]]:
    """Where the header sections of the message, of its parts and of messages in it are, the empty lines included; ascending."""
    return [(start, body) for _, start, body, *_ in RECORD.iter_unpack(table)]


def inside(table: bytes, section: Section) -> Section | None:
    """The message that a message/rfc822 part holds: HEADER and TEXT of the part are its."""
    return _section(list(RECORD.iter_unpack(table)), section.holds) if section.holds >= 0 else None


def _section(records: list[tuple[int, ...]], place: int) -> Section:
    _, start, body, end, encoding, kind = records[place]
    holds = next(_children(records, place), -1) if kind == MESSAGE else -1
    return Section(start, body, end, ENCODINGS[encoding] if encoding < UNKNOWN else "unknown", kind, holds)


def _step(records: list[tuple[int, ...]], place: int, number: int) -> int:
    """One number further: into a multipart, or through a message/rfc822 into what it holds; -1 for nowhere."""
    if records[place][5] == MESSAGE:
        place = next(_children(records, place))
        if records[place][5] != MULTIPART:
            return place if number == 1 else -1
    if records[place][5] != MULTIPART:
        return -1
    for index, child in enumerate(_children(records, place), 1):
        if index == number:
            return child
    return -1


def _children(records: list[tuple[int, ...]], place: int) -> Iterator[int]:
    return (index for index in range(place + 1, len(records)) if records[index][0] == place)
