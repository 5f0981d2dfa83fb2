"""Mailbox state in memory: tables of immutable rows in dictionaries, so that undoing is putting back shallow copies.

For tests and for the journey in one process. It says the same as the SQLite engine in its own way; tests/contracts/test_mailboxes.py asks both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

from fancymail.mail import uidset
from fancymail.mail.mailbox import DELETED, DELIMITER, FIRST_KEYWORD_BIT, KEYWORDS, SEEN, SYSTEM_BITS
from fancymail.mail.uidset import Ranges, contains
from fancymail.storage.ports.mailboxes import (
    Change, Delivered, Delivery, Keep, Mailbox, MailboxExists, Message, NoSuchMailbox, State, TooManyKeywords, Usage)

Key = tuple[int, int]                   # mailbox id and UID


class Msg(NamedTuple):
    """What never changes of a message."""

    account: str
    blob: bytes
    length: int
    prefix: bytes
    internaldate: int
    emailid: str
    threadid: str


class Row(NamedTuple):
    """A message in a mailbox, or (with `expunged`) in its tomb."""

    flags: int
    modseq: int
    mid: int
    savedate: int
    expunged: int = 0


class MemoryMailboxes:
    """All accounts (ports.mailboxes.MailboxStore)."""

    tables = ("validities", "boxes", "bits", "states", "tombs", "gone", "msgs", "threads", "deliveries", "log", "garbage")

    def __init__(self, changes: int = 1000) -> None:
        self.changes = changes
        self.validities: dict[str, int] = {}                            # account -> last UIDVALIDITY
        self.boxes: dict[int, tuple[str, Mailbox]] = {}                 # id -> account, mailbox
        self.bits: dict[tuple[int, str], int] = {}                      # mailbox, keyword -> bit
        self.states: dict[Key, Row] = {}
        self.tombs: dict[Key, Row] = {}
        self.gone: dict[Key, int] = {}                                  # mailbox, UID -> modseq of its expunge
        self.msgs: dict[int, Msg] = {}
        self.threads: dict[tuple[str, int], str] = {}
        self.deliveries: dict[tuple[str, int], tuple[str, int, Delivered]] = {}
        self.log: dict[Key, Change] = {}                                # mailbox, modseq -> change
        self.garbage: dict[bytes, int] = {}
        self.last = 0                                                   # of the numbers given to mailboxes and messages

    def account(self, name: str) -> MemoryAccount:
        """The mailboxes of an account."""
        return MemoryAccount(self, name)

    def accounts(self) -> list[str]:
        """Those that have mailboxes."""
        return sorted({account for account, _ in self.boxes.values()})

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nests."""
        before = {table: getattr(self, table).copy() for table in self.tables}
        try:
            yield
        except BaseException:
            for table, rows in before.items():
                setattr(self, table, rows)
            raise

    def number(self) -> int:
        """A number that was never given before."""
        self.last += 1
        return self.last

    def purge(self, now: int, keep: Keep) -> list[bytes]:
        """Let go of what is older than `keep` says."""
        for key in [key for key, row in self.tombs.items() if row.expunged < now - keep.expunged]:
            mid = self.tombs.pop(key).mid
            if all(row.mid != mid for rows in (self.states, self.tombs) for row in rows.values()):
                self.garbage[self.msgs.pop(mid).blob] = now
        self.deliveries = {key: value for key, value in self.deliveries.items() if value[1] >= now - keep.delivered}
        due = [blob for blob, since in self.garbage.items() if since <= now - keep.blobs]
        named = self.referenced(due)
        for blob in due:
            del self.garbage[blob]
        return [blob for blob in due if blob not in named]

    def referenced(self, blobs: Iterable[bytes]) -> set[bytes]:
        """Those that some message names."""
        return set(blobs) & {msg.blob for msg in self.msgs.values()}

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryAccount:
    """One account's mailboxes (ports.mailboxes.AccountMailboxes)."""

    def __init__(self, store: MemoryMailboxes, name: str) -> None:
        self.store, self.name, self.transaction = store, name, store.transaction

    # Mailboxes

    def mailboxes(self) -> list[Mailbox]:
        """All, by name."""
        return sorted((box for account, box in self.store.boxes.values() if account == self.name), key=lambda box: box.name)

    def mailbox(self, name: str) -> Mailbox | None:
        """One, or None."""
        return next((box for box in self.mailboxes() if box.name == name), None)

    def create(self, name: str, now: int, special_use: str = "", subscribed: bool = True) -> Mailbox:
        """Make a mailbox."""
        if self.mailbox(name):
            raise MailboxExists(name)
        validity = max(self.store.validities.get(self.name, 0) + 1, now)
        self.store.validities[self.name] = validity
        objectid = "F" + sha256(f"{self.name}\0{validity}".encode()).hexdigest()[:24]
        return self._put(Mailbox(self.store.number(), name, validity, 1, 1, 0, special_use, int(subscribed), objectid, 0, 0, 0, 0, 1, now))

    def rename(self, name: str, to: str) -> None:
        """Rename a mailbox and all below it."""
        self._find(name)
        moving = [box for box in self.mailboxes() if box.name == name or box.name.startswith(name + DELIMITER)]
        there = {box.name for box in self.mailboxes()} - {box.name for box in moving}
        moved = [box._replace(name=to + box.name[len(name):]) for box in moving]
        for box in moved:
            if box.name in there or name == to:
                raise MailboxExists(box.name)
        for box in moved:
            self._put(box)

    def remove(self, name: str, now: int) -> None:
        """Remove a mailbox, burying its messages."""
        box = self._find(name)
        for key in [key for key in self.store.states if key[0] == box.id]:
            self.store.tombs[key] = self.store.states.pop(key)._replace(expunged=now)
        for table in ("bits", "gone", "log"):
            setattr(self.store, table, {key: value for key, value in getattr(self.store, table).items() if key[0] != box.id})
        del self.store.boxes[box.id]

    def subscribe(self, name: str, subscribed: bool) -> None:
        """Set or clear the subscription."""
        self._put(self._find(name)._replace(subscribed=int(subscribed)))

    def keywords(self, name: str) -> dict[str, int]:
        """Keyword -> its bit."""
        box = self._find(name)
        return {word: bit for (mailbox, word), bit in self.store.bits.items() if mailbox == box.id}

    def keyword(self, name: str, keyword: str) -> int:
        """The bit of a keyword, made when new."""
        known = {word.lower(): bit for word, bit in self.keywords(name).items()}
        if keyword.lower() not in known:
            if len(known) >= KEYWORDS:
                raise TooManyKeywords(name)
            known[keyword.lower()] = self.store.bits[self._find(name).id, keyword] = 1 << FIRST_KEYWORD_BIT + len(known)
        return known[keyword.lower()]

    # Messages

    def deliver(self, deliveries: Sequence[Delivery], now: int) -> list[Delivered]:
        """Add messages."""
        with self.transaction():
            results, added = [], {}
            for delivery in deliveries:
                key = delivery.queue_id, delivery.recipient
                if delivery.queue_id and key in self.store.deliveries:
                    results.append(self.store.deliveries[key][2]._replace(duplicate=True))
                    continue
                box, rows = self._find(delivery.mailbox), added.setdefault(delivery.mailbox, [])
                rows.append((delivery.flags, self._keep(delivery)))
                results.append(Delivered(box.name, box.uidnext + len(rows) - 1, box.uidvalidity, False))
                if delivery.queue_id:
                    self.store.deliveries[key] = self.name, now, results[-1]
            for name, rows in added.items():
                self._add(self._find(name), rows, now)
            return results

    def sizes(self, name: str) -> list[tuple[int, int]]:
        """(UID, size) of every message."""
        return [(message.uid, message.size) for message in self.messages(name, [(1, uidset.LARGEST)])]

    def states(self, name: str, modseq: int = 0) -> list[State]:
        """Of every message changed after `modseq`."""
        return [State(uid, row.flags, row.modseq) for uid, row in self._rows(self.store.states, name) if row.modseq > modseq]

    def message(self, name: str, uid: int) -> Message | None:
        """One, or None."""
        return next(iter(self.messages(name, [(uid, uid)])), None)

    def messages(self, name: str, uids: Ranges) -> list[Message]:
        """Those that exist."""
        return [self._message(uid, row) for uid, row in self._rows(self.store.states, name) if contains(uids, uid)]

    def kept(self, name: str, uids: Ranges) -> list[Message]:
        """Expunged ones that are still kept."""
        return [self._message(uid, row._replace(modseq=0)) for uid, row in self._rows(self.store.tombs, name) if contains(uids, uid)]

    def set_flags(self, name: str, uids: Ranges, add: int, remove: int) -> list[State]:
        """First clear, then set bits."""
        box = self._find(name)
        modseq, changed = box.highestmodseq + 1, []
        for uid, row in self._rows(self.store.states, name):
            flags = row.flags & ~remove | add
            if contains(uids, uid) and flags != row.flags:
                self.store.states[box.id, uid] = row._replace(flags=flags, modseq=modseq)
                changed.append(State(uid, flags, modseq))
        if changed:
            self._changed(box, Change(modseq, "flags", uidset.ranges(state.uid for state in changed), add, remove))
        return changed

    def copy(self, name: str, uids: Ranges, to: str, now: int) -> list[tuple[int, int]]:
        """Copy messages under new UIDs."""
        with self.transaction():
            box = self._find(to)
            rows = [(uid, row) for uid, row in self._rows(self.store.states, name) if contains(uids, uid)]
            if not rows:
                return []
            bits = {bit: self.keyword(to, word) for word, bit in self.keywords(name).items()}
            self._add(box, [(_translate(row.flags, bits), row.mid) for _, row in rows], now)
            return [(uid, box.uidnext + place) for place, (uid, _) in enumerate(rows)]

    def expunge(self, name: str, uids: Ranges, now: int) -> list[int]:
        """Take messages away, burying them."""
        box = self._find(name)
        gone = [uid for uid, _ in self._rows(self.store.states, name) if contains(uids, uid)]
        for uid in gone:
            self.store.tombs[box.id, uid] = self.store.states.pop((box.id, uid))._replace(expunged=now)
            self.store.gone[box.id, uid] = box.highestmodseq + 1
        if gone:
            self._changed(box, Change(box.highestmodseq + 1, "vanish", uidset.ranges(gone)))
        return gone

    def undelete(self, name: str, since: int, now: int) -> list[tuple[int, int]]:
        """Bring back what was expunged since."""
        box = self._find(name)
        rows = [(uid, row) for uid, row in self._rows(self.store.tombs, name) if row.expunged >= since]
        for uid, _ in rows:
            del self.store.tombs[box.id, uid]
        if rows:
            self._add(box, [(row.flags & ~DELETED, row.mid) for _, row in rows], now)
        return [(uid, box.uidnext + place) for place, (uid, _) in enumerate(rows)]

    def claim_recent(self, name: str) -> tuple[int, int]:
        """The UIDs (first, before) that no session was told yet."""
        box = self._find(name)
        self._put(box._replace(recent_floor=box.uidnext))
        return box.recent_floor, box.uidnext

    # History and sums

    def vanished(self, name: str, modseq: int) -> Ranges | None:
        """UIDs expunged after `modseq`."""
        box = self._find(name)
        return uidset.ranges(uid for (mailbox, uid), at in self.store.gone.items() if mailbox == box.id and at > modseq)

    def changes(self, name: str, modseq: int) -> list[Change]:
        """The log after `modseq`."""
        box = self._find(name)
        return sorted(change for (mailbox, at), change in self.store.log.items() if mailbox == box.id and at > modseq)

    def usage(self) -> Usage:
        """What the account holds."""
        boxes = self.mailboxes()
        return Usage(len(boxes), sum(box.messages for box in boxes), sum(box.octets for box in boxes))

    def forget(self, now: int) -> None:
        """Remove all the mail of the account."""
        for box in self.mailboxes():
            self.remove(box.name, now)
        mids = {mid for mid, msg in self.store.msgs.items() if msg.account == self.name}
        self.store.garbage.update({self.store.msgs.pop(mid).blob: now for mid in mids})
        self.store.tombs = {key: row for key, row in self.store.tombs.items() if row.mid not in mids}
        self.store.threads = {key: value for key, value in self.store.threads.items() if key[0] != self.name}
        self.store.deliveries = {key: value for key, value in self.store.deliveries.items() if value[0] != self.name}

    # Rows

    def _put(self, box: Mailbox) -> Mailbox:
        self.store.boxes[box.id] = self.name, box
        return box

    def _find(self, name: str) -> Mailbox:
        box = self.mailbox(name)
        if box is None:
            raise NoSuchMailbox(name)
        return box

    def _rows(self, table: dict[Key, Row], name: str) -> list[tuple[int, Row]]:
        box = self._find(name)
        return sorted((uid, row) for (mailbox, uid), row in table.items() if mailbox == box.id)

    def _message(self, uid: int, row: Row) -> Message:
        msg = self.store.msgs[row.mid]
        return Message(uid, row.flags, row.modseq, msg.blob, msg.length, msg.prefix, msg.internaldate, row.savedate, msg.emailid, msg.threadid)

    def _keep(self, delivery: Delivery) -> int:
        emailid = "M" + sha256(delivery.blob + delivery.prefix).hexdigest()[:32]
        keys = [(self.name, reference) for reference in delivery.references]
        threadid = next((self.store.threads[key] for key in keys if key in self.store.threads), "T" + emailid[1:])
        for key in keys:
            self.store.threads.setdefault(key, threadid)
        mid = self.store.number()
        self.store.msgs[mid] = Msg(self.name, delivery.blob, delivery.length, delivery.prefix, delivery.internaldate, emailid, threadid)
        return mid

    def _add(self, box: Mailbox, rows: list[tuple[int, int]], now: int) -> None:
        """Put messages (flags, number) into a mailbox under one modseq."""
        modseq, last = box.highestmodseq + 1, box.uidnext + len(rows) - 1
        for uid, (flags, mid) in enumerate(rows, box.uidnext):
            self.store.states[box.id, uid] = Row(flags, modseq, mid, now)
        self._count(box._replace(uidnext=last + 1), modseq)

    def _changed(self, box: Mailbox, change: Change) -> None:
        """Log a change and count the mailbox anew."""
        self.store.log[box.id, change.modseq] = change
        for key in [key for key in self.store.log if key[0] == box.id and key[1] <= change.modseq - self.store.changes]:
            del self.store.log[key]
        self._count(box, change.modseq)

    def _count(self, box: Mailbox, modseq: int) -> None:
        rows = [row for (mailbox, _), row in self.store.states.items() if mailbox == box.id]
        octets = sum(msg.length + len(msg.prefix) for msg in (self.store.msgs[row.mid] for row in rows))
        self._put(box._replace(highestmodseq=modseq, messages=len(rows), unseen=sum(not row.flags & SEEN for row in rows),
                               deleted=sum(bool(row.flags & DELETED) for row in rows), octets=octets))


def _translate(flags: int, bits: dict[int, int]) -> int:
    return flags & SYSTEM_BITS | sum(there for here, there in bits.items() if flags & here)
