"""Flags of many messages at once: of an array of 64-bit words each octet that changes is translated by a table, a few nanoseconds a message.

Used by core/imap and storage/sqlite/marks.py. It knows arrays of type "Q" and nothing of what their bits mean.
"""

from __future__ import annotations

import sys
from array import array
from functools import lru_cache

OCTETS = range(8) if sys.byteorder == "little" else range(7, -1, -1)       # where the octet of bits 0 to 7 stands, of bits 8 to 15, ...


def masked(words: array, add: int, remove: int) -> array:
    """The words with the bits of `remove` taken away, then those of `add` set."""
    octets = bytearray(words)
    for number, place in enumerate(OCTETS):
        adding, removing = add >> 8 * number & 255, remove >> 8 * number & 255
        if adding or removing:
            octets[place::8] = octets[place::8].translate(_table(adding, removing))
    return array("Q", bytes(octets))


def changing(words: array, add: int, remove: int) -> bytes:
    """Which of the words `masked` would make others: an octet of each, 1 or 0."""
    octets, changed = bytes(words), 0
    for number, place in enumerate(OCTETS):
        adding, removing = add >> 8 * number & 255, remove >> 8 * number & 255
        if adding or removing:
            changed |= int.from_bytes(octets[place::8].translate(_differing(adding, removing)), "big")
    return changed.to_bytes(len(words), "big")


def having(words: array, bit: int) -> int:
    """How many of the words have a bit."""
    number = (bit.bit_length() - 1) // 8
    octets = bytes(words)[OCTETS[number]::8]
    return len(octets.translate(None, _without(bit >> 8 * number)))


def gained(before: array, add: int, remove: int, bit: int) -> int:
    """How many more of the words have a bit once `masked` was done to all of them."""
    if not (add | remove) & bit:
        return 0
    had = having(before, bit)
    return len(before) - had if add & bit else -had


@lru_cache(64)
def _table(add: int, remove: int) -> bytes:
    return bytes([octet & ~remove | add for octet in range(256)])


@lru_cache(64)
def _differing(add: int, remove: int) -> bytes:
    return bytes([octet & ~remove | add != octet for octet in range(256)])


@lru_cache(8)
def _without(bit: int) -> bytes:
    return bytes([octet for octet in range(256) if not octet & bit])
