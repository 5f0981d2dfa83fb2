"""FETCH: answers put together from octets that are ready, for hundreds of messages at a time.

Asked by servers/imap with a view, a reader of its mailbox and the items that the client named; plan.py has what these take. What stands in arrays,
in a column or in short messages is rendered for many at once; long messages are sent one by one, in pieces. It marks nothing as seen: who asks stores
\\Seen first, if `plan(items).seen`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import chain

from fancymail.core.imap import sections
from fancymail.core.imap.columns import read_columns, with_kept
from fancymail.core.imap.content import Letter, value_of
from fancymail.core.imap.plan import Chunk, Plan, plan
from fancymail.core.imap.ranges import runs
from fancymail.core.imap.surrogate import plain_value
from fancymail.core.imap.view import Spans, View
from fancymail.mail.imap.fetch import UID, Binary, Items, Section
from fancymail.storage.ports.reader import CONTENT, KEPT, BoxReader, Content

MESSAGES = 1_000                    # rendered at once: about 2 ms
CONTENTS = 16                       # where contents are read: the small ones come along with the columns
FULL = 65_536                       # octets of messages that are read and rendered at once; a message with more is a long one


async def at_once() -> None:
    """Nobody waits for a turn."""


def fetch(view: View, box: BoxReader, items: Items, spans: Spans, turn: Callable[[], Awaitable[None]] = at_once) -> Answers:
    """The FETCH answers of the messages at these places, in their order. `turn` is awaited where a message took long: others may go on."""
    if view.uidonly and len(items) > 1:
        items = tuple(item for item in items if item != UID)            # RFC 9586 3.3: the number is the UID
    return Answers(view, box, plan(items), spans, turn)


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


class Answers:
    """The answers of one FETCH in pieces of 64 KiB or so: `next` gives one as long as there are `more`.

    What the OK or NO behind them has to take account of: `missing`, how many messages could not be read (any more) or were damaged;
    `unknown_encoding`: NO [UNKNOWN-CTE]; `downgraded`, the UIDs of those of which a surrogate was shown (RFC 6858 3). It is no generator: for one
    message, beginning one costs more than the answer."""

    __slots__ = ("view", "box", "plan", "missing", "unknown_encoding", "downgraded", "_turn", "_opening", "_spans", "_low", "_behind", "_chunk",
                 "_place", "_long")

    def __init__(self, view: View, box: BoxReader, made: Plan, spans: Spans, turn: Callable[[], Awaitable[None]]) -> None:
        self.view, self.box, self.plan, self._turn = view, box, made, turn
        self.missing, self.unknown_encoding = 0, False
        self.downgraded: set[int] = set()
        self._opening = b"* %d UIDFETCH (" if view.uidonly else b"* %d FETCH ("
        self._spans = iter(spans)
        self._low, self._behind = next(self._spans, (0, 0))     # places of the span that is being answered
        self._chunk: Chunk | None = None                        # messages with contents, answered up to `_place`
        self._place = 0
        self._long: AsyncIterator[bytes] | None = None          # the answer of a long message that is being sent

    @property
    def more(self) -> bool:
        """Whether there is something left to be said."""
        return self._behind > 0 or self._chunk is not None or self._long is not None

    async def next(self) -> bytes:
        """The next piece, empty where nothing can be read. Raises MailboxGone."""
        if self._long is not None:
            if (piece := await anext(self._long, None)) is not None:
                return piece
            self._long = None
        if self._chunk is None:
            if not self._behind:
                return b""
            chunk = await self._read(*self._slice())
            if not chunk.uids:
                return b""
            if not self.plan.read:
                return self._rendered(chunk)
            self._chunk, self._place = chunk, 0
        return await self._next_messages()

    async def whole(self) -> bytes:
        """All of them at once, where they are few."""
        pieces = []
        while self.more:
            pieces.append(await self.next())
        return b"".join(pieces)

    def _slice(self) -> tuple[int, int]:
        """The places of the messages that are read next."""
        low, behind = self._low, self._behind
        high = low + (CONTENTS if self.plan.read else MESSAGES)
        if high < behind:
            self._low = high
            return low, high
        self._low, self._behind = next(self._spans, (0, 0))
        return low, behind

    async def _read(self, low: int, high: int) -> Chunk:
        """Read what the plan wants of the messages at these places; those that cannot be read any more are left out."""
        uids, flags, modseqs = self.view.state(low, high)
        numbers: Sequence[int] = uids if self.view.uidonly else range(low + 1, high + 1)
        names = self.plan.columns
        if not names:
            return Chunk(numbers, uids, flags, modseqs, {}, [])
        rows = await self.box.columns(names, [(uids[0], uids[-1])])     # neighbours: nothing else is between them
        if len(rows) < len(uids) and len(rows := await with_kept(self.box, names, uids, rows)) < len(uids):
            self.missing += len(uids) - len(rows)
            there = {row[0] for row in rows}
            found = [state for state in zip(numbers, uids, flags, modseqs) if state[1] in there]
            numbers, uids, flags, modseqs = zip(*found) if found else ((), (), (), ())
        chunk = Chunk(numbers, uids, flags, modseqs, dict(zip(("uid", *names), zip(*rows))), [[] for _ in self.plan.read])
        if "fields" in names and None in chunk.columns["fields"]:
            chunk.columns["fields"] = await self._long_headers(chunk)
        if not self.view.utf8:
            for name in self.plan.headed:
                if not all(map(bytes.isascii, chunk.columns[name])):
                    chunk.columns[name] = await self._plain(name, chunk.uids, chunk.columns[name])
        return chunk

    async def _plain(self, name: str, uids: Sequence[int], column: Sequence[bytes]) -> list[bytes]:
        """What a column that is made of headers is of surrogates."""
        values = list(column)
        for place, value in enumerate(values):
            if not value.isascii():
                values[place] = await plain_value(self.box, name, uids[place], value)
                if values[place] != value:
                    self.downgraded.add(uids[place])
                await self._turn()
        return values

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
                self.missing += 1
                headers[place] = b""
        return headers

    def _rendered(self, chunk: Chunk) -> bytes:
        """The answers of some messages by one formatting."""
        values = [value(self.view, chunk) for value in self.plan.values]
        return (self._opening + self.plan.template) * len(chunk.uids) % tuple(chain.from_iterable(zip(chunk.numbers, *values)))

    # -- contents ----------------------------------------------------------------------------------------------------

    async def _next_messages(self) -> bytes:
        """The answers of the next messages as long as these are short; nothing if the next one is long."""
        chunk, first = self._chunk, self._place
        columns, times = chunk.columns, len(self.plan.read)
        lengths = columns["header_length"] if self.plan.headers else list(map(int.__add__, map(len, columns["prefix"]), columns["length"]))
        behind, size = first, 0
        while behind < len(lengths) and (size := size + lengths[behind] * times) <= FULL:
            behind += 1
        if behind == first:
            behind, self._long = first + 1, self._in_pieces(chunk.part(first, first + 1))
        self._place = behind
        if behind == len(lengths):
            self._chunk = None
        if self._long is not None:
            return b""
        part = chunk.part(first, behind)
        await self._fill(part, lengths[first:behind])
        return self._rendered(part)

    async def _fill(self, chunk: Chunk, lengths: Sequence[int]) -> None:
        """Have the values of the items for which each message is read, once for all of them."""
        columns, read = chunk.columns, self.plan.read
        for place, (prefix, kept) in enumerate(zip(columns["prefix"], columns[KEPT])):
            octets = prefix + kept if kept is not None else await self._whole(_located(chunk, place), lengths[place])
            table, header = _tables(chunk, place)
            ascii = not (self.view.utf8 or octets is None or octets.isascii())
            if ascii and not table:
                table = await self._table(chunk.uids[place])
            for found, item in zip(chunk.contents, read):
                found.append(self._value(item, octets, table, header))
                if ascii and (anew := self._value(item, octets, table, header, True)) != found[-1]:
                    found[-1] = anew
                    self.downgraded.add(chunk.uids[place])

    async def _table(self, uid: int) -> bytes:
        """Where the parts of a message are, empty if that cannot be read."""
        return next(iter(await read_columns(self.box, ("parts",), [uid])), (uid, b""))[1]

    async def _whole(self, content: Content, length: int) -> bytes | None:
        """A message, or its header, out of its blob; None if it is lost, filled up with spaces if it is shorter than it was."""
        try:
            octets = await self.box.octets(content, 0, length)
        except KeyError:
            self.missing += 1
            return None
        self.missing += len(octets) < length
        return octets.ljust(length)

    def _value(self, item: Section | Binary, octets: bytes | None, table: bytes, header: int, ascii: bool = False) -> bytes:
        """What stands for an item of a message in memory; None: it is lost."""
        try:
            return value_of(item, octets, table, header, ascii) if octets is not None else _nothing(item)
        except sections.UnknownEncoding:
            self.unknown_encoding = True
            return _nothing(item)

    async def _in_pieces(self, chunk: Chunk) -> AsyncIterator[bytes]:
        """The answer of one message, however long."""
        content, (table, header) = _located(chunk, 0), _tables(chunk, 0)
        ascii = not self.view.utf8
        if ascii and not table:
            table = await self._table(content.uid)
        letter, said, size = Letter(self.box, content, table, header, ascii), [self._opening % chunk.numbers[0]], 0
        for item, piece, value in zip(self.plan.contents, self.plan.pieces, self.plan.values):
            if item is None:
                said.append(piece % tuple(value(self.view, chunk)))
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
                self.unknown_encoding |= isinstance(error, sections.UnknownEncoding)
                self.missing += isinstance(error, KeyError)
        self.missing += letter.damaged
        if letter.downgraded:
            self.downgraded.add(content.uid)
        yield b"".join(said) + b")\r\n"


def _located(chunk: Chunk, place: int) -> Content:
    """Where the content of a message is."""
    return Content(chunk.uids[place], *[chunk.columns[name][place] for name in CONTENT])


def _tables(chunk: Chunk, place: int) -> tuple[bytes, int]:
    """The table of a message's parts and the length of its header; where only whole messages are asked for they were not read."""
    tables = chunk.columns.get("parts")
    return (tables[place], chunk.columns["header_length"][place]) if tables is not None else (b"", 0)


def _nothing(item: Section | Binary) -> bytes:
    """What stands for content that cannot be had."""
    return b"0" if isinstance(item, Binary) and item.size else b"NIL"
