"""A mailbox as a process knows it: UIDs, flags and modseqs as three arrays, shared by all sessions that have it open.

Made by servers/imap from what a Reader loads, and brought up to date by what changed. 20 octets a message, however many sessions there are. New
messages are appended in place; a removal makes new arrays, so that views which still show the old ones keep them. It says nothing to anybody:
that is View's.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from fancymail.mail.bits import gained, masked
from fancymail.core.imap.orders import Orders
from fancymail.core.imap.ranges import common, runs, without
from fancymail.mail.kept import Kept
from fancymail.mail.mailbox import DELETED, SEEN, SYSTEM_FLAGS
from fancymail.mail.uidset import LARGEST, Ranges, merge
from fancymail.storage.ports.reader import Changes, Loaded

if TYPE_CHECKING:
    from fancymail.core.imap.view import View

FEW = 16                            # runs of removed messages that are cut out of the arrays one by one
WORDS = 1 << 18                     # octets of flags as they are said
GONE = 50_000                       # removed messages whose flags are remembered for views that show them still
REMOVED = 220                       # octets that such a one takes, about
LOG = 20_000                        # UIDs remembered in the log; a view that is further behind looks through all of the arrays


class Step(NamedTuple):
    """What one call of `apply` or `mark` did to messages that were there."""

    changed: Sequence[int]          # UIDs, with the flags that each had before
    before: Sequence[int]
    vanished: Sequence[int]
    modseq: int = 0                 # of `mark`: one STORE did all of it, and nothing else


class BoxImage:
    """One mailbox at `modseq`. Parallel arrays, ascending by UID."""

    def __init__(self, loaded: Loaded, log: int = LOG) -> None:
        self.mailbox = loaded.mailbox
        self.keywords = dict(loaded.keywords)
        self.uids, self.flags, self.modseqs = loaded.uids, loaded.flags, loaded.modseqs
        self.gone: dict[int, tuple[int, int]] = {}      # UID -> (flags, modseq) of removed ones that a view may show
        self.views: WeakSet[View] = WeakSet()
        self.fresh: Ranges = []                         # UIDs that this process claimed as \Recent and no client was told of
        self.step = 0                                   # steps so far
        self.orders = Orders()
        self._log: deque[Step] = deque()
        self._logged, self._limit = 0, log
        self._say()

    @property
    def modseq(self) -> int:
        """Everything up to here is known."""
        return self.mailbox.highestmodseq

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def octets(self) -> int:
        """What its arrays hold, and what it remembers of words and of removed messages."""
        arrays = sum(column.itemsize * len(column) for column in (self.uids, self.flags, self.modseqs))
        return arrays + self._words.octets + len(self.gone) * REMOVED

    def apply(self, changes: Changes) -> bool:
        """Take what changed since `modseq`; False if that is too long ago to know: then load, and `replace`."""
        if changes.vanished is None:
            return False
        if changes.mailbox.highestmodseq < self.modseq:
            return True                                 # an answer that was overtaken
        self._keywords(changes.keywords)
        self._take(changes.states, self._removed(changes.vanished))
        self.mailbox = changes.mailbox
        return True

    def mark(self, uids: Ranges, modseq: int, add: int, remove: int) -> bool:
        """Do what one STORE did to the store, which said which UIDs it changed. False if something else came between: then ask the reader."""
        if modseq <= self.modseq:
            return True                                 # it is known already, or nothing was changed
        if modseq != self.modseq + 1 or not uids:
            return False
        changed, before = array("I"), array("Q")
        for first, last in uids:
            low = bisect_left(self.uids, first)
            high = bisect_right(self.uids, last, low)
            changed += self.uids[low:high]
            before += self.flags[low:high]
            self.flags[low:high] = masked(self.flags[low:high], add, remove)
            self.modseqs[low:high] = array("Q", [modseq]) * (high - low)
        self._remember(Step(changed, before, (), modseq))
        self.mailbox = self.mailbox._replace(highestmodseq=modseq, unseen=self.mailbox.unseen - gained(before, add, remove, SEEN),
                                             deleted=self.mailbox.deleted + gained(before, add, remove, DELETED))
        return True

    def replace(self, loaded: Loaded) -> None:
        """Become what was loaded anew."""
        if loaded.mailbox.highestmodseq < self.modseq:
            return
        there = set(loaded.uids)
        self._keywords(loaded.keywords)
        self._take(zip(loaded.uids, loaded.flags, loaded.modseqs), [uid for uid in self.uids if uid not in there])
        self.mailbox = loaded.mailbox
        self.orders = Orders()                          # what is derived may have been made anew; a SORT under way keeps its order in the old ones

    def find(self, uid: int) -> int:
        """The index of a UID, -1 if it is not there (any more)."""
        place = bisect_left(self.uids, uid)
        return place if place < len(self.uids) and self.uids[place] == uid else -1

    def claimed(self, first: int, before: int) -> None:
        """The store gave these UIDs to this process: the view that tells of them first has them as \\Recent."""
        self.mailbox = self.mailbox._replace(recent_floor=before)
        if first < before:
            self.fresh = merge([*self.fresh, (first, before - 1)])

    def take_recent(self, first: int, last: int, keep: bool) -> Ranges:
        """Which of these a client is the first to be told of (RFC 3501 2.3.2); `keep`: it only reads, and takes them from nobody."""
        asked = [(first, last)]
        if keep:
            return common(asked, merge([*self.fresh, (self.mailbox.recent_floor, LARGEST)]))
        taken = common(asked, self.fresh) if self.fresh else []
        if taken:
            self.fresh = without(self.fresh, taken)
        return taken

    def steps(self, since: int) -> list[Step] | None:
        """What happened after `since` steps; None when that is forgotten."""
        missing = self.step - since
        if missing > len(self._log):
            return None
        return [self._log[index] for index in range(len(self._log) - missing, len(self._log))]

    def bits(self, names: Iterable[str]) -> tuple[int, list[str]]:
        """Flags as bits, and the keywords that the mailbox does not have yet. Keywords have no case."""
        known = {name.lower(): bit for name, bit in self.keywords.items()}
        flags, missing = 0, []
        for name in names:
            if name in SYSTEM_FLAGS:
                flags |= SYSTEM_FLAGS[name]
            elif name.lower() in known:
                flags |= known[name.lower()]
            else:
                missing.append(name)
        return flags, missing

    def _keywords(self, keywords: dict[str, int]) -> None:
        if keywords != self.keywords:
            self.keywords = dict(keywords)
            self._say()

    def _say(self) -> None:
        """`words(flags)`: flags as they stand between the parentheses of a FLAGS list."""
        named = [(bit, name.encode()) for name, bit in (*SYSTEM_FLAGS.items(), *self.keywords.items())]
        self._words = Kept(WORDS, lambda flags: b" ".join([name for bit, name in named if flags & bit]))
        self.words = self._words.__getitem__

    def _removed(self, vanished: Ranges) -> list[int]:
        """Those of the UIDs that are here."""
        removed: list[int] = []
        for first, last in vanished:
            low = bisect_left(self.uids, first)
            removed += self.uids[low:bisect_right(self.uids, last, low)]
        return removed

    def _take(self, states: Iterable[tuple[int, int, int]], removed: list[int]) -> None:
        changed, before = self._change(states)
        if removed:
            self._remove(removed)
        if changed or removed:
            self._remember(Step(changed, before, removed))

    def _remember(self, step: Step) -> None:
        self._log.append(step)
        self._logged += len(step.changed) + len(step.vanished) + 1
        self.step += 1
        while self._logged > self._limit and len(self._log) > 1:            # a STORE of all messages is a step, however long
            oldest = self._log.popleft()
            self._logged -= len(oldest.changed) + len(oldest.vanished) + 1

    def _change(self, states: Iterable[tuple[int, int, int]]) -> tuple[list[int], list[int]]:
        """Set flags and append what is new. Returns UIDs and their flags before."""
        uids, flags, modseqs = self.uids, self.flags, self.modseqs
        changed, before = [], []
        last, place = (uids[-1] if uids else 0), 0
        for uid, bits, modseq in states:
            if uid > last:
                uids.append(uid)
                flags.append(bits)
                modseqs.append(modseq)
                last = uid
                continue
            if place >= len(uids) or uids[place] != uid:        # states come by UID: mostly the next one is it
                place = bisect_left(uids, uid)
                if uids[place] != uid:                          # removed already: an answer that was overtaken
                    continue
            if modseqs[place] < modseq:
                changed.append(uid)
                before.append(flags[place])
                flags[place], modseqs[place] = bits, modseq
            place += 1
        return changed, before

    def _remove(self, removed: list[int]) -> None:
        """Make arrays without these ascending UIDs: new ones, since views and searches under way hold the old ones."""
        if all(view.current for view in self.views):
            self.gone.clear()
        places, place = [], 0
        for uid in removed:
            place = bisect_left(self.uids, uid, place)
            places.append(place)
            self.gone[uid] = (self.flags[place], self.modseqs[place])
        for uid in list(islice(self.gone, max(0, len(self.gone) - GONE))):      # a client that says nothing for long, while another goes through mail
            del self.gone[uid]
        left = runs(places)
        self.uids, self.flags, self.modseqs = (_without(column, left) for column in (self.uids, self.flags, self.modseqs))


def _without(column: array, spans: list[tuple[int, int]]) -> array:
    """What is left of an array: a few spans are cut out of a copy, of many the rest is put together."""
    if len(spans) <= FEW:
        kept = column[:]
        for low, high in reversed(spans):
            del kept[low:high]
        return kept
    kept, start = array(column.typecode), 0
    for low, high in spans:
        kept += column[start:low]
        start = high
    kept += column[start:]
    return kept
