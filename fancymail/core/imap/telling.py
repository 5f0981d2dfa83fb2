"""The FETCH answers by which a view tells of flags and modseqs: those of ten thousand messages by one formatting.

Part of View.flush (core/imap/view.py), which says of which messages. It changes nothing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from fancymail.mail.bits import masked

if TYPE_CHECKING:
    from fancymail.core.imap.view import View

RECENT = 1 << 63                # no flag has this bit: keywords end at 60


def tell_flags(view: View, changed: Mapping[int, bool], uid: bool) -> bytes:
    """A FETCH of each message that is there, by UID. changed: UID -> True, False where only the modseq is news; `uid`: behind a UID command."""
    image, modseq = view.image, view.condstore or view.qresync
    uids = array("I", sorted(changed if modseq or all(changed.values()) else [uid for uid, flags in changed.items() if flags]))
    places = places_of(image.uids, uids)
    if len(places) < len(uids):
        uids = array("I", [image.uids[place] for place in places])
    shown = places if view.current else places_of(view.uids, uids)
    columns: list[Sequence[int]] = [[place + 1 for place in shown]]
    opening = b"* %d FETCH ("
    if view.uidonly:                                    # RFC 9586 3.3
        columns, opening = [uids], b"* %d UIDFETCH ("
    elif uid or view.qresync:                           # RFC 7162 3.2.4 wants the UID
        columns, opening = [*columns, uids], b"* %d FETCH (UID %d "
    if modseq:
        columns.append(_picked(image.modseqs, places))
    lines = _Lines(opening, b" MODSEQ (%d))\r\n" if modseq else b")\r\n")
    return b"".join(map(lines.__getitem__, _words(view, changed, uids, _picked(image.flags, places)))) % tuple(chain.from_iterable(zip(*columns)))


class _Lines(dict):
    """Words of flags -> the template of an answer; None: only the modseq is told."""

    def __init__(self, opening: bytes, ending: bytes) -> None:
        self.opening, self.ending = opening, ending

    def __missing__(self, words: bytes | None) -> bytes:
        told = self.ending.lstrip() if words is None else b"FLAGS (%b)%b" % (words.replace(b"%", b"%%"), self.ending)
        line = self[words] = self.opening + told
        return line


def _words(view: View, changed: Mapping[int, bool], uids: array, flags: Sequence[int]) -> Sequence[bytes | None]:
    words = flag_words(view, uids, flags)
    return words if all(changed.values()) else [text if changed[uid] else None for text, uid in zip(words, uids)]


def flag_words(view: View, uids: Sequence[int], flags: Sequence[int]) -> list[bytes]:
    """What stands between the parentheses of FLAGS for each of these ascending UIDs, \\Recent among them."""
    if not view.recent:
        return list(map(view.image.words, flags))
    marked = array("Q", flags)
    for first, last in view.recent:
        low = bisect_left(uids, first)
        high = bisect_right(uids, last, low)
        marked[low:high] = masked(marked[low:high], RECENT, 0)
    known = {bits: _text(view, bits) for bits in set(marked)}
    return [known[bits] for bits in marked]


def _text(view: View, bits: int) -> bytes:
    if bits < RECENT:
        return view.image.words(bits)
    words = view.image.words(bits ^ RECENT)
    return b"\\Recent " + words if words else b"\\Recent"


def places_of(there: array, uids: array) -> Sequence[int]:
    """Where among ascending UIDs these ascending ones stand, as far as they are there."""
    low = bisect_left(there, uids[0]) if uids else 0
    if there[low:low + len(uids)] == uids:              # one run of them, as after a STORE of all
        return range(low, low + len(uids))
    places, place, count = [], low, len(there)
    for uid in uids:
        if place < count and there[place] != uid:       # the next one is mostly the one behind
            place = bisect_left(there, uid, place)
        if place == count:
            break
        if there[place] == uid:
            places.append(place)
            place += 1
    return places


def _picked(column: array, places: Sequence[int]) -> Sequence[int]:
    return column[places.start:places.stop] if isinstance(places, range) else [column[place] for place in places]
