"""Arithmetic of UID sets: what two have in common, what one has that the other has not, places as spans.

Used all over core/imap. Sets are those of mail.uidset: ascending pairs that do not touch. The work grows with the pairs, never with what they name.
"""

from __future__ import annotations

from collections.abc import Sequence

from fancymail.mail.uidset import Ranges, compress


def runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending places of a view as spans: (first, behind the last)."""
    return [(first, last + 1) for first, last in compress(places)]


def common(left: Ranges, right: Ranges) -> Ranges:
    """What is in both."""
    found: Ranges = []
    i = j = 0
    while i < len(left) and j < len(right):
        first, last = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if first <= last:
            found.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return found


def without(left: Ranges, right: Ranges) -> Ranges:
    """What is in `left` only."""
    found: Ranges = []
    j = 0
    for first, last in left:
        while j < len(right) and right[j][1] < first:
            j += 1
        k = j
        while k < len(right) and right[k][0] <= last:
            if right[k][0] > first:
                found.append((first, right[k][0] - 1))
            first = right[k][1] + 1
            k += 1
        if first <= last:
            found.append((first, last))
    return found


def size(ranges: Ranges) -> int:
    """How many numbers a set has."""
    return sum([last - first + 1 for first, last in ranges])
