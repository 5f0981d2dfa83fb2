"""FETCH: answers put together from octets that are ready, for hundreds of messages at a time.

Asked by servers/imap with a view, a reader of its mailbox and the items that the client named. A list of items becomes a plan once: a template, the
columns it needs, one small function per item. What stands in the arrays or in a column is rendered column by column; only sections of content are
read message by message, long ones in pieces. It marks nothing as seen: who asks stores \\Seen first, if `sets_seen(items)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from fancymail.core.imap import sections
from fancymail.core.imap.content import Letter
from fancymail.core.imap.dates import date_time
from fancymail.core.imap.ranges import compress, runs
from fancymail.core.imap.view import Spans, View
from fancymail.mail.imap.fetch import (
    BODY, BODYSTRUCTURE, EMAILID, ENVELOPE, FLAGS, INTERNALDATE, MODSEQ, PREVIEW, PREVIEW_LAZY, SAVEDATE, SIZE, THREADID, UID, Binary, Item, Items)
from fancymail.mail.imap.strings import string
from fancymail.storage.ports.reader import CONTENT, BoxReader, Content

MESSAGES = 1_000                    # rendered at once: about 2 ms
CONTENTS = 100                      # where contents are read
FULL = 65_536                       # octets that are worth writing

# Items that are one column: its name, its place in the answer, how a value of it is written (None: as it is).
_COLUMNS: dict[str, tuple[str, bytes, Callable[[Any], bytes] | None]] = {
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
_STATES = {UID: b"UID %d", FLAGS: b"FLAGS (%b)", MODSEQ: b"MODSEQ (%d)"}


class Plan(NamedTuple):
    """What a list of items takes: made once, kept by the list."""

    items: Items
    pieces: tuple[bytes, ...]       # what is written for each, with the space before it; of contents only what stands before them
    template: bytes                 # all of them in one
    columns: tuple[str, ...]        # that have to be read
    reads: bool                     # contents too


class Chunk(NamedTuple):
    """Some messages: parallel sequences, columns by name."""

    numbers: Sequence[int]          # UIDs where UIDONLY is on
    uids: Sequence[int]
    flags: Sequence[int]
    modseqs: Sequence[int]
    columns: dict[str, Sequence]


class Outcome:
    """What the OK or NO behind the answers has to take account of."""

    def __init__(self) -> None:
        self.missing = 0            # messages, asked for and not answered or damaged, that cannot be read (any more)
        self.unknown_encoding = False       # NO [UNKNOWN-CTE]


@lru_cache(512)
def plan(items: Items) -> Plan:
    """Work out what it takes to answer these items."""
    pieces, columns, reads = [], [], False
    for item in items:
        if isinstance(item, str):
            pieces.append(_STATES[item] if item in _STATES else _COLUMNS[item][1])
            columns += [_COLUMNS[item][0]] if item in _COLUMNS else []
        elif sections.is_listed(item):
            pieces.append(item.label.replace(b"%", b"%%") + b" %b")
            columns += ["fields", "header_length"]
        else:
            pieces.append(item.label + b" ")
            columns += [*CONTENT, "parts", "header_length"]
            reads = True
    spaced = tuple(b" " + piece if place else piece for place, piece in enumerate(pieces))
    return Plan(items, spaced, b"".join(spaced) + b")\r\n", tuple(dict.fromkeys(columns)), reads)


async def fetch(view: View, box: BoxReader, items: Items, spans: Spans, outcome: Outcome) -> AsyncIterator[bytes]:
    """Yield the FETCH answers of the messages at these places, in their order; a piece has 64 KiB or so. Raises MailboxGone."""
    if view.uidonly and len(items) > 1:
        items = tuple(item for item in items if item != UID)            # RFC 9586 3.3: the number is the UID
    made = plan(items)
    opening = b"* %d UIDFETCH (" if view.uidonly else b"* %d FETCH ("
    for low, high in slices(spans, CONTENTS if made.reads else MESSAGES):
        chunk = await _chunk(view, box, made, low, high, outcome)
        if not chunk.uids:
            continue
        if made.reads:
            async for piece in _with_contents(view, box, made, opening, chunk, outcome):
                yield piece
        else:
            values = [await _values(view, box, item, chunk, outcome) for item in made.items]
            yield (opening + made.template) * len(chunk.uids) % tuple(chain.from_iterable(zip(chunk.numbers, *values)))


def changed_since(view: View, spans: Spans, modseq: int) -> Spans:
    """Those of the places whose message changed after `modseq` (RFC 7162 3.1.4.1)."""
    return runs([low + place for low, high in spans for place, last in enumerate(view.state(low, high)[2]) if last > modseq])


def partial(spans: Spans, first: int, last: int) -> Spans:
    """Of all the messages at these places the first to the last one, counted from 1, or from the end if negative (RFC 9394 3.1)."""
    count = sum([high - low for low, high in spans])
    if first < 0:
        first, last = count + 1 + max(first, last), count + 1 + min(first, last)
    first, last = max(1, min(first, last)), max(first, last)
    found, seen = [], 0
    for low, high in spans:
        start, stop = max(low, low + first - 1 - seen), min(high, low + last - seen)
        if start < stop:
            found.append((start, stop))
        seen += high - low
    return found


def slices(spans: Spans, most: int) -> Iterable[tuple[int, int]]:
    """Cut spans into pieces of at most `most` places."""
    for first, behind in spans:
        for low in range(first, behind, most):
            yield low, min(low + most, behind)


async def _chunk(view: View, box: BoxReader, made: Plan, low: int, high: int, outcome: Outcome) -> Chunk:
    """Read what the plan wants of the messages at these places; those that cannot be read any more are left out."""
    uids, flags, modseqs = view.state(low, high)
    numbers: Sequence[int] = uids if view.uidonly else range(low + 1, high + 1)
    if not made.columns:
        return Chunk(numbers, uids, flags, modseqs, {})
    rows = await read_columns(box, made.columns, uids)
    if len(rows) < len(uids):
        outcome.missing += len(uids) - len(rows)
        there = {row[0] for row in rows}
        found = [state for state in zip(numbers, uids, flags, modseqs) if state[1] in there]
        numbers, uids, flags, modseqs = zip(*found) if found else ((), (), (), ())
    return Chunk(numbers, uids, flags, modseqs, dict(zip(("uid", *made.columns), zip(*rows))))


async def read_columns(box: BoxReader, names: Sequence[str], uids: Sequence[int]) -> list[tuple]:
    """Columns of these ascending UIDs; those that were expunged meanwhile are read as long as they are kept."""
    rows = await box.columns(names, compress(uids))
    if len(rows) < len(uids):
        there = {row[0] for row in rows}
        rows = sorted([*rows, *await box.columns(names, compress([uid for uid in uids if uid not in there]), kept=True)])
    return rows


async def _values(view: View, box: BoxReader, item: Item, chunk: Chunk, outcome: Outcome) -> Iterable[object]:
    """The value of an item that is no content, of each message."""
    if item == FLAGS:
        return map(view.flag_words, chunk.uids, chunk.flags) if view.recent else map(view.image.words, chunk.flags)
    if item == UID:
        return chunk.uids
    if item == MODSEQ:
        return chunk.modseqs
    if isinstance(item, str):
        column, _, written = _COLUMNS[item]
        return map(written, chunk.columns[column]) if written else chunk.columns[column]
    fields = chunk.columns["fields"]
    if None in fields:
        fields = await _long_headers(box, chunk, outcome)
    picked = map(sections.picker(item.fields), fields)
    return map(sections.literal, picked if item.partial is None else [sections.cut_octets(octets, item.partial) for octets in picked])


async def _long_headers(box: BoxReader, chunk: Chunk, outcome: Outcome) -> list[bytes]:
    """`fields`, and where they were too long to be kept, the header itself."""
    headers = list(chunk.columns["fields"])
    missing = [place for place, header in enumerate(headers) if header is None]
    rows = await read_columns(box, (*CONTENT, "header_length"), [chunk.uids[place] for place in missing])
    found = {row[0]: row for row in rows}
    for place in missing:
        try:
            *content, length = found[chunk.uids[place]]
            headers[place] = await box.octets(Content(*content), 0, length)
        except KeyError:
            outcome.missing += 1
            headers[place] = b""
    return headers


async def _with_contents(view: View, box: BoxReader, made: Plan, opening: bytes, chunk: Chunk, outcome: Outcome) -> AsyncIterator[bytes]:
    """Answer message by message. A section whose content is lost is NIL."""
    ready = [list(await _values(view, box, item, chunk, outcome)) if isinstance(item, str) or sections.is_listed(item) else None
             for item in made.items]
    said: list[bytes] = []
    size = 0
    columns = chunk.columns
    contents = zip(chunk.numbers, columns["parts"], columns["header_length"], zip(chunk.uids, *(columns[name] for name in CONTENT)))
    for place, (number, table, header, content) in enumerate(contents):
        letter = Letter(box, Content(*content), table, header)
        said.append(opening % number)
        for item, piece, values in zip(made.items, made.pieces, ready):
            if values is not None:
                said.append(piece % values[place])
                continue
            said.append(piece)
            try:
                async for octets in letter.value(item):
                    said.append(octets)
                    size += len(octets)
                    if size >= FULL:
                        yield b"".join(said)
                        said, size = [], 0
            except (KeyError, sections.UnknownEncoding) as error:      # before its first piece only
                said.append(b"0" if isinstance(item, Binary) and item.size else b"NIL")
                outcome.unknown_encoding |= isinstance(error, sections.UnknownEncoding)
                outcome.missing += isinstance(error, KeyError)
        said.append(b")\r\n")
        outcome.missing += letter.damaged
    if said:
        yield b"".join(said)
