"""FETCH: answers put together from octets that are ready, for hundreds of messages at a time.

Asked by servers/imap with a view, a reader of its mailbox and the items that the client named; plan.py has what these take. What stands in arrays,
in a column or in short messages is rendered for many at once; long messages are sent one by one, in pieces. It marks nothing as seen: who asks stores
\\Seen first, if `sets_seen(items)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import NamedTuple

from fancymail.core.imap import sections
from fancymail.core.imap.content import Letter, value_of
from fancymail.core.imap.plan import COLUMNS, STATES, Plan, plan
from fancymail.core.imap.ranges import runs
from fancymail.core.imap.telling import flag_words
from fancymail.core.imap.view import Spans, View
from fancymail.mail.imap.fetch import FLAGS, UID, Binary, Item, Items, Section
from fancymail.mail.uidset import compress
from fancymail.storage.ports.reader import CONTENT, KEPT, BoxReader, Content

MESSAGES = 1_000                    # rendered at once: about 2 ms
CONTENTS = 16                       # where contents are read: the small ones come along with the columns
FULL = 65_536                       # octets of messages that are read and rendered at once; a message with more is a long one


class Chunk(NamedTuple):
    """Some messages: parallel sequences, columns by name."""

    numbers: Sequence[int]          # UIDs where UIDONLY is on
    uids: Sequence[int]
    flags: Sequence[int]
    modseqs: Sequence[int]
    columns: dict[str, Sequence]

    def part(self, low: int, high: int) -> Chunk:
        """Some of these messages."""
        numbers, uids, flags, modseqs, columns = self
        columns = {name: column[low:high] for name, column in columns.items()}
        return Chunk(numbers[low:high], uids[low:high], flags[low:high], modseqs[low:high], columns)


class Outcome:
    """What the OK or NO behind the answers has to take account of."""

    def __init__(self) -> None:
        self.missing = 0            # messages, asked for and not answered or damaged, that cannot be read (any more)
        self.unknown_encoding = False       # NO [UNKNOWN-CTE]


def fetch(view: View, box: BoxReader, items: Items, spans: Spans, outcome: Outcome) -> Answers:
    """The FETCH answers of the messages at these places, in their order: `async for` gives pieces of 64 KiB or so, and raises MailboxGone."""
    if view.uidonly and len(items) > 1:
        items = tuple(item for item in items if item != UID)            # RFC 9586 3.3: the number is the UID
    return Answers(view, box, plan(items), spans, outcome)


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


async def read_columns(box: BoxReader, names: Sequence[str], uids: Sequence[int]) -> list[tuple]:
    """Columns of these ascending UIDs; those that were expunged meanwhile are read as long as they are kept."""
    rows = await box.columns(names, compress(uids))
    if len(rows) < len(uids):
        there = {row[0] for row in rows}
        rows = sorted([*rows, *await box.columns(names, compress([uid for uid in uids if uid not in there]), kept=True)])
    return rows


class Answers:
    """An iteration over pieces of answers. No generator: for one message, beginning one costs more than the answer."""

    __slots__ = ("view", "box", "plan", "outcome", "_opening", "_slices", "_chunk", "_place", "_long")

    def __init__(self, view: View, box: BoxReader, made: Plan, spans: Spans, outcome: Outcome) -> None:
        self.view, self.box, self.plan, self.outcome = view, box, made, outcome
        self._opening = b"* %d UIDFETCH (" if view.uidonly else b"* %d FETCH ("
        self._slices: Iterator[tuple[int, int]] = iter(slices(spans, CONTENTS if made.contents else MESSAGES))
        self._chunk: Chunk | None = None                        # messages with contents, answered up to `_place`
        self._place = 0
        self._long: AsyncIterator[bytes] | None = None          # the answer of a long message that is being sent

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._long is not None:
                if (piece := await anext(self._long, None)) is not None:
                    return piece
                self._long = None
            if self._chunk is not None:
                if piece := await self._next_messages():
                    return piece
            elif (slice_ := next(self._slices, None)) is None:
                raise StopAsyncIteration
            elif (chunk := await self._read(*slice_)).uids:
                if not self.plan.contents:
                    return self._rendered(chunk, {})
                self._chunk, self._place = chunk, 0

    async def _read(self, low: int, high: int) -> Chunk:
        """Read what the plan wants of the messages at these places; those that cannot be read any more are left out."""
        uids, flags, modseqs = self.view.state(low, high)
        numbers: Sequence[int] = uids if self.view.uidonly else range(low + 1, high + 1)
        names = self.plan.columns
        if not names:
            return Chunk(numbers, uids, flags, modseqs, {})
        rows = await read_columns(self.box, names, uids)
        if len(rows) < len(uids):
            self.outcome.missing += len(uids) - len(rows)
            there = {row[0] for row in rows}
            found = [state for state in zip(numbers, uids, flags, modseqs) if state[1] in there]
            numbers, uids, flags, modseqs = zip(*found) if found else ((), (), (), ())
        chunk = Chunk(numbers, uids, flags, modseqs, dict(zip(("uid", *names), zip(*rows))))
        if "fields" in names and None in chunk.columns["fields"]:
            chunk.columns["fields"] = await self._long_headers(chunk)
        return chunk

    async def _long_headers(self, chunk: Chunk) -> list[bytes]:
        """`fields`, and where they were too long to be kept, the header itself."""
        headers = list(chunk.columns["fields"])
        missing = [place for place, header in enumerate(headers) if header is None]
        rows = await read_columns(self.box, (*CONTENT, "header_length"), [chunk.uids[place] for place in missing])
        found = {row[0]: row for row in rows}
        for place in missing:
            try:
                *content, length = found[chunk.uids[place]]
                headers[place] = await self.box.octets(Content(*content), 0, length)
            except KeyError:
                self.outcome.missing += 1
                headers[place] = b""
        return headers

    # -- rendering ---------------------------------------------------------------------------------------------------

    def _rendered(self, chunk: Chunk, contents: dict[Item, Sequence[bytes]]) -> bytes:
        """The answers of some messages by one formatting. Few have flags that no other one has, so these are part of the template."""
        made = self.plan
        values = [self._values(item, chunk, contents) for item in made.items if item != FLAGS]
        if made.flagged is not None:
            before, behind = made.flagged
            words = flag_words(self.view, chunk.uids, chunk.flags)
            lines = {text: self._opening + before + text.replace(b"%", b"%%") + behind for text in set(words)}
            template = b"".join(map(lines.__getitem__, words))
        else:
            template = (self._opening + made.template) * len(chunk.uids)
        return template % tuple(chain.from_iterable(zip(chunk.numbers, *values)))

    def _values(self, item: Item, chunk: Chunk, contents: dict[Item, Sequence[bytes]]) -> Iterable[object]:
        """The value of an item, of each message."""
        if item in STATES:
            if item == FLAGS:
                return flag_words(self.view, chunk.uids, chunk.flags)
            return chunk.uids if item == UID else chunk.modseqs
        if isinstance(item, str):
            column, _, written = COLUMNS[item]
            return map(written, chunk.columns[column]) if written else chunk.columns[column]
        if item in contents:
            return contents[item]
        picked = map(sections.picker(item.fields), chunk.columns["fields"])
        return map(sections.literal, picked if item.partial is None else [sections.cut_octets(octets, item.partial) for octets in picked])

    # -- contents ----------------------------------------------------------------------------------------------------

    async def _next_messages(self) -> bytes:
        """The answers of the next messages as long as these are short; nothing if the next one is long, or there is none."""
        chunk, first = self._chunk, self._place
        columns, times = chunk.columns, len(self.plan.contents)
        lengths = columns["header_length"] if self.plan.headers else list(map(int.__add__, map(len, columns["prefix"]), columns["length"]))
        behind, size = first, 0
        while behind < len(lengths) and (size := size + lengths[behind] * times) <= FULL:
            behind += 1
        self._place = behind
        if behind > first:
            part = chunk.part(first, behind)
            return self._rendered(part, await self._contents(part, lengths[first:behind]))
        if first < len(lengths):
            self._place, self._long = first + 1, self._in_pieces(chunk.part(first, first + 1))
        else:
            self._chunk = None
        return b""

    async def _contents(self, chunk: Chunk, lengths: Sequence[int]) -> dict[Item, list[bytes]]:
        """The values of the items for which each message is read, once for all of them."""
        values: dict[Item, list[bytes]] = {item: [] for item in self.plan.contents}
        for content, kept, table, header, length in zip(_located(chunk), chunk.columns[KEPT], *_tables(chunk), lengths):
            octets = await self._whole(content, length) if kept is None else content.prefix + kept
            for item, found in values.items():
                found.append(self._value(item, octets, table, header))
        return values

    async def _whole(self, content: Content, length: int) -> bytes | None:
        """A message, or its header, out of its blob; None if it is lost, filled up with spaces if it is shorter than it was."""
        try:
            octets = await self.box.octets(content, 0, length)
        except KeyError:
            self.outcome.missing += 1
            return None
        self.outcome.missing += len(octets) < length
        return octets.ljust(length)

    def _value(self, item: Section | Binary, octets: bytes | None, table: bytes, header: int) -> bytes:
        """What stands for an item of a message in memory; None: it is lost."""
        try:
            return value_of(item, octets, table, header) if octets is not None else _nothing(item)
        except sections.UnknownEncoding:
            self.outcome.unknown_encoding = True
            return _nothing(item)

    async def _in_pieces(self, chunk: Chunk) -> AsyncIterator[bytes]:
        """The answer of one message, however long."""
        (content,), ((table,), (header,)) = _located(chunk), _tables(chunk)
        letter, said, size = Letter(self.box, content, table, header), [self._opening % chunk.numbers[0]], 0
        for item, piece in zip(self.plan.items, self.plan.pieces):
            if item not in self.plan.contents:
                said.append(piece % tuple(self._values(item, chunk, {})))
                continue
            said.append(piece[:-2])
            try:
                async for octets in letter.value(item):
                    said.append(octets)
                    size += len(octets)
                    if size >= FULL:
                        yield b"".join(said)
                        said, size = [], 0
            except (KeyError, sections.UnknownEncoding) as error:      # before its first piece only
                said.append(_nothing(item))
                self.outcome.unknown_encoding |= isinstance(error, sections.UnknownEncoding)
                self.outcome.missing += isinstance(error, KeyError)
        self.outcome.missing += letter.damaged
        yield b"".join(said) + b")\r\n"


def _located(chunk: Chunk) -> Iterator[Content]:
    """Where the contents of messages are."""
    return map(Content, chunk.uids, *[chunk.columns[name] for name in CONTENT])


def _tables(chunk: Chunk) -> tuple[Iterable[bytes], Iterable[int]]:
    """Tables of parts and lengths of headers; where only whole messages are asked for they were not read."""
    return chunk.columns.get("parts", repeat(b"", len(chunk.uids))), chunk.columns.get("header_length", repeat(0, len(chunk.uids)))


def _nothing(item: Section | Binary) -> bytes:
    """What stands for content that cannot be had."""
    return b"0" if isinstance(item, Binary) and item.size else b"NIL"
