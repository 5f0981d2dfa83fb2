"""What it takes to answer a list of FETCH items: the columns that have to be read, and a template for the answer of a message.

Made once for each list by fetch.py, which fills it in. An item is said by its label and one value; nothing here reads a message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fancymail.core.imap import sections
from fancymail.core.imap.dates import date_time
from fancymail.mail.imap.fetch import (
    BODY, BODYSTRUCTURE, EMAILID, ENVELOPE, FLAGS, INTERNALDATE, MODSEQ, PREVIEW, PREVIEW_LAZY, SAVEDATE, SIZE, THREADID, UID, WHOLE, Item, Items,
    Section)
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
STATES = {UID: b"UID %d", FLAGS: b"FLAGS (%b)", MODSEQ: b"MODSEQ (%d)"}


class Plan(NamedTuple):
    """What a list of items takes: made once, kept by the list."""

    items: Items
    pieces: tuple[bytes, ...]       # of each: a space if it is not the first, its label, a place for its value
    template: bytes                 # all of them, and the end
    flagged: tuple[bytes, bytes] | None         # the same, cut where the flags are said
    columns: tuple[str, ...]        # that have to be read
    contents: frozenset[Item]       # items for which the message itself has to be read
    headers: bool                   # no more of it than its header


@kept(1 << 20)
def plan(items: Items) -> Plan:
    """Work out what it takes to answer these items."""
    pieces, columns, contents = [], [], []
    for item in items:
        if isinstance(item, str):
            pieces.append(STATES[item] if item in STATES else COLUMNS[item][1])
            columns += [COLUMNS[item][0]] if item in COLUMNS else []
            continue
        pieces.append(item.label.replace(b"%", b"%%") + b" %b")
        if sections.is_listed(item):
            columns.append("fields")
        else:
            contents.append(item)
            whole = isinstance(item, Section) and not item.part and item.what == WHOLE
            columns += (*CONTENT, KEPT) if whole else (*CONTENT, KEPT, "parts", "header_length")
    spaced = tuple(b" " + piece if place else piece for place, piece in enumerate(pieces))
    headers = all([isinstance(item, Section) and sections.is_header(item) for item in contents])
    return Plan(items, spaced, b"".join(spaced) + b")\r\n", _cut(items, spaced), tuple(dict.fromkeys(columns)), frozenset(contents), headers)


def _cut(items: Items, pieces: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The template before and behind the words of FLAGS, None without them."""
    if FLAGS not in items:
        return None
    place = items.index(FLAGS)
    before, behind = pieces[place].split(b"%b")
    return b"".join([*pieces[:place], before]), b"".join([behind, *pieces[place + 1:], b")\r\n"])
