"""Sets of UIDs as ranges: the form in which mailboxes, change logs and clients speak of many messages at once.

Used by storage, core/mailboxes.py and fm-mailbox. A set is a list of (first, last) pairs, both included, ascending and apart.
It never expands a range: "1:4294967295" costs one pair, whoever sends it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

Ranges = list[tuple[int, int]]

LARGEST = 2**32 - 1                        # RFC 9051 9: nz-number is an unsigned 32-bit integer
_ITEM = re.compile(r"([1-9][0-9]{0,9})(?::([1-9][0-9]{0,9}|\*))?")


def parse(text: str) -> Ranges:
    """Read "3", "1:4,9" or "7:*"; raises ValueError on anything else."""
    pairs = []
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"not a UID set: {text[:80]!r}")
        first = int(match[1])
        last = LARGEST if match[2] == "*" else int(match[2] or first)
        if max(first, last) > LARGEST:
            raise ValueError("a UID is at most 4294967295")
        pairs.append((min(first, last), max(first, last)))      # RFC 9051 9: 2:4 and 4:2 are equal
    return merge(pairs)


def merge(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Sort ranges and join those that touch or overlap."""
    merged: Ranges = []
    for first, last in sorted(pairs):
        if merged and first <= merged[-1][1] + 1:
            if last > merged[-1][1]:
                merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def ranges(uids: Iterable[int]) -> Ranges:
    """The ranges that hold exactly these UIDs."""
    return compress(sorted(set(uids)))


def compress(numbers: Sequence[int]) -> Ranges:
    """The ranges that hold exactly these numbers, which ascend."""
    count = len(numbers)
    if not count:
        return []
    if numbers[-1] - numbers[0] == count - 1:            # one run: what mailboxes mostly are
        return [(numbers[0], numbers[-1])]
    starts = [numbers[0], *[after for before, after in zip(numbers, numbers[1:]) if after != before + 1]]
    ends = [*[before for before, after in zip(numbers, numbers[1:]) if after != before + 1], numbers[-1]]
    return list(zip(starts, ends))


def contains(uids: Ranges, uid: int) -> bool:
    """Whether a UID is in a set, by bisection."""
    place = bisect_right(uids, (uid, LARGEST)) - 1
    return place >= 0 and uids[place][0] <= uid <= uids[place][1]


def text(uids: Ranges) -> str:
    """Write a set as "1:4,9"."""
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in uids)
