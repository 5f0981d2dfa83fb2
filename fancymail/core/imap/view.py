"""What one session sees of its mailbox, and the only place where that changes: the moment at which it is told.

Made at SELECT by servers/imap, asked by fetch, search and their kin. A view shares its UIDs with the image until an expunge is held back; `flush`
walks what happened since the last time, folds it, and gives the untagged responses that bring the client to what the view shows from then on.
So a client that believes what it is told always counts as we do (RFC 9051 5.2, 7.5.1). It never asks storage and never writes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from fancymail.core.imap.image import BoxImage, Step
from fancymail.core.imap.telling import tell_flags
from fancymail.mail.imap.sequence import SequenceSet
from fancymail.mail.mailbox import SYSTEM_BITS
from fancymail.mail.uidset import Ranges, compress, contains, merge

Spans = list[tuple[int, int]]       # places in a view: (first, behind the last), from 0, ascending


class NoSuchNumber(ValueError):
    """A sequence number beyond the last message: the answer is BAD (RFC 9051 9, sequence-set)."""


class Silence(NamedTuple):
    """A STORE ... .SILENT of this session: what it did at this modseq is known to the client."""

    uids: Ranges
    modseq: int
    action: str                     # "set", "add", "remove"
    flags: int


class News(NamedTuple):
    """What the last flush told, as UIDs: for NOTIFY and updates of searches."""

    added: Sequence[int] = ()
    changed: Sequence[int] = ()
    expunged: Sequence[int] = ()


NOTHING = News()


class View:
    """One session's mailbox. `condstore`, `qresync`, `uidonly`, `rev2` and `utf8` are set by the session as the client turns them on."""

    def __init__(self, image: BoxImage, read_only: bool = False) -> None:
        self.image, self.read_only = image, read_only
        self.condstore = self.qresync = self.uidonly = self.rev2 = self.utf8 = False
        self.uids, self.count = image.uids, len(image.uids)     # of a shared array only the first `count` are shown
        self.last = image.uids[-1] if image.uids else 0         # the highest UID that was ever told
        self.saved: Ranges = []                                 # `$` of SEARCHRES, UIDs
        self.news = NOTHING
        self._held: list[int] = []                              # expunged, not told yet
        self._step = image.step
        self._modseq = image.modseq
        self._words = len(image.keywords)
        self._recent: Ranges = []
        self._recent_told = 0
        self._silences: list[Silence] = []
        self._mentions: list[Sequence[int]] = []                # UIDs
        image.views.add(self)

    @property
    def current(self) -> bool:
        """Are all expunges told?"""
        return self.uids is self.image.uids

    @property
    def held(self) -> bool:
        """Is there an expunge that the client does not know of? Then OK carries [EXPUNGEISSUED]."""
        return bool(self.pending())

    def pending(self) -> list[int]:
        """UIDs that the next flush takes away, if it may."""
        return [] if self.current else sorted({*self._held, *self._vanished(self.image.steps(self._step))})

    # What a client calls messages

    def sequence(self, uid: int) -> int:
        """The sequence number of a UID, 0 if this view doesn't show it."""
        place = bisect_left(self.uids, uid, 0, self.count)
        return place + 1 if place < self.count and self.uids[place] == uid else 0

    def resolve(self, sequence: SequenceSet, uid: bool) -> Spans:
        """The places of the messages that a client names. UIDs that aren't there are passed over; raises NoSuchNumber."""
        if sequence.saved:
            return self.places(self.saved)
        if uid:
            return self.places(sequence.resolve(self.uids[self.count - 1] if self.count else 0))
        numbers = sequence.resolve(self.count)
        if numbers and numbers[-1][1] > self.count:
            raise NoSuchNumber("there is no message of that number")
        return [(first - 1, last) for first, last in numbers]

    def places(self, uids: Ranges) -> Spans:
        """The places of those UIDs that are shown."""
        spans: Spans = []
        for first, last in uids:
            low = bisect_left(self.uids, first, spans[-1][1] if spans else 0, self.count)
            high = bisect_right(self.uids, last, low, self.count)
            if low < high:
                if spans and spans[-1][1] == low:
                    low = spans.pop()[0]
                spans.append((low, high))
        return spans

    def ranges(self, spans: Spans) -> Ranges:
        """The UIDs at places, as storage wants them: what is between two shown neighbours does not exist."""
        return [(self.uids[low], self.uids[high - 1]) for low, high in spans]

    def state(self, low: int, high: int) -> tuple[array, array, array]:
        """(UIDs, flags, modseqs) of the messages at places from low to high, as they are now; of expunged ones as they were."""
        image, uids = self.image, self.uids[low:high]
        if self.current:
            return uids, image.flags[low:high], image.modseqs[low:high]
        flags, modseqs, place = array("Q"), array("Q"), 0
        for uid in uids:
            place = bisect_left(image.uids, uid, place)
            if place < len(image.uids) and image.uids[place] == uid:
                flags.append(image.flags[place])
                modseqs.append(image.modseqs[place])
            else:
                bits, modseq = image.gone.get(uid, (0, 0))
                flags.append(bits)
                modseqs.append(modseq)
        return uids, flags, modseqs

    def whole(self) -> tuple[array, array, array]:
        """The same of all messages, without a copy where nothing was expunged: good until the next await."""
        return (self.uids, self.image.flags, self.image.modseqs) if self.current else self.state(0, self.count)

    def gone(self, spans: Spans) -> Ranges:
        """Those at places that are expunged already: COPY refuses them, STORE passes over them."""
        if self.current:
            return []
        return compress([uid for low, high in spans for uid in self.uids[low:high] if self.image.find(uid) < 0])

    # What this session did

    def meet(self, first: int, last: int) -> None:
        """The client is told of these now: those that nobody was told of before are \\Recent here."""
        if not self.rev2 and (taken := self.image.take_recent(first, last, self.read_only)):
            self._recent = merge([*self._recent, *taken])

    @property
    def claims(self) -> bool:
        """Are new messages \\Recent here and nowhere else, once their EXISTS is told?"""
        return not self.read_only and not self.rev2

    @property
    def recent(self) -> Ranges:
        """The UIDs that are \\Recent here (RFC 3501 2.3.2); a session of IMAP4rev2 does not know the word."""
        return [] if self.rev2 else self._recent

    def silence(self, uids: Ranges, modseq: int, action: str, flags: int) -> None:
        """After STORE ... .SILENT: don't say what the client knows. What others did to the same messages is said all the same.

        uids: those that it changed. With none of them `modseq` is that of somebody else's change.
        """
        if uids:
            self._silences.append(Silence(uids, modseq, action, flags))

    def mention(self, uids: Ranges) -> None:
        """After STORE: say the flags of these even where nothing changed (RFC 9051 6.4.6)."""
        for low, high in self.places(uids):
            self._mentions.append(self.uids[low:high])

    # What the client is told

    def flush(self, may_expunge: bool, uid: bool = False) -> list[bytes]:
        """Bring the client up to date: EXPUNGE or VANISHED if it may be said now, then EXISTS, RECENT, flags. `uid`: behind a UID command.

        Returns whole lines, some of them together.
        """
        image = self.image
        self.news = NOTHING
        if (self._step == image.step and not self._mentions and not (self._held and may_expunge)
                and (not image.uids or image.uids[-1] <= self.last)):
            return []
        steps = image.steps(self._step)
        changed = self._changed(steps)
        self._held = vanished = sorted({*self._held, *self._vanished(steps)})
        lines = self._new_words()
        if vanished and may_expunge:
            lines += self._expunge(vanished)
        added = self._add()
        if added:
            lines.append(b"* %d EXISTS\r\n" % self.count)
        lines += self.count_recent()
        if changed and (told := tell_flags(self, changed, uid)):
            lines.append(told)
        self.news = News(added, list(changed), vanished if may_expunge else ())
        self._step, self._modseq = image.step, image.modseq
        self._silences = [silence for silence in self._silences if silence.modseq > image.modseq]
        self._mentions.clear()
        return lines

    def _vanished(self, steps: list[Step] | None) -> list[int]:
        """UIDs that are shown and expunged since the last flush."""
        if steps is None:
            there = set(self.image.uids)
            return [uid for uid in self.uids[:self.count] if uid not in there]
        return [uid for step in steps for uid in step.vanished if uid <= self.last]

    def _changed(self, steps: list[Step] | None) -> dict[int, bool]:
        """UIDs whose flags are to be told, with True; False where only the modseq is news."""
        changed: dict[int, bool] = {}
        if steps is None:
            for uid, modseq in zip(self.image.uids, self.image.modseqs):
                if modseq > self._modseq and uid <= self.last:
                    changed[uid] = True
        else:
            own = {silence.modseq for silence in self._silences} if not (self.condstore or self.qresync) else ()
            for step in steps:
                if step.modseq in own:                          # done by a silent STORE of ours, and by nothing else
                    continue
                if not self._silences:
                    changed.update({uid: True for uid in step.changed if uid <= self.last})
                    continue
                for uid, before in zip(step.changed, step.before):
                    if uid <= self.last and changed.get(uid) is not True:
                        changed[uid] = not self._expected(uid, before)
        for uids in self._mentions:
            changed.update(dict.fromkeys(uids, True))
        return changed

    def _expected(self, uid: int, before: int) -> bool:
        """Is this change just what a silent STORE of ours did?"""
        place = self.image.find(uid)
        if place < 0:
            return True
        flags, modseq = self.image.flags[place], self.image.modseqs[place]
        for silence in self._silences:
            if silence.modseq == modseq and contains(silence.uids, uid):
                if silence.action == "set":
                    return flags == silence.flags
                return flags == (before | silence.flags if silence.action == "add" else before & ~silence.flags)
        return False

    def _expunge(self, vanished: list[int]) -> list[bytes]:
        """Take messages out of the view and say so."""
        if self.qresync or self.uidonly:                        # RFC 7162 3.2.10, RFC 9586 3.4
            lines = [b"* VANISHED %b\r\n" % set_text(compress(vanished))]
        else:
            lines = [b"* %d EXPUNGE\r\n" % (self.sequence(uid) - told) for told, uid in enumerate(vanished)]
        self._held = []
        self.uids = self.image.uids
        self.count = bisect_right(self.uids, self.last)
        return lines

    def _add(self) -> Sequence[int]:
        """Show what is new; returns its UIDs."""
        there = self.image.uids
        new = there[bisect_right(there, self.last):]
        if not self._held:
            self.uids, self.count = there, len(there)
        elif new:
            self.uids = self.uids[:self.count] + new            # a copy: the shared one is the image's, or other views' too
            self.count = len(self.uids)
        if new:
            self.meet(new[0], new[-1])
            self.last = new[-1]
        return new

    def count_recent(self) -> list[bytes]:
        """RECENT, where its number is news."""
        count = sum([high - low for low, high in self.places(self._recent)])
        if self.rev2 or count == self._recent_told:
            return []
        self._recent_told = count
        return [b"* %d RECENT\r\n" % count]

    def _new_words(self) -> list[bytes]:
        """FLAGS has to be said before a FETCH that names a new keyword."""
        if len(self.image.keywords) == self._words:
            return []
        self._words = len(self.image.keywords)
        return self.flag_lines()

    def flag_words(self, uid: int, flags: int) -> bytes:
        """The flags of a message between their parentheses, \\Recent among them."""
        words = self.image.words(flags)
        if self._recent and not self.rev2 and contains(self._recent, uid):
            return b"\\Recent " + words if words else b"\\Recent"
        return words

    def flag_lines(self) -> list[bytes]:
        """FLAGS and PERMANENTFLAGS."""
        every = SYSTEM_BITS
        for bit in self.image.keywords.values():
            every |= bit
        words = self.image.words(every)
        permanent = b"" if self.read_only else words + b" \\*"
        return [b"* FLAGS (%b)\r\n" % words, b"* OK [PERMANENTFLAGS (%b)] Kept for ever\r\n" % permanent]


def set_text(uids: Ranges) -> bytes:
    """A UID set as it goes on the wire."""
    return b",".join([b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in uids])
