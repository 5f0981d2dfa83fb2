"""The mailboxes of one account in SQLite (ports.mailboxes.AccountMailboxes): a light object made per use, bound to a shard and a name.

Made by storage/sqlite/mailboxes.py. Every method is a few statements on indexed rows, inside one (possibly nested) transaction; the counters
of a mailbox change in the same transaction as what they count. It never reads content and never asks for the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_

from fancymail.mail import uidset
from fancymail.mail.mailbox import DELETED, DELIMITER, FIRST_KEYWORD_BIT, KEYWORDS, SEEN, SYSTEM_BITS
from fancymail.mail.uidset import Ranges
from fancymail.storage.identity import object_id
from fancymail.storage.ports.mailboxes import (
    Change, Delivered, Delivery, Mailbox, MailboxExists, Message, Name, NoSuchMailbox, State, Stored, TooManyKeywords, Usage)
from fancymail.storage.sqlite import contents, marks
from fancymail.storage.sqlite.annotations import MAILBOX, SIZE, Annotations
from fancymail.storage.sqlite.delivery import deliver
from fancymail.storage.sqlite.shard import Shard

MESSAGE = "uid, {marks}, blob, length, prefix, internaldate, savedate, emailid, threadid, octets"
WHOLE = "JOIN msg USING (mid) LEFT JOIN content ON content.number = msg.content"


CHANGES_KEPT = 1000             # records of the change log of each mailbox, at least
VANISHED_KEPT = 10_000          # ranges of expunged UIDs of each mailbox; a client that asks for older ones reads the mailbox anew
TRIM = 64                       # modseqs between two looks whether a history is too long


class SqliteAccount(Annotations):
    """One account's mailboxes."""

    __slots__ = ("changes_kept",)

    def __init__(self, shard: Shard, name: str, changes_kept: int = CHANGES_KEPT) -> None:
        self.shard, self.name, self.changes_kept = shard, name, changes_kept

    def transaction(self) -> Shard:
        """All or nothing; nests."""
        return self.shard

    # Mailboxes

    def mailboxes(self) -> list[Mailbox]:
        """All, by name."""
        sql = f"SELECT {MAILBOX} FROM mailbox JOIN account ON account.id = mailbox.account WHERE account.name = ? ORDER BY mailbox.name"
        return [Mailbox(*row) for row in self.shard.execute(sql, (self.name,))]

    def mailbox(self, name: Name) -> Mailbox | None:
        """One, or None."""
        row = self.shard.one(f"SELECT {MAILBOX} FROM mailbox JOIN account ON account.id = mailbox.account "
                             f"WHERE account.name = ? AND mailbox.{_column(name)} = ?", (self.name, name))
        return None if row is None else Mailbox(*row)

    def create(self, name: str, now: int, special_use: str = "", subscribed: bool = True) -> Mailbox:
        """Make a mailbox; its UIDVALIDITY is above all that this account ever had."""
        with self.shard as shard:
            shard.execute("INSERT INTO account(name) VALUES (?) ON CONFLICT DO NOTHING", (self.name,))
            if self.mailbox(name) is not None:
                raise MailboxExists(name)
            account, validity = shard.one("UPDATE account SET uidvalidity = max(uidvalidity + 1, ?) WHERE name = ? RETURNING id, uidvalidity",
                                          (now, self.name))
            shard.execute("INSERT INTO mailbox(account, name, uidvalidity, special_use, subscribed, objectid, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
                          (account, name, validity, special_use, int(subscribed), object_id(self.name, validity), now))
            if shard.one("DELETE FROM subscription WHERE account = ? AND name = ? RETURNING 1", (account, name)):
                shard.execute("UPDATE mailbox SET subscribed = 1 WHERE account = ? AND name = ?", (account, name))
            return self._find(name)

    def rename(self, name: Name, to: str) -> None:
        """Rename a mailbox and all below it. Ids, UIDs and UIDVALIDITY stay: sessions go on."""
        with self.shard as shard:
            name = self._find(name).name
            below = name + DELIMITER
            moving = {box.name: box.id for box in self.mailboxes() if box.name == name or box.name.startswith(below)}
            there = {box.name for box in self.mailboxes()} - moving.keys()
            for old, number in moving.items():
                new = to + old[len(name):]
                if new in there or to == name:
                    raise MailboxExists(new)
            # By way of a name that nothing has, since "a" may become "a/b" while "a/b" becomes "a/b/b".
            for number in moving.values():
                shard.execute("UPDATE mailbox SET name = ? WHERE id = ?", (f"\0{number}", number))
            for old, number in moving.items():
                shard.execute("UPDATE mailbox SET name = ? WHERE id = ?", (to + old[len(name):], number))

    def remove(self, name: Name, now: int) -> None:
        """Remove a mailbox; its messages stay kept as long as expunged ones do, for sessions that still see them."""
        with self.shard as shard:
            box, keywords = self._find(name), self.keywords(name)
            self._bury(box, marks.take(shard, box.id, marks.ALL), now)
            shard.execute("INSERT INTO removed SELECT id, account, name, special_use, ?, ? FROM mailbox WHERE id = ?",
                          (json.dumps(keywords), now, box.id))
            for table in ("entry", "vanished", "keyword", "change", "acl", "metadata"):
                shard.execute(f"DELETE FROM {table} WHERE mailbox = ?", (box.id,))
            (account,) = shard.one("DELETE FROM mailbox WHERE id = ? RETURNING account", (box.id,))
            if box.subscribed:          # RFC 9051 6.3.7: a subscription outlives its mailbox
                shard.execute("INSERT INTO subscription VALUES (?, ?) ON CONFLICT DO NOTHING", (account, box.name))

    def keywords(self, name: Name) -> dict[str, int]:
        """Keyword -> its bit."""
        return dict(self.shard.execute("SELECT name, 1 << bit FROM keyword WHERE mailbox = ? ORDER BY bit", (self._find(name).id,)))

    def keyword(self, name: Name, keyword: str) -> int:
        """The bit of a keyword, made when new. RFC 9051 2.3.2: keywords have no case."""
        with self.shard as shard:
            box = self._find(name)
            known = {text.lower(): bit for text, bit in shard.execute("SELECT name, bit FROM keyword WHERE mailbox = ?", (box.id,))}
            bit = known.get(keyword.lower())
            if bit is None:
                bit = FIRST_KEYWORD_BIT + len(known)
                if len(known) >= KEYWORDS:
                    raise TooManyKeywords(f"{name} has {KEYWORDS} keywords already")
                shard.execute("INSERT INTO keyword VALUES (?, ?, ?)", (box.id, keyword, bit))
            return 1 << bit

    # Messages

    def deliver(self, deliveries: Sequence[Delivery], now: int) -> list[Delivered]:
        """Add messages; see storage/sqlite/delivery.py. Nothing of it can fail alone, so it needs no savepoint of its own."""
        if self.shard.depth:
            return deliver(self, deliveries, now)
        with self.shard:
            return deliver(self, deliveries, now)

    def sizes(self, name: Name) -> list[tuple[int, int]]:
        """(UID, size) of every message."""
        return self.shard.execute(f"SELECT uid, {SIZE} FROM entry JOIN msg USING (mid) WHERE mailbox = ? ORDER BY uid",
                                  (self._find(name).id,)).fetchall()

    def states(self, name: Name, modseq: int = 0) -> list[State]:
        """Of every message changed after `modseq`."""
        return marks.states(self.shard, self._find(name).id, modseq=modseq)

    def message(self, name: Name, uid: int) -> Message | None:
        """One, or None."""
        return next(iter(self.messages(name, [(uid, uid)])), None)

    def messages(self, name: Name, uids: Ranges) -> list[Message]:
        """Those that exist."""
        box = self._find(name)
        sql = f"SELECT {MESSAGE.format(marks='0, 0')} FROM entry {WHOLE} WHERE {RANGE} ORDER BY uid"
        known = {state.uid: state for state in marks.states(self.shard, box.id, uids)}
        return [Message(*known.get(row[0], row[:3]), *row[3:]) for row in self._rows(sql, box.id, uids)]

    def kept(self, name: Name, uids: Ranges) -> list[Message]:
        """Expunged ones that are still kept."""
        sql = f"SELECT {MESSAGE.format(marks='flags, 0')} FROM tomb {WHOLE} WHERE {RANGE} ORDER BY uid"
        return list(map(Message._make, self._rows(sql, self._find(name).id, uids)))

    def set_flags(self, name: Name, uids: Ranges, add: int, remove: int, unchanged_since: int | None = None) -> Stored:
        """First clear, then set bits."""
        with self.shard as shard:
            box = self._find(name)
            modseq = box.highestmodseq + 1
            marked = marks.change(shard, box.id, uids, (add, remove), modseq, unchanged_since)
            if not marked.changed:
                return Stored(box.highestmodseq, [], marked.refused)
            self._changed(box, Change(modseq, "flags", marked.changed, add, remove), 0, marked.unseen, marked.deleted, 0)
        return Stored(modseq, marked.changed, marked.refused)

    def copy(self, name: Name, uids: Ranges, to: Name, now: int) -> list[tuple[int, int]]:
        """Copy messages: new UIDs, the same `msg` rows. What is there twice keeps its email id and its thread."""
        with self.shard as shard:
            box, target = self._find(name), self._find(to)
            rows = list(self._rows(f"SELECT uid, mid, {SIZE} FROM entry JOIN msg USING (mid) WHERE {RANGE} ORDER BY uid", box.id, uids))
            if not rows:
                return []
            states = marks.states(shard, box.id, uids)
            bits = self._translation(name, to, reduce(or_, [state.flags for state in states], 0))
            flags = {state.uid: translate(state.flags, bits) for state in states}
            self.add(target, [(flags[uid], mid) for uid, mid, _ in rows], sum(size for *_, size in rows), now)
            return [(uid, target.uidnext + place) for place, (uid, _, _) in enumerate(rows)]

    def expunge(self, name: Name, uids: Ranges, now: int, deleted: bool = False) -> list[int]:
        """Take messages away: a tombstone keeps each for a while, a range of vanished UIDs is kept longer."""
        with self.shard as shard:
            box = self._find(name)
            went = marks.take(shard, box.id, uids, deleted)
            if went:
                gone, modseq = [uid for uid, _ in went], box.highestmodseq + 1
                vanished, octets = uidset.compress(gone), self._bury(box, went, now)
                shard.connection.executemany("INSERT INTO vanished VALUES (?, ?, ?, ?)", [(box.id, modseq, *pair) for pair in vanished])
                unseen, marked = sum(not flags & SEEN for _, flags in went), sum(bool(flags & DELETED) for _, flags in went)
                self._changed(box, Change(modseq, "vanish", vanished), -len(went), -unseen, -marked, -octets)
        return [uid for uid, _ in went]

    def _bury(self, box: Mailbox, went: list[tuple[int, int]], now: int) -> int:
        """Make tombs of entries whose marks were taken; their octets."""
        octets = 0
        self.shard.execute(BURY, (json.dumps(went), box.id, now))
        for first, last in uidset.compress([uid for uid, _ in went]):
            octets += self.shard.one(f"SELECT ifnull(sum({SIZE}), 0) FROM entry JOIN msg USING (mid) WHERE {RANGE}", (box.id, first, last))[0]
            self.shard.execute(f"DELETE FROM entry WHERE {RANGE}", (box.id, first, last))
        return octets

    def undelete(self, name: Name, since: int, now: int) -> list[tuple[int, int]]:
        """Bring back what was expunged since: under new UIDs, since a UID is never used again. It comes back without \\Deleted."""
        with self.shard as shard:
            box, buried = self._risen(name, since, now)
            rows = shard.execute("DELETE FROM tomb WHERE mailbox = ? AND expunged >= ? RETURNING uid, flags, mid", (buried, since)).fetchall()
            if not rows:
                return []
            rows.sort()
            sizes = [shard.one(f"SELECT {SIZE} FROM msg WHERE mid = ?", (mid,))[0] for *_, mid in rows]
            self.add(box, [(flags & ~DELETED, mid) for _, flags, mid in rows], sum(sizes), now)
            return [(uid, box.uidnext + place) for place, (uid, _, _) in enumerate(rows)]

    def _risen(self, name: Name, since: int, now: int) -> tuple[Mailbox, int]:
        """A mailbox, made anew if it was removed since, and the number under which its messages were buried."""
        box = self.mailbox(name)
        if box is not None:
            return box, box.id
        row = self.shard.one("SELECT mailbox, removed.name, special_use, keywords FROM removed JOIN account ON account.id = removed.account "
                             f"WHERE account.name = ? AND removed.{'mailbox' if isinstance(name, int) else 'name'} = ? AND at >= ? "
                             "ORDER BY at DESC, mailbox DESC LIMIT 1", (self.name, name, since))
        if row is None:
            raise NoSuchMailbox(name)
        number, name, special_use, keywords = row
        box = self.create(name, now, special_use)
        for keyword, bit in json.loads(keywords).items():
            self.shard.execute("INSERT INTO keyword VALUES (?, ?, ?)", (box.id, keyword, bit.bit_length() - 1))
        self.shard.execute("DELETE FROM removed WHERE mailbox = ?", (number,))
        return box, number

    def claim_recent(self, name: Name) -> tuple[int, int]:
        """The UIDs (first, before) that no session was told yet (RFC 3501 2.3.2: \\Recent is told to one session)."""
        with self.shard as shard:
            box = self._find(name)
            if box.recent_floor < box.uidnext:
                shard.execute("UPDATE mailbox SET recent_floor = ? WHERE id = ?", (box.uidnext, box.id))
            return box.recent_floor, box.uidnext

    # History and sums

    def vanished(self, name: Name, modseq: int) -> Ranges | None:
        """UIDs expunged after `modseq`; None when that is too long ago to know."""
        box = self._find(name)
        if modseq < box.vanish_floor:
            return None
        return uidset.merge(self.shard.execute("SELECT first, last FROM vanished WHERE mailbox = ? AND modseq > ?", (box.id, modseq)))

    def changes(self, name: Name, modseq: int) -> list[Change]:
        """The log after `modseq`."""
        rows = self.shard.execute("SELECT modseq, kind, uids, added, removed FROM change WHERE mailbox = ? AND modseq > ? ORDER BY modseq",
                                  (self._find(name).id, modseq))
        return [Change(number, kind, uidset.parse(uids), added, removed) for number, kind, uids, added, removed in rows]

    def usage(self) -> Usage:
        """What the account holds."""
        return Usage(*self.shard.one("SELECT count(*), ifnull(sum(messages), 0), ifnull(sum(octets), 0) FROM mailbox "
                                     "JOIN account ON account.id = mailbox.account WHERE account.name = ?", (self.name,)))

    def forget(self, now: int) -> None:
        """Remove the account's mail. Its row stays: should the account come back, its UIDVALIDITY goes on from there."""
        with self.shard as shard:
            row = shard.one("SELECT id FROM account WHERE name = ?", (self.name,))
            if row is None:
                return
            for box in self.mailboxes():
                self.remove(box.name, now)
            shard.execute("DELETE FROM tomb WHERE mid IN (SELECT mid FROM msg WHERE account = ?)", row)
            shard.execute("INSERT INTO garbage SELECT DISTINCT blob, ? FROM msg WHERE account = ? AND content IS NULL "
                          "ON CONFLICT DO UPDATE SET since = excluded.since", (now, *row))
            for table in ("derived", "text"):
                shard.execute(f"DELETE FROM {table} WHERE mid IN (SELECT mid FROM msg WHERE account = ?)", row)
            kept = shard.execute("SELECT DISTINCT content FROM msg WHERE account = ? AND content IS NOT NULL", row).fetchall()
            for table in ("msg", "reference", "delivered", "subscription", "metadata", "removed"):
                shard.execute(f"DELETE FROM {table} WHERE account = ?", row)
            contents.drop(shard, [number for (number,) in kept])

    # For this module and storage/sqlite/delivery.py

    def add(self, box: Mailbox, added: Sequence[tuple[int, int]], octets: int, now: int) -> None:
        """Put messages (flags, number of the message) into a mailbox: they take the UIDs from box.uidnext on, all under one modseq."""
        modseq, first = box.highestmodseq + 1, box.uidnext
        self.shard.connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)",
                                          [(box.id, uid, mid, now) for uid, (_, mid) in enumerate(added, first)])
        marks.add(self.shard, box.id, [(uid, flags, modseq) for uid, (flags, _) in enumerate(added, first)])
        unseen, deleted = sum(not flags & SEEN for flags, _ in added), sum(bool(flags & DELETED) for flags, _ in added)
        self._count(box, len(added), unseen, deleted, octets, first + len(added))

    def find_with_account(self, name: Name) -> tuple[int, Mailbox]:
        """A mailbox and the number of its account; raises NoSuchMailbox."""
        row = self.shard.one(f"SELECT mailbox.account, {MAILBOX} FROM mailbox JOIN account ON account.id = mailbox.account "
                             f"WHERE account.name = ? AND mailbox.{_column(name)} = ?", (self.name, name))
        if row is None:
            raise NoSuchMailbox(name)
        return row[0], Mailbox._make(row[1:])

    def _count(self, box: Mailbox, messages: int, unseen: int, deleted: int, octets: int, uidnext: int) -> None:
        self.shard.execute("UPDATE mailbox SET uidnext = ?, highestmodseq = highestmodseq + 1, messages = messages + ?, unseen = unseen + ?, "
                           "deleted = deleted + ?, octets = octets + ? WHERE id = ?", (uidnext, messages, unseen, deleted, octets, box.id))
        if (modseq := box.highestmodseq + 1) % TRIM == 0:
            self._trim(box.id, modseq)

    def _changed(self, box: Mailbox, change: Change, messages: int, unseen: int, deleted: int, octets: int) -> None:
        self._count(box, messages, unseen, deleted, octets, box.uidnext)
        self.shard.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?)",
                           (box.id, change.modseq, change.kind, uidset.text(change.uids), change.add, change.remove))

    def _trim(self, mailbox: int, modseq: int) -> None:
        """Keep the histories of a mailbox bounded, and say how far back they still reach."""
        self.shard.execute("DELETE FROM change WHERE mailbox = ? AND modseq <= ?", (mailbox, modseq - self.changes_kept))
        row = self.shard.one("SELECT modseq FROM vanished WHERE mailbox = ? ORDER BY modseq DESC, first DESC LIMIT 1 OFFSET ?",
                             (mailbox, VANISHED_KEPT))
        if row is not None:
            self.shard.execute("DELETE FROM vanished WHERE mailbox = ? AND modseq <= ?", (mailbox, *row))
            self.shard.execute("UPDATE mailbox SET vanish_floor = max(vanish_floor, ?) WHERE id = ?", (*row, mailbox))

    def _rows(self, sql: str, mailbox: int, uids: Ranges) -> Iterator[tuple]:
        for first, last in uids:
            yield from self.shard.execute(sql, (mailbox, first, last))

    def _translation(self, name: Name, to: str, used: int) -> dict[int, int]:
        """Bit here -> bit there, of every keyword among `used`: the same word may have another bit in another mailbox."""
        return {} if name == to else {bit: self.keyword(to, keyword) for keyword, bit in self.keywords(name).items() if bit & used}


RANGE = "mailbox = ? AND uid BETWEEN ? AND ?"


BURY = """INSERT INTO tomb SELECT mailbox, uid, pair.value ->> 1, mid, savedate, ?3 FROM json_each(?1) AS pair
    CROSS JOIN entry ON mailbox = ?2 AND uid = pair.value ->> 0"""


def _column(name: Name) -> str:
    return "id" if isinstance(name, int) else "name"


def translate(flags: int, bits: dict[int, int]) -> int:
    """Flags with their keyword bits exchanged. No table: they stay as they are."""
    if not bits or flags <= SYSTEM_BITS:
        return flags
    return flags & SYSTEM_BITS | sum(there for here, there in bits.items() if flags & here)
