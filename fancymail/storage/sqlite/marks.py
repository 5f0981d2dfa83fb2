"""Flags and modseqs, packed: a row of `marks` holds those of 250 UIDs. Marking a whole mailbox read rewrites a few pages; SELECT reads them.

Used by storage/sqlite/{account,annotations,delivery,moving,reader}.py inside their transactions. A row is as many pairs of little-endian 64-bit
words, flags and modseq, as it has UIDs up to its last one; a modseq of 0 says that there is no such message, since all modseqs are above it.
Beside them stands what lets a row be skipped unread: how many messages, how many \\Deleted ones, and a modseq that none is above. It does not
keep `entry` in step: whoever adds or takes a message does it in both.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from fancymail.mail import uidset
from fancymail.mail.bits import changing, gained, having, masked
from fancymail.mail.mailbox import DELETED, SEEN
from fancymail.mail.uidset import LARGEST, Ranges
from fancymail.storage.ports.mailboxes import State
from fancymail.storage.sqlite.shard import ReadShard, Shard

SPAN = 250                      # UIDs of a row: it fills a page of the database
ALL: Ranges = [(1, LARGEST)]
PLACES = 1 << 25                # rows that a mailbox may have; its number stands above them

_WITHIN = "place BETWEEN ? AND ?"
_ROW = f"SELECT * FROM marks WHERE {_WITHIN}"
_SINCE = f"SELECT * FROM marks WHERE {_WITHIN} AND modseq > ?"
_DELETED = f"SELECT * FROM marks INDEXED BY marks_deleted WHERE {_WITHIN} AND deleted > 0"
_KEEP = ("INSERT INTO marks VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET messages = excluded.messages, deleted = excluded.deleted, "
         "modseq = excluded.modseq, octets = excluded.octets")

_RUN = re.compile(b"\1+")

Spans = list[tuple[int, int]]


class Marked(NamedTuple):
    """What a change of flags did."""

    changed: Ranges
    refused: Ranges             # changed since the modseq that was the limit, so they were left alone
    unseen: int                 # how many more there are now
    deleted: int


class Row:
    """The marks of the UIDs from `first` on: flags and modseqs, parallel."""

    __slots__ = ("place", "messages", "deleted", "modseq", "first", "flags", "modseqs")

    def __init__(self, place: int, messages: int = 0, deleted: int = 0, modseq: int = 0, octets: bytes = b"") -> None:
        self.place, self.messages, self.deleted, self.modseq = place, messages, deleted, modseq
        self.first = _first(place)
        words = _words(octets)
        self.flags, self.modseqs = words[::2], words[1::2]

    def present(self, spans: Spans) -> Sequence[int]:
        """The places of messages in some spans of it."""
        modseqs = self.modseqs
        if len(spans) == 1 and self.messages == len(modseqs):
            return range(spans[0][0], min(spans[0][1], self.messages))
        return [index for low, high in spans for index in range(low, min(high, len(modseqs))) if modseqs[index]]

    def set(self, index: int, flags: int, modseq: int) -> None:
        """Give a new message its marks."""
        lacking = index + 1 - len(self.flags)
        if lacking > 0:
            self.flags.frombytes(bytes(8 * lacking))
            self.modseqs.frombytes(bytes(8 * lacking))
        self.flags[index], self.modseqs[index] = flags, modseq
        self.messages, self.deleted, self.modseq = self.messages + 1, self.deleted + bool(flags & DELETED), max(self.modseq, modseq)

    def packed(self) -> tuple:
        """As a row of the table."""
        words = array("Q", bytes(16 * len(self.flags)))
        words[::2], words[1::2] = self.flags, self.modseqs
        return self.place, self.messages, self.deleted, self.modseq, _octets(words)


def load(shard: Shard | ReadShard, mailbox: int) -> tuple[array, array, array]:
    """UIDs, flags and modseqs of a whole mailbox, parallel, by UID."""
    uids, words = array("I"), array("Q")
    for place, messages, octets in shard.execute(f"SELECT place, messages, octets FROM marks WHERE {_WITHIN}", _places(mailbox, 0, PLACES - 1)):
        first, count = _first(place), len(octets) // 16
        if messages == count:
            uids.extend(range(first, first + count))
            words.frombytes(octets)
        else:
            for index in Row(place, messages, octets=octets).present([(0, count)]):
                uids.append(first + index)
                words.frombytes(octets[16 * index:16 * index + 16])
    if sys.byteorder == "big":
        words.byteswap()
    return uids, words[::2], words[1::2]


def states(shard: Shard | ReadShard, mailbox: int, uids: Ranges = ALL, modseq: int = 0) -> list[State]:
    """Those of a set of UIDs that changed after `modseq`, by UID."""
    found = []
    for row, spans in _rows(shard, mailbox, uids, _SINCE, modseq):
        first, flags, modseqs = row.first, row.flags, row.modseqs
        found += [State(first + index, flags[index], modseqs[index]) for index in row.present(spans) if modseqs[index] > modseq]
    return found


def add(shard: Shard, mailbox: int, added: Iterable[tuple[int, int, int]]) -> None:
    """Give messages their marks: (uid, flags, modseq) by UID."""
    rows = []
    for window, group in groupby(added, lambda state: (state[0] - 1) // SPAN):
        (place, _) = _places(mailbox, window, window)
        row = Row(*(shard.one(_ROW, (place, place)) or (place,)))
        for uid, flags, modseq in group:
            row.set(uid - row.first, flags, modseq)
        rows.append(row)
    _write(shard, rows)


def change(shard: Shard, mailbox: int, uids: Ranges, masks: tuple[int, int], modseq: int, limit: int | None) -> Marked:
    """First clear, then set bits (masks: those to set, those to clear), where the modseq is at most `limit`; what changes gets `modseq`.

    The rows are laid end to end and changed together: a whole mailbox is one run of flags.
    """
    rows = list(_touched(shard, mailbox, uids, _ROW))
    words = _words(b"".join([columns[-1] for columns, _ in rows]))
    flags, modseqs = words[::2], words[1::2]
    flips, refused = _flips(rows, flags, modseqs, masks, limit)
    before, unseen = flags[:] if (masks[0] | masks[1]) & DELETED else flags, 0
    runs = [(run.start(), run.end()) for run in _RUN.finditer(flips)]
    for low, high in runs:
        had = flags[low:high]
        flags[low:high], modseqs[low:high] = masked(had, *masks), array("Q", [modseq]) * len(had)
        unseen -= gained(had, *masks, SEEN)
    words[::2], words[1::2] = flags, modseqs
    octets, changed, kept, deleted = _octets(words), [], [], 0
    start = at = 0
    for (place, messages, marked, _, old), _ in rows:
        end, first = start + len(old) // 16, _first(place)
        while at < len(runs) and runs[at][1] <= start:
            at += 1
        within = at
        while within < len(runs) and runs[within][0] < end:
            low, high = runs[within]
            changed.append((first + max(low - start, 0), first + min(high, end) - start - 1))
            within += 1
        if within > at:
            more = having(flags[start:end], DELETED) - having(before[start:end], DELETED) if before is not flags else 0
            deleted += more
            kept.append((place, messages, marked + more, modseq, octets[16 * start:16 * end]))
        start = end
    shard.connection.executemany(_KEEP, kept)
    return Marked(uidset.merge(changed), uidset.compress(refused), unseen, deleted)


def _flips(rows: list[tuple[tuple, Spans]], flags: array, modseqs: array, masks: tuple[int, int], limit: int | None) -> tuple[bytes, list[int]]:
    """Of rows end to end: an octet for each place, 1 where masks change the flags of a message that is asked for and may be changed. And the
    UIDs of those that may not, since they changed after `limit`."""
    flips, refused, start = bytearray(changing(flags, *masks)), [], 0
    for (place, messages, _, most, octets), spans in rows:
        count = len(octets) // 16
        if spans[0][0] > 0 or spans[0][1] < count:          # not all of it is asked for
            after = 0
            for low, high in (*spans, (count, count)):
                flips[start + after:start + min(low, count)] = bytes(max(min(low, count) - after, 0))
                after = min(high, count)
        if messages < count or limit is not None and most > limit:
            bound = most if limit is None else limit
            part = modseqs[start:start + count]
            flips[start:start + count] = bytes([flip and 0 < modseq <= bound for flip, modseq in zip(flips[start:start + count], part)])
            if most > bound:
                refused += [_first(place) + index for low, high in spans for index in range(low, min(high, count)) if part[index] > bound]
        start += count
    return bytes(flips), refused


def take(shard: Shard, mailbox: int, uids: Ranges, deleted: bool = False) -> list[tuple[int, int]]:
    """Take messages away: (uid, flags) of those that went, by UID. deleted: only those that are marked \\Deleted."""
    rows, went = [], []
    for row, spans in _rows(shard, mailbox, uids, _DELETED if deleted else _ROW):
        there = [index for index in row.present(spans) if not deleted or row.flags[index] & DELETED]
        went += [(row.first + index, row.flags[index]) for index in there]
        row.messages, row.deleted = row.messages - len(there), row.deleted - sum(bool(row.flags[index] & DELETED) for index in there)
        for index in there:
            row.flags[index] = row.modseqs[index] = 0
        if there:
            rows.append(row)
    _write(shard, rows)
    return went


def drop(shard: Shard, mailbox: int) -> None:
    """All of a mailbox."""
    shard.execute(f"DELETE FROM marks WHERE {_WITHIN}", _places(mailbox, 0, PLACES - 1))


def _write(shard: Shard, rows: Sequence[Row]) -> None:
    """Keep rows; those without a message go."""
    for row in rows:
        if row.messages:
            shard.execute(_KEEP, row.packed())
        else:
            shard.execute("DELETE FROM marks WHERE place = ?", (row.place,))


def _rows(shard: Shard | ReadShard, mailbox: int, uids: Ranges, sql: str, *more: int) -> Iterator[tuple[Row, Spans]]:
    """The rows that a set of UIDs touches, each read once, and which spans of each are asked."""
    for columns, spans in _touched(shard, mailbox, uids, sql, *more):
        yield Row(*columns), spans


def _touched(shard: Shard | ReadShard, mailbox: int, uids: Ranges, sql: str, *more: int) -> Iterator[tuple[tuple, Spans]]:
    """The same, as the table has them."""
    at = 0
    for window, last in uidset.merge(((first - 1) // SPAN, (last - 1) // SPAN) for first, last in uids):
        for columns in shard.execute(sql, (*_places(mailbox, window, last), *more)).fetchall():
            start = _first(columns[0])
            before, behind = start - 1, start + SPAN
            while uids[at][1] <= before:
                at += 1
            asked = at
            while asked < len(uids) and uids[asked][0] < behind:
                asked += 1
            yield columns, [(first - start if first > before else 0, (final + 1 if final < behind else behind) - start)
                            for first, final in uids[at:asked]]


def _first(place: int) -> int:
    """The first UID of a row."""
    return place % PLACES * SPAN + 1


def _places(mailbox: int, first: int, last: int) -> tuple[int, int]:
    return mailbox * PLACES + first, mailbox * PLACES + last


def _words(octets: bytes) -> array:
    words = array("Q", octets)
    if sys.byteorder == "big":
        words.byteswap()
    return words


def _octets(words: array) -> bytes:
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()
