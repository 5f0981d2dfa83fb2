"""A mailbox for tests that does what storage does to one, as the values of the reader port; and a client that believes what it is told."""

from __future__ import annotations

import re
from array import array

from fancymail.core.imap.image import LOG, BoxImage
from fancymail.core.imap.ranges import compress
from fancymail.mail import uidset
from fancymail.mail.mailbox import SEEN
from fancymail.storage.ports.mailboxes import Mailbox, State
from fancymail.storage.ports.reader import Changes, Loaded


class Box:
    """UIDs, flags, modseqs; every change has a modseq of its own."""

    def __init__(self, flags: dict[int, int] | None = None, keywords: dict[str, int] | None = None) -> None:
        self.states = {uid: (bits, 1) for uid, bits in (flags or {}).items()}
        self.uidnext = max(self.states, default=0) + 1
        self.modseq = 1
        self.keywords = keywords or {}
        self.expunged: dict[int, int] = {}          # UID -> modseq

    @property
    def mailbox(self) -> Mailbox:
        unseen = sum(not bits & SEEN for bits, _ in self.states.values())
        return Mailbox(1, "INBOX", 77, self.uidnext, self.modseq, 0, "", 1, "F77", len(self.states), unseen, 0, 0, 1, 0)

    def add(self, *flags: int) -> list[int]:
        self.modseq += 1
        uids = []
        for bits in flags:
            self.states[self.uidnext] = (bits, self.modseq)
            uids.append(self.uidnext)
            self.uidnext += 1
        return uids

    def store(self, uids, action: str, flags: int) -> None:
        """As fm-mailbox: only what changes gets the new modseq."""
        self.modseq += 1
        for uid in uids:
            if uid in self.states:
                bits = self.states[uid][0]
                new = {"set": flags, "add": bits | flags, "remove": bits & ~flags}[action]
                if new != bits:
                    self.states[uid] = (new, self.modseq)

    def expunge(self, uids) -> None:
        self.modseq += 1
        for uid in uids:
            if self.states.pop(uid, None):
                self.expunged[uid] = self.modseq

    def load(self) -> Loaded:
        uids = sorted(self.states)
        return Loaded(self.mailbox, dict(self.keywords), array("I", uids), array("Q", [self.states[uid][0] for uid in uids]),
                      array("Q", [self.states[uid][1] for uid in uids]))

    def changes(self, modseq: int) -> Changes:
        states = [State(uid, *self.states[uid]) for uid in sorted(self.states) if self.states[uid][1] > modseq]
        return Changes(self.mailbox, dict(self.keywords), states, self.vanished(modseq))

    def vanished(self, modseq: int):
        return compress(sorted(uid for uid, when in self.expunged.items() if when > modseq))

    def image(self, log: int = LOG) -> BoxImage:
        return BoxImage(self.load(), log)


class Client:
    """Counts as RFC 9051 says: EXISTS adds, EXPUNGE takes away, FETCH says flags. It knows nothing else."""

    def __init__(self, uids, flags, modseqs) -> None:
        self.uids, self.flags, self.modseqs = list(uids), list(flags), list(modseqs)
        self.unknown = 0                            # messages that EXISTS spoke of and that were not asked about yet

    def hear(self, line: bytes) -> None:
        if match := re.fullmatch(rb"\* ([0-9]+) EXISTS\r\n", line):
            assert int(match[1]) > len(self.uids), line
            new = int(match[1]) - len(self.uids)
            self.uids += [None] * new
            self.flags += [None] * new
            self.modseqs += [None] * new
        elif match := re.fullmatch(rb"\* ([0-9]+) EXPUNGE\r\n", line):
            self._remove(int(match[1]) - 1)
        elif match := re.fullmatch(rb"\* VANISHED ([0-9:,]+)\r\n", line):
            for first, last in uidset.parse(match[1].decode()):
                for uid in range(first, last + 1):
                    self._remove(self.uids.index(uid))
        elif match := re.fullmatch(rb"\* ([0-9]+) (UID)?FETCH \((?:UID ([0-9]+) ?)?(?:FLAGS \(([^)]*)\) ?)?(?:MODSEQ \(([0-9]+)\))?\)\r\n", line):
            place = self.uids.index(int(match[1])) if match[2] else int(match[1]) - 1
            assert 0 <= place < len(self.uids), line
            if match[3] and self.uids[place] is not None:
                assert self.uids[place] == int(match[3])
            if match[4] is not None:
                self.flags[place] = match[4]
            if match[5]:
                self.modseqs[place] = int(match[5])
        else:
            assert re.fullmatch(rb"\* (?:FLAGS|OK|[0-9]+ RECENT).*\r\n", line), line

    def learn(self, view) -> None:
        """FETCH of what it does not know."""
        uids, flags, modseqs = view.state(0, view.count)
        for place, uid in enumerate(self.uids):
            if uid is None:
                self.uids[place], self.flags[place] = uids[place], view.image.words(flags[place])
                self.modseqs[place] = modseqs[place]

    def _remove(self, place: int) -> None:
        assert 0 <= place < len(self.uids)
        for each in (self.uids, self.flags, self.modseqs):
            del each[place]
