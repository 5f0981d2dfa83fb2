"""What it takes to answer a list of FETCH items: the columns that have to be read, a template for the answer of a message, where its values are.

Made once for each list by fetch.py, which fills it in. An item is said by its label and one value; nothing here reads a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from fancymail.core.imap import sections
from fancymail.core.imap.dates import date_time
from fancymail.core.imap.telling import flag_words
from fancymail.core.imap.view import View
from fancymail.mail.imap.fetch import (
    BODY, BODYSTRUCTURE, EMAILID, ENVELOPE, FLAGS, INTERNALDATE, MODSEQ, PREVIEW, PREVIEW_LAZY, SAVEDATE, SIZE, THREADID, UID, WHOLE, Binary,
    Items, Section)
from fancymail.mail.imap.strings import string
from fancymail.mail.kept import kept
from fancymail.storage.ports.reader import CONTENT, KEPT

# Items that are one column: its name, its place in the answer, how a value of it is written (None: as it is).
COLUMNS: dict[str, tuple[str, bytes, Callable[[Any], bytes] | None]] = {
    INTERNALDATE: ("internaldate", b"INTERNALDATE %b", date_time),
    SIZE: ("size", b"RFC822.SIZE %d", None),
    ENVELOPE: ("envelope", b"ENVELOPE %b", None),
    BODY: ("body", b"BODY %b", None),
    BODYSTRUCTURE: ("bodystructure", b"BODYSTRUCTURE %b", None),
    EMAILID: ("emailid", b"EMAILID (%b)", str.encode),
    THREADID: ("threadid", b"THREADID %b", lambda value: b"(%b)" % value.encode() if value else b"NIL"),
    SAVEDATE: ("savedate", b"SAVEDATE %b", lambda value: date_time(value) if value else b"NIL"),
    PREVIEW: ("preview", b"PREVIEW %b", lambda value: string(value.encode())),
    PREVIEW_LAZY: ("preview", b"PREVIEW %b", lambda value: string(value.encode())),
}
HEADED = ("envelope", "bodystructure", "body", "fields")


class Chunk(NamedTuple):
    """Some messages: parallel sequences, columns by name."""

    numbers: Sequence[int]          # UIDs where UIDONLY is on
    uids: Sequence[int]
    flags: Sequence[int]
    modseqs: Sequence[int]
    columns: dict[str, Sequence]
    contents: list[list[bytes]]     # of each item of Plan.read its values, once the messages were read

    def part(self, low: int, high: int) -> Chunk:
        """Some of these messages."""
        numbers, uids, flags, modseqs, columns, _ = self
        if not low and high == len(uids):
            return self
        columns = {name: column[low:high] for name, column in columns.items()}
        return Chunk(numbers[low:high], uids[low:high], flags[low:high], modseqs[low:high], columns, [[] for _ in self.contents])


Values = Callable[[View, Chunk], Iterable[object]]      # the value of an item, of each message

STATES: dict[str, tuple[bytes, Values]] = {
    UID: (b"UID %d", lambda view, chunk: chunk.uids),
    FLAGS: (b"FLAGS (%b)", lambda view, chunk: flag_words(view, chunk.uids, chunk.flags)),
    MODSEQ: (b"MODSEQ (%d)", lambda view, chunk: chunk.modseqs),
}


class Plan(NamedTuple):
    """What a list of items takes: made once, kept by the list."""

    pieces: tuple[bytes, ...]       # of each item: a space if it is not the first, its label, a place for its value
    template: bytes                 # all of them, and the end
    values: tuple[Values, ...]      # of each item
    columns: tuple[str, ...]        # that have to be read
    headed: tuple[str, ...]         # those of them that are made of headers, which may not be in ASCII
    contents: tuple[Section | Binary | None, ...]       # of each item: itself, if the message has to be read for it
    read: tuple[Section | Binary, ...]                  # those
    headers: bool                   # no more of it than its header
    seen: bool                      # \\Seen is to be set (RFC 9051 6.4.5: BODY[], BINARY[] without peek)


@kept(1 << 20)
def plan(items: Items) -> Plan:
    """Work out what it takes to answer these items."""
    pieces, values, columns, contents = [], [], [], []
    read: list[Section | Binary] = []
    for item in items:
        label, value, names = _named(item) if isinstance(item, str) else _read(item, len(read))
        if not isinstance(item, str) and names[0] != "fields":
            read.append(item)
        pieces.append(b" " + label if pieces else label)
        values.append(value)
        columns += names
        contents.append(item if item in read else None)
    headers = all([isinstance(item, Section) and sections.is_header(item) for item in read])
    seen = any([not item.peek and not (isinstance(item, Binary) and item.size) for item in items if not isinstance(item, str)])
    wanted = tuple(dict.fromkeys(columns))
    headed = tuple([name for name in wanted if name in HEADED])
    return Plan(tuple(pieces), b"".join(pieces) + b")\r\n", tuple(values), wanted, headed, tuple(contents), tuple(read), headers, seen)


def _named(item: str) -> tuple[bytes, Values, tuple[str, ...]]:
    """Label, values and columns of an item that is one word."""
    if item in STATES:
        return *STATES[item], ()
    name, label, written = COLUMNS[item]
    if written is None:
        return label, lambda view, chunk: chunk.columns[name], (name,)
    return label, lambda view, chunk: map(written, chunk.columns[name]), (name,)


def _read(item: Section | Binary, place: int) -> tuple[bytes, Values, tuple[str, ...]]:
    """The same of a section: header fields that are kept apart, or the one at this place of those for which the message is read."""
    label = item.label.replace(b"%", b"%%") + b" %b"
    if sections.is_listed(item):
        return label, _fields(item), ("fields",)
    whole = isinstance(item, Section) and not item.part and item.what == WHOLE
    return label, lambda view, chunk: chunk.contents[place], (*CONTENT, KEPT) if whole else (*CONTENT, KEPT, "parts", "header_length")


def _fields(item: Section) -> Values:
    pick, partial = sections.picker(item.fields), item.partial
    if partial is None:
        return lambda view, chunk: map(sections.literal, map(pick, chunk.columns["fields"]))
    return lambda view, chunk: [sections.literal(sections.cut_octets(pick(fields), partial)) for fields in chunk.columns["fields"]]
