"""Sequence sets: how a client names messages, by number or by UID (RFC 9051 9, sequence-set; RFC 5182, `$`).

Parsed by protocol/imap, resolved by core/imap once it is known which number `*` is. A set never grows with what it names: "1:*"
is one range. It does not know whether its numbers are sequence numbers or UIDs; the command that holds it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..kept import kept
from ..uidset import LARGEST, Ranges, merge
from ..uidset import text as text_of

ZERO = ord("0")
MOST_RANGES = 16_384                # ranges that are left after joining what touches

_SHAPE = re.compile(rb"(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?(?:,(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?)*+")


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """`ranges`: those without `*`, ascending and apart. `star`: the least n of all `n:*`, LARGEST for a lone `*`, 0 for none.
    `saved`: it is `$`, the result of the last SEARCH that was told to save it."""

    ranges: tuple[tuple[int, int], ...] = ()
    star: int = 0
    saved: bool = False

    def resolve(self, largest: int) -> Ranges:
        """The ranges it stands for when `*` is `largest`: 0 when there is no message, and then `*` is none.

        Numbers beyond `largest` stay in; who forbids them compares the last one. `$` is not resolved here."""
        if not self.star or not largest:
            return list(self.ranges)
        # RFC 9051 9: "7:*" names the largest one even where that is 5.
        return merge([*self.ranges, (min(self.star, largest), largest)])

    @property
    def single(self) -> int:
        """The number, if this names exactly one without `*`; else 0."""
        if len(self.ranges) == 1 and not self.star and self.ranges[0][0] == self.ranges[0][1]:
            return self.ranges[0][0]
        return 0

    def __str__(self) -> str:
        if self.saved:
            return "$"
        parts = [text_of(list(self.ranges))] if self.ranges else []
        if self.star:
            parts.append("*" if self.star == LARGEST else f"{self.star}:*")
        return ",".join(parts)


SAVED = SequenceSet(saved=True)
EVERY = SequenceSet(star=1)


def parse_sequence(text: bytes) -> SequenceSet:
    """Read "3", "1:4,9", "7:*", "*" or "$"; raises ValueError on anything else, and where it names too much."""
    if text.isdigit() and len(text) < 10 and text[0] != ZERO:       # there are as many of these as messages: read sooner than weighed and kept
        number = int(text)
        return SequenceSet(((number, number),))
    if len(text) <= 64:
        return _parse_short(text)
    return _parse(text)


def _parse(text: bytes) -> SequenceSet:
    if text == b"$":
        return SAVED
    if not _SHAPE.fullmatch(text):
        raise ValueError("not a sequence set")
    pairs, star = [], 0
    for item in text.split(b","):
        first, colon, last = item.partition(b":")
        if first == b"*" or last == b"*":
            number = last if first == b"*" else first
            least = LARGEST if number in (b"", b"*") else int(number)
            star = min(star, least) if star else least
        elif colon:
            one, two = int(first), int(last)
            pairs.append((one, two) if one <= two else (two, one))       # RFC 9051 9: 4:2 is 2:4
        else:
            number = int(first)
            pairs.append((number, number))
    ranges = tuple(merge(pairs))
    if len(ranges) > MOST_RANGES:
        raise ValueError("too many ranges in a sequence set")
    if ranges and ranges[-1][1] > LARGEST or star > LARGEST:
        raise ValueError("a number is at most 4294967295")
    return SequenceSet(ranges, star)


_parse_short = kept(1 << 20)(_parse)
