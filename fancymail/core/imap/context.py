"""Searches that go on: RETURN (UPDATE) of SEARCH and SORT, told of what comes into their result and what leaves it (RFC 5267 4.3).

Kept by a session of servers/imap for as long as its mailbox is selected. Around each flush of the view it is asked twice: before, for what an EXPUNGE
takes away, since its numbers are still the old ones; behind it, for what changed. It looks only at messages that the flush told of.
"""

from __future__ import annotations

from collections.abc import Sequence

from fancymail.core.imap.search import search
from fancymail.core.imap.sort import sort
from fancymail.core.imap.view import News, View, set_text
from fancymail.mail.imap.search import Criterion, Key
from fancymail.mail.uidset import compress
from fancymail.storage.ports.reader import BoxReader

MOST = 16                           # contexts of one session; beyond: OK [NOUPDATE "tag"] (RFC 5267 4.3.1)


class Context:
    """One search that goes on. `places`: its result as it was said, in its order; `criteria` of a SORT, () for SEARCH."""

    def __init__(self, view: View, tag: bytes, key: Key, places: Sequence[int], uid: bool, criteria: Sequence[Criterion] = ()) -> None:
        self.tag, self.key, self.uid, self.criteria = tag, key, uid, tuple(criteria)
        self.uids = [view.uids[place] for place in places]

    def before(self, view: View, may_expunge: bool) -> list[bytes]:
        """What leaves the result since it is expunged: to be said before the EXPUNGE."""
        return self._remove(view, set(view.pending())) if may_expunge else []

    async def behind(self, view: View, box: BoxReader, now: int, news: News | None = None) -> list[bytes]:
        """What comes and leaves because of what a flush told: `news`, or the last one. Raises MailboxGone."""
        news = news or view.news
        touched = {*news.added, *news.changed}
        if not touched:
            return []
        places = [place for low, high in view.places(compress(sorted(touched))) for place in range(low, high)]
        matching = {view.uids[place] for place in await search(view, box, self.key, now, places=places)}
        lines = self._remove(view, touched - matching)
        new = matching.difference(self.uids)
        return lines + await self._add(view, box, new) if new else lines

    def _remove(self, view: View, gone: set[int]) -> list[bytes]:
        leaving = [(position, uid) for position, uid in enumerate(self.uids, 1) if uid in gone]
        if not leaving:
            return []
        self.uids = [uid for uid in self.uids if uid not in gone]
        if self.criteria:                               # from the end, so that no position moves before it is said
            pairs = [b"%d %d" % (position, self._number(view, uid)) for position, uid in reversed(leaving)]
        else:
            pairs = [b"0 %b" % self._set(view, [uid for _, uid in leaving])]
        return [self._line(b"REMOVEFROM (%b)" % b" ".join(pairs))]

    async def _add(self, view: View, box: BoxReader, new: set[int]) -> list[bytes]:
        self.uids = sorted({*self.uids, *new}) if not self.criteria else await self._in_order(view, box, new)
        if self.criteria:                               # from the front: each is put where it stays
            pairs = [b"%d %d" % (position, self._number(view, uid)) for position, uid in enumerate(self.uids, 1) if uid in new]
        else:
            pairs = [b"0 %b" % self._set(view, sorted(new))]
        return [self._line(b"ADDTO (%b)" % b" ".join(pairs))]

    async def _in_order(self, view: View, box: BoxReader, new: set[int]) -> list[int]:
        places = [view.sequence(uid) - 1 for uid in sorted({*self.uids, *new})]
        return [view.uids[place] for place in await sort(view, box, self.criteria, places)]

    def _number(self, view: View, uid: int) -> int:
        return uid if self.uid else view.sequence(uid)

    def _set(self, view: View, uids: list[int]) -> bytes:
        return set_text(compress([self._number(view, uid) for uid in uids]))

    def _line(self, what: bytes) -> bytes:
        return b'* ESEARCH (TAG "%b")%b %b\r\n' % (self.tag, b" UID" if self.uid else b"", what)
