"""The mailboxes of one account in PostgreSQL (ports.mailboxes.AccountMailboxes): a light object made per use.

Made by storage/postgres/mailboxes.py. Every method that changes something is one transaction that locks the account's row first, then a few
statements, whatever the number of messages; the counters of a mailbox change in the same transaction as what they count.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from operator import or_

from fancymail.mail import uidset
from fancymail.mail.mailbox import DELETED, DELIMITER, FIRST_KEYWORD_BIT, KEYWORDS, SEEN, SYSTEM_BITS
from fancymail.mail.uidset import Ranges
from fancymail.storage.identity import object_id
from fancymail.storage.ports.mailboxes import (
    Change, Delivered, Delivery, Mailbox, MailboxExists, Message, Name, NoSuchMailbox, State, Stored, TooManyKeywords, Usage)

from .annotations import JOINED, MAILBOX, SIZE, Annotations, columns
from .contents import throw_away
from .database import Database, Transaction, transactional
from .delivery import deliver

MESSAGE = "{0}.uid, {0}.flags, {1}, msg.blob, msg.length, msg.prefix, msg.internaldate, {0}.savedate, msg.emailid, msg.threadid, msg.octets"
IN_RANGES = """JOIN unnest($3::bigint[], $4::bigint[]) AS pair(first, last) ON {0}.uid BETWEEN pair.first AND pair.last
    WHERE {0}.account = $1 AND {0}.mailbox = $2"""
UNSEEN = f"(count(*) FILTER (WHERE flags & {SEEN} = 0))"
MARKED = f"(count(*) FILTER (WHERE flags & {DELETED} <> 0))"

CHANGES_KEPT = 1000             # records of the change log of each mailbox, at least
VANISHED_KEPT = 10_000          # ranges of expunged UIDs of each mailbox; a client that asks for older ones reads the mailbox anew
TRIM = 64                       # modseqs between two looks whether a history is too long


class PostgresAccount(Annotations):
    """One account's mailboxes."""

    __slots__ = ("changes_kept",)

    def __init__(self, db: Database, name: str, changes_kept: int = CHANGES_KEPT) -> None:
        self.db, self.name, self.changes_kept, self._number = db, name, changes_kept, 0

    def transaction(self) -> Transaction:
        """All or nothing; nests."""
        return self.db.transaction()

    # Mailboxes

    def mailboxes(self) -> list[Mailbox]:
        """All, by name."""
        rows = self.db.rows(f"SELECT {MAILBOX} FROM mailbox WHERE account = (SELECT id FROM owner WHERE name = $1) ORDER BY name", self.name)
        return [Mailbox(*row) for row in rows]

    def mailbox(self, name: Name) -> Mailbox | None:
        """One, or None."""
        row = self.db.one(f"SELECT {MAILBOX} FROM mailbox WHERE account = (SELECT id FROM owner WHERE name = $1) "
                          f"AND {'id' if isinstance(name, int) else 'name'} = $2", self.name, name)
        return None if row is None else Mailbox(*row)

    @transactional
    def create(self, name: str, now: int, special_use: str = "", subscribed: bool = True) -> Mailbox:
        """Make a mailbox; its UIDVALIDITY is above all that this account ever had."""
        account = self.lock()
        if self.mailbox(name) is not None:
            raise MailboxExists(name)
        number, validity = self.db.one("UPDATE owner SET uidvalidity = greatest(uidvalidity + 1, $2), boxes = boxes + 1 WHERE id = $1 "
                                       "RETURNING boxes, uidvalidity", account, now)
        wished = self.db.rows("DELETE FROM subscription WHERE account = $1 AND name = $2 RETURNING 1", account, name)
        self.db.rows("INSERT INTO mailbox (account, id, name, uidvalidity, special_use, subscribed, objectid, created) "
                     "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", account, number, name, validity, special_use, int(subscribed or bool(wished)),
                     object_id(self.name, validity), now)
        return self._find(name)

    @transactional
    def rename(self, name: Name, to: str) -> None:
        """Rename a mailbox and all below it. Ids, UIDs and UIDVALIDITY stay: sessions go on."""
        account, name = self.lock(), self._find(name).name
        below, boxes = name + DELIMITER, self.mailboxes()
        moving = {box.name: box.id for box in boxes if box.name == name or box.name.startswith(below)}
        there = {box.name for box in boxes} - moving.keys()
        for old in moving:
            if to + old[len(name):] in there or to == name:
                raise MailboxExists(to + old[len(name):])
        # By way of a name that nothing has, since "a" may become "a/b" while "a/b" becomes "a/b/b".
        numbers = list(moving.values())
        self.db.rows("UPDATE mailbox SET name = E'\\x01' || id WHERE account = $1 AND id = ANY($2)", account, numbers)
        self.db.rows("UPDATE mailbox SET name = new.name FROM unnest($2::bigint[], $3::text[]) AS new(id, name) WHERE mailbox.account = $1 "
                     "AND mailbox.id = new.id", account, numbers, [to + old[len(name):] for old in moving])

    @transactional
    def remove(self, name: Name, now: int) -> None:
        """Remove a mailbox; its messages stay kept as long as expunged ones do, for sessions that still see them."""
        account, box = self.lock(), self._find(name)
        self.db.rows("INSERT INTO removed VALUES ($1, $2, $3, $4, $5, $6)", account, box.id, box.name, box.special_use,
                     json.dumps(self.keywords(box.id)), now)
        self.db.rows("INSERT INTO tomb SELECT account, mailbox, uid, flags, mid, savedate, $3 FROM state WHERE account = $1 AND mailbox = $2",
                     account, box.id, now)
        for table in ("state", "vanished", "keyword", "change", "acl", "metadata"):
            self.db.rows(f"DELETE FROM {table} WHERE account = $1 AND mailbox = $2", account, box.id)
        self.db.rows("DELETE FROM mailbox WHERE account = $1 AND id = $2", account, box.id)
        if box.subscribed:          # RFC 9051 6.3.7: a subscription outlives its mailbox
            self.db.rows("INSERT INTO subscription VALUES ($1, $2) ON CONFLICT DO NOTHING", account, box.name)

    def keywords(self, name: Name) -> dict[str, int]:
        """Keyword -> its bit."""
        box = self._find(name)
        return {word: 1 << bit for word, bit in self.db.rows("SELECT name, bit FROM keyword WHERE account = $1 AND mailbox = $2 ORDER BY bit",
                                                             self.number(), box.id)}

    @transactional
    def keyword(self, name: Name, keyword: str) -> int:
        """The bit of a keyword, made when new. RFC 9051 2.3.2: keywords have no case."""
        account, box = self.lock(), self._find(name)
        known = {text.lower(): bit for text, bit in self.keywords(box.id).items()}
        bit = known.get(keyword.lower())
        if bit is None:
            if len(known) >= KEYWORDS:
                raise TooManyKeywords(f"{name} has {KEYWORDS} keywords already")
            bit = 1 << FIRST_KEYWORD_BIT + len(known)
            self.db.rows("INSERT INTO keyword VALUES ($1, $2, $3, $4)", account, box.id, keyword, bit.bit_length() - 1)
        return bit

    # Messages

    @transactional
    def deliver(self, deliveries: Sequence[Delivery], now: int) -> list[Delivered]:
        """Add messages; see storage/postgres/delivery.py."""
        return deliver(self, deliveries, now)

    def sizes(self, name: Name) -> list[tuple[int, int]]:
        """(UID, size) of every message."""
        box = self._find(name)
        return [tuple(row) for row in self.db.rows(f"SELECT uid, {SIZE} FROM state {JOINED.format('state')} WHERE state.account = $1 "
                                                   "AND mailbox = $2 ORDER BY uid", self.number(), box.id)]

    def states(self, name: Name, modseq: int = 0) -> list[State]:
        """Of every message changed after `modseq`."""
        box = self._find(name)
        return list(map(State._make, self.db.rows("SELECT uid, flags, modseq FROM state WHERE account = $1 AND mailbox = $2 AND modseq > $3 "
                                                  "ORDER BY uid", self.number(), box.id, modseq)))

    def message(self, name: Name, uid: int) -> Message | None:
        """One, or None."""
        return next(iter(self.messages(name, [(uid, uid)])), None)

    def messages(self, name: Name, uids: Ranges) -> list[Message]:
        """Those that exist."""
        return self._messages("state", "state.modseq", name, uids)

    def kept(self, name: Name, uids: Ranges) -> list[Message]:
        """Expunged ones that are still kept."""
        return self._messages("tomb", "0::bigint", name, uids)

    def _messages(self, table: str, modseq: str, name: Name, uids: Ranges) -> list[Message]:
        sql = f"SELECT {MESSAGE.format(table, modseq)} FROM {table} {JOINED.format(table)} {IN_RANGES.format(table)} ORDER BY uid"
        box = self._find(name)
        return list(map(Message._make, self.db.rows(sql, self.number(), box.id, *columns(uids))))

    @transactional
    def set_flags(self, name: Name, uids: Ranges, add: int, remove: int, unchanged_since: int | None = None) -> Stored:
        """First clear, then set bits: one statement, and one for the refused if there may be any."""
        account, box = self.lock(), self._find(name)
        limit, refused, modseq = box.highestmodseq if unchanged_since is None else unchanged_since, [], box.highestmodseq + 1
        if unchanged_since is not None:
            refused = uidset.ranges(uid for uid, in self.db.rows(f"SELECT uid FROM state {IN_RANGES.format('state')} AND modseq > $5 ORDER BY uid",
                                                                 account, box.id, *columns(uids), limit))
        rows = self.db.rows(f"""WITH old AS (SELECT uid, flags FROM state {IN_RANGES.format("state")} AND modseq <= $5
            AND ((flags & ~$6::bigint) | $7) <> flags) UPDATE state SET flags = (old.flags & ~$6::bigint) | $7, modseq = $8 FROM old
            WHERE state.account = $1 AND state.mailbox = $2 AND state.uid = old.uid RETURNING state.uid, old.flags, state.flags""",
                            account, box.id, *columns(uids), limit, remove, add, modseq)
        if not rows:
            return Stored(box.highestmodseq, [], refused)
        changed = uidset.ranges(sorted(uid for uid, _, _ in rows))
        unseen = sum((not new & SEEN) - (not old & SEEN) for _, old, new in rows)
        deleted = sum(bool(new & DELETED) - bool(old & DELETED) for _, old, new in rows)
        self._changed(account, box, Change(modseq, "flags", changed, add, remove), 0, unseen, deleted, 0)
        return Stored(modseq, changed, refused)

    @transactional
    def copy(self, name: Name, uids: Ranges, to: Name, now: int) -> list[tuple[int, int]]:
        """Copy messages: new UIDs, the same `msg` rows. What is there twice keeps its email id and its thread."""
        account, box, target = self.lock(), self._find(name), self._find(to)
        rows = self.db.rows(f"SELECT uid, flags, state.mid, {SIZE} FROM state {JOINED.format('state')} {IN_RANGES.format('state')} ORDER BY uid",
                            account, box.id, *columns(uids))
        if not rows:
            return []
        used = reduce(or_, [flags for _, flags, _, _ in rows])
        bits = {} if name == to else {bit: self.keyword(to, word) for word, bit in self.keywords(name).items() if bit & used}
        flags = [translate(flags, bits) for _, flags, _, _ in rows]
        first = self.enter(account, target, flags, [mid for _, _, mid, _ in rows], sum(size for *_, size in rows), now)
        return [(row[0], first + place) for place, row in enumerate(rows)]

    @transactional
    def expunge(self, name: Name, uids: Ranges, now: int, deleted: bool = False) -> list[int]:
        """Take messages away: a tombstone keeps each for a while, a range of vanished UIDs is kept longer."""
        account, box = self.lock(), self._find(name)
        modseq = box.highestmodseq + 1
        rows = self.db.rows(f"""WITH went AS (DELETE FROM state USING unnest($3::bigint[], $4::bigint[]) AS pair(first, last) WHERE account = $1
            AND mailbox = $2 AND uid BETWEEN pair.first AND pair.last {f"AND flags & {DELETED} <> 0" if deleted else ""} RETURNING state.*),
            buried AS (INSERT INTO tomb SELECT account, mailbox, uid, flags, mid, savedate, $5::bigint FROM went)
            SELECT uid, flags, {SIZE} FROM went {JOINED.format("went")} ORDER BY uid""", account, box.id, *columns(uids), now)
        if rows:
            vanished = uidset.ranges(uid for uid, _, _ in rows)
            self.db.rows("INSERT INTO vanished SELECT $1, $2, $3, * FROM unnest($4::bigint[], $5::bigint[])",
                         account, box.id, modseq, *columns(vanished))
            self._changed(account, box, Change(modseq, "vanish", vanished), -len(rows), -sum(not flags & SEEN for _, flags, _ in rows),
                          -sum(bool(flags & DELETED) for _, flags, _ in rows), -sum(size for *_, size in rows))
        return [uid for uid, _, _ in rows]

    @transactional
    def undelete(self, name: Name, since: int, now: int) -> list[tuple[int, int]]:
        """Bring back what was expunged since: under new UIDs, since a UID is never used again. It comes back without \\Deleted."""
        account = self.lock()
        box, buried = self._risen(account, name, since, now)
        rows = self.db.rows("DELETE FROM tomb WHERE account = $1 AND mailbox = $2 AND expunged >= $3 RETURNING uid, flags, mid",
                            account, buried, since)
        if not rows:
            return []
        rows.sort()
        mids = [mid for _, _, mid in rows]
        (octets,) = self.db.one(f"SELECT sum({SIZE})::bigint FROM msg JOIN unnest($2::bigint[]) AS each(mid) USING (mid) WHERE account = $1",
                                account, mids)
        first = self.enter(account, box, [flags & ~DELETED for _, flags, _ in rows], mids, octets, now)
        return [(row[0], first + place) for place, row in enumerate(rows)]

    def _risen(self, account: int, name: Name, since: int, now: int) -> tuple[Mailbox, int]:
        """A mailbox, made anew if it was removed since, and the number under which its messages were buried."""
        box = self.mailbox(name)
        if box is not None:
            return box, box.id
        row = self.db.one(f"SELECT mailbox, name, special_use, keywords FROM removed WHERE account = $1 "
                          f"AND {'mailbox' if isinstance(name, int) else 'name'} = $2 AND at >= $3 ORDER BY at DESC, mailbox DESC LIMIT 1",
                          account, name, since)
        if row is None:
            raise NoSuchMailbox(name)
        number, name, special_use, keywords = row
        box = self.create(name, now, special_use)
        for keyword, bit in json.loads(keywords).items():
            self.db.rows("INSERT INTO keyword VALUES ($1, $2, $3, $4)", account, box.id, keyword, bit.bit_length() - 1)
        self.db.rows("DELETE FROM removed WHERE account = $1 AND mailbox = $2", account, number)
        return box, number

    @transactional
    def claim_recent(self, name: Name) -> tuple[int, int]:
        """The UIDs (first, before) that no session was told yet (RFC 3501 2.3.2: \\Recent is told to one session)."""
        account, box = self.lock(), self._find(name)
        if box.recent_floor < box.uidnext:
            self.db.rows("UPDATE mailbox SET recent_floor = $3 WHERE account = $1 AND id = $2", account, box.id, box.uidnext)
        return box.recent_floor, box.uidnext

    # History and sums

    def vanished(self, name: Name, modseq: int) -> Ranges | None:
        """UIDs expunged after `modseq`; None when that is too long ago to know."""
        box = self._find(name)
        if modseq < box.vanish_floor:
            return None
        return uidset.merge(map(tuple, self.db.rows("SELECT first, last FROM vanished WHERE account = $1 AND mailbox = $2 AND modseq > $3",
                                                    self.number(), box.id, modseq)))

    def changes(self, name: Name, modseq: int) -> list[Change]:
        """The log after `modseq`."""
        box = self._find(name)
        rows = self.db.rows("SELECT modseq, kind, uids, added, removed FROM change WHERE account = $1 AND mailbox = $2 AND modseq > $3 "
                            "ORDER BY modseq", self.number(), box.id, modseq)
        return [Change(number, kind, uidset.parse(uids), added, removed) for number, kind, uids, added, removed in rows]

    def usage(self) -> Usage:
        """What the account holds."""
        return Usage(*self.db.one("SELECT count(*), coalesce(sum(messages), 0)::bigint, coalesce(sum(octets), 0)::bigint FROM mailbox "
                                  "WHERE account = (SELECT id FROM owner WHERE name = $1)", self.name))

    @transactional
    def forget(self, now: int) -> None:
        """Remove the account's mail. Its row stays: should the account come back, its UIDVALIDITY goes on from there."""
        if not self.number():
            return
        account = self.lock()
        for box in self.mailboxes():
            self.remove(box.name, now)
        large = self.db.rows("SELECT DISTINCT blob FROM msg WHERE account = $1 AND octets IS NULL", account)
        throw_away(self.db, [blob for blob, in large], now)
        for table in ("tomb", "derived", "msg", "relative", "delivered", "subscription", "metadata", "removed"):
            self.db.rows(f"DELETE FROM {table} WHERE account = $1", account)

    # For this module and storage/postgres/delivery.py

    def enter(self, account: int, box: Mailbox, flags: Sequence[int], mids: Sequence[int], octets: int, now: int) -> int:
        """Give messages the next UIDs of a mailbox, all under one modseq; the first of them."""
        self.db.rows("INSERT INTO state SELECT $1, $2, $3 + place - 1, flags, $4, mid, $5 FROM unnest($6::bigint[], $7::bigint[]) "
                     "WITH ORDINALITY AS new(flags, mid, place)", account, box.id, box.uidnext, box.highestmodseq + 1, now, list(flags), list(mids))
        self._count(account, box, len(flags), sum(not bits & SEEN for bits in flags), sum(bool(bits & DELETED) for bits in flags), octets,
                    box.uidnext + len(flags))
        return box.uidnext

    def _count(self, account: int, box: Mailbox, messages: int, unseen: int, deleted: int, octets: int, uidnext: int) -> None:
        self.db.rows("UPDATE mailbox SET uidnext = $3, highestmodseq = highestmodseq + 1, messages = messages + $4, unseen = unseen + $5, "
                     "deleted = deleted + $6, octets = octets + $7 WHERE account = $1 AND id = $2",
                     account, box.id, uidnext, messages, unseen, deleted, octets)
        if (modseq := box.highestmodseq + 1) % TRIM == 0:
            self._trim(account, box.id, modseq)

    def _changed(self, account: int, box: Mailbox, change: Change, messages: int, unseen: int, deleted: int, octets: int) -> None:
        self._count(account, box, messages, unseen, deleted, octets, box.uidnext)
        self.db.rows("INSERT INTO change VALUES ($1, $2, $3, $4, $5, $6, $7)", account, box.id, change.modseq, change.kind, uidset.text(change.uids),
                     change.add, change.remove)

    def _trim(self, account: int, mailbox: int, modseq: int) -> None:
        """Keep the histories of a mailbox bounded, and say how far back they still reach."""
        self.db.rows("DELETE FROM change WHERE account = $1 AND mailbox = $2 AND modseq <= $3", account, mailbox, modseq - self.changes_kept)
        row = self.db.one("SELECT modseq FROM vanished WHERE account = $1 AND mailbox = $2 ORDER BY modseq DESC, first DESC LIMIT 1 OFFSET $3",
                          account, mailbox, VANISHED_KEPT)
        if row is not None:
            self.db.rows("DELETE FROM vanished WHERE account = $1 AND mailbox = $2 AND modseq <= $3", account, mailbox, row[0])
            self.db.rows("UPDATE mailbox SET vanish_floor = greatest(vanish_floor, $3) WHERE account = $1 AND id = $2", account, mailbox, row[0])


def translate(flags: int, bits: dict[int, int]) -> int:
    """Flags with their keyword bits exchanged. No table: they stay as they are."""
    if not bits or flags <= SYSTEM_BITS:
        return flags
    return flags & SYSTEM_BITS | sum(there for here, there in bits.items() if flags & here)
