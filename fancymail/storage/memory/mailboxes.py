"""Mailbox state in memory: tables of immutable rows in dictionaries, so that undoing is putting back shallow copies.

For tests and for the journey in one process. It says the same as the SQLite engine in its own way; tests/contracts/test_mailboxes.py asks both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from hashlib import sha256
from operator import or_
from typing import NamedTuple

from fancymail.mail import uidset
from fancymail.mail.derived import Derived
from fancymail.mail.mailbox import DELETED, DELIMITER, FIRST_KEYWORD_BIT, KEYWORDS, SEEN, SYSTEM_BITS
from fancymail.mail.uidset import Ranges, contains
from fancymail.storage.ports.mailboxes import (
    Change, Delivered, Delivery, Keep, Mailbox, MailboxExists, Message, Name, NoSuchMailbox, State, Stored, TooManyKeywords, Underived, Usage,
    effective_rights)

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
    content: bytes | None


class Row(NamedTuple):
    """A message in a mailbox, or (with `expunged`) in its tomb."""

    flags: int
    modseq: int
    mid: int
    savedate: int
    expunged: int = 0


class MemoryMailboxes:
    """All accounts (ports.mailboxes.MailboxStore)."""

    tables = ("validities", "boxes", "bits", "states", "tombs", "gone", "msgs", "threads", "deliveries", "log", "garbage",
              "derivations", "wishes", "entries", "grants", "removed")

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
        self.derivations: dict[int, Derived] = {}
        self.wishes: dict[tuple[str, str], int] = {}                    # account, name: subscribed, but no mailbox has it
        self.entries: dict[tuple[str, int], dict[str, bytes]] = {}      # account, mailbox or 0 -> metadata
        self.grants: dict[tuple[int, str], str] = {}                    # mailbox, identifier -> rights
        self.removed: dict[int, tuple[str, Mailbox, dict[str, int], int]] = {}
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

    def shared(self, account: str) -> list[tuple[str, Mailbox, str]]:
        """What others gave an account rights to."""
        found = []
        for owner, box in self.boxes.values():
            rights = effective_rights({who: rights for (mailbox, who), rights in self.grants.items() if mailbox == box.id}, account)
            if rights and owner != account:
                found.append((owner, box, rights))
        return sorted(found, key=lambda row: (row[0], row[1].name))

    def ungrant(self, identifier: str) -> None:
        """Take somebody from all access lists."""
        self.grants = {key: rights for key, rights in self.grants.items() if key[1] not in (identifier, f"-{identifier}")}

    def underived(self, version: int, after: tuple[int, int], limit: int) -> tuple[list[Underived], tuple[int, int] | None]:
        """Of the next messages those of which nothing of this version was derived."""
        mids = [mid for mid in sorted(self.msgs) if (0, mid) > after][:limit]
        return [self.underived_one(mid) for mid in mids if self.lacks(mid, version)], (0, mids[-1]) if mids else None

    def underived_one(self, mid: int) -> Underived:
        msg = self.msgs[mid]
        return Underived((0, mid), msg.blob, msg.length, msg.prefix, msg.internaldate, msg.content)

    def lacks(self, mid: int, version: int) -> bool:
        return mid not in self.derivations or self.derivations[mid].version != version

    def derive(self, rows: Sequence[tuple[Underived, Derived]]) -> None:
        """Keep what was derived of messages."""
        self.derivations.update({message.place[1]: value for message, value in rows if message.place[1] in self.msgs})

    def number(self) -> int:
        """A number that was never given before."""
        self.last += 1
        return self.last

    def purge(self, now: int, keep: Keep) -> list[bytes]:
        """Let go of what is older than `keep` says."""
        for key in [key for key, row in self.tombs.items() if row.expunged < now - keep.expunged]:
            mid = self.tombs.pop(key).mid
            if all(row.mid != mid for rows in (self.states, self.tombs) for row in rows.values()):
                self.drop(mid, now)
                self.derivations.pop(mid, None)
        self.removed = {number: value for number, value in self.removed.items() if value[3] >= now - keep.expunged}
        self.deliveries = {key: value for key, value in self.deliveries.items() if value[1] >= now - keep.delivered}
        due = [blob for blob, since in self.garbage.items() if since <= now - keep.blobs]
        named = self.referenced(due)
        for blob in due:
            del self.garbage[blob]
        return [blob for blob in due if blob not in named]

    def overdue(self, now: int, keep: Keep) -> bool:
        """Whether anything is left: all goes at once."""
        return False

    def referenced(self, blobs: Iterable[bytes]) -> set[bytes]:
        """Those that some message names."""
        return set(blobs) & {msg.blob for msg in self.msgs.values() if msg.content is None}

    def content(self, blob: bytes) -> bytes | None:
        """The octets of a small content that some message has."""
        return next((msg.content for msg in self.msgs.values() if msg.blob == blob and msg.content is not None), None)

    def drop(self, mid: int, now: int) -> None:
        """Forget a message; its blob may be garbage from now on."""
        msg = self.msgs.pop(mid)
        if msg.content is None:
            self.garbage[msg.blob] = now

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

    def mailbox(self, name: Name) -> Mailbox | None:
        """One, or None."""
        return next((box for box in self.mailboxes() if name in (box.name, box.id)), None)

    def create(self, name: str, now: int, special_use: str = "", subscribed: bool = True) -> Mailbox:
        """Make a mailbox."""
        if self.mailbox(name):
            raise MailboxExists(name)
        validity = max(self.store.validities.get(self.name, 0) + 1, now)
        self.store.validities[self.name] = validity
        objectid = "F" + sha256(f"{self.name}\0{validity}".encode()).hexdigest()[:24]
        subscribed = subscribed or (self.name, name) in self.store.wishes
        self.store.wishes.pop((self.name, name), None)
        return self._put(Mailbox(self.store.number(), name, validity, 1, 1, 0, special_use, int(subscribed), objectid, 0, 0, 0, 0, 1, now))

    def rename(self, name: Name, to: str) -> None:
        """Rename a mailbox and all below it."""
        name = self._find(name).name
        moving = [box for box in self.mailboxes() if box.name == name or box.name.startswith(name + DELIMITER)]
        there = {box.name for box in self.mailboxes()} - {box.name for box in moving}
        moved = [box._replace(name=to + box.name[len(name):]) for box in moving]
        for box in moved:
            if box.name in there or name == to:
                raise MailboxExists(box.name)
        for box in moved:
            self._put(box)

    def remove(self, name: Name, now: int) -> None:
        """Remove a mailbox, burying its messages."""
        box = self._find(name)
        for key in [key for key in self.store.states if key[0] == box.id]:
            self.store.tombs[key] = self.store.states.pop(key)._replace(expunged=now)
        self.store.removed[box.id] = self.name, box, self.keywords(name), now
        if box.subscribed:
            self.store.wishes[self.name, box.name] = 1
        self.store.entries.pop((self.name, box.id), None)
        for table in ("bits", "gone", "log", "grants"):
            setattr(self.store, table, {key: value for key, value in getattr(self.store, table).items() if key[0] != box.id})
        del self.store.boxes[box.id]

    def subscribe(self, name: str, subscribed: bool) -> None:
        """Set or clear the subscription."""
        box = self.mailbox(name)
        if box:
            self._put(box._replace(subscribed=int(subscribed)))
        elif subscribed:
            self.store.wishes[self.name, name] = 1
        if not subscribed:
            self.store.wishes.pop((self.name, name), None)

    def subscriptions(self) -> list[str]:
        """Subscribed names."""
        return sorted({*(box.name for box in self.mailboxes() if box.subscribed),
                       *(name for account, name in self.store.wishes if account == self.name)})

    def metadata(self, name: Name | None) -> dict[str, bytes]:
        """Entries of a mailbox, or of the account."""
        return dict(sorted(self.store.entries.get((self.name, 0 if name is None else self._find(name).id), {}).items()))

    def set_metadata(self, name: Name | None, entries: Mapping[str, bytes | None]) -> None:
        """Set entries, or take them away."""
        merged = {**self.metadata(name), **entries}
        self.store.entries[self.name, 0 if name is None else self._find(name).id] = {
            entry: value for entry, value in merged.items() if value is not None}

    def acl(self, name: Name) -> dict[str, str]:
        """Identifier -> rights."""
        box = self._find(name)
        return {who: rights for (mailbox, who), rights in sorted(self.store.grants.items()) if mailbox == box.id}

    def grant(self, name: Name, identifier: str, rights: str) -> None:
        """Give exactly these rights."""
        self.store.grants[self._find(name).id, identifier] = rights
        if not rights:
            del self.store.grants[self._find(name).id, identifier]

    def keywords(self, name: Name) -> dict[str, int]:
        """Keyword -> its bit."""
        box = self._find(name)
        return {word: bit for (mailbox, word), bit in self.store.bits.items() if mailbox == box.id}

    def keyword(self, name: Name, keyword: str) -> int:
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
                flags = delivery.flags
                for keyword in delivery.keywords:
                    flags |= self.keyword(box.id, keyword)
                rows.append((flags, self._keep(delivery)))
                results.append(Delivered(box.name, box.uidnext + len(rows) - 1, box.uidvalidity, False))
                if delivery.queue_id:
                    self.store.deliveries[key] = self.name, now, results[-1]
            for name, rows in added.items():
                self._add(self._find(name), rows, now)
            return results

    def sizes(self, name: Name) -> list[tuple[int, int]]:
        """(UID, size) of every message."""
        return [(message.uid, message.size) for message in self.messages(name, [(1, uidset.LARGEST)])]

    def states(self, name: Name, modseq: int = 0) -> list[State]:
        """Of every message changed after `modseq`."""
        return [State(uid, row.flags, row.modseq) for uid, row in self._rows(self.store.states, name) if row.modseq > modseq]

    def message(self, name: Name, uid: int) -> Message | None:
        """One, or None."""
        return next(iter(self.messages(name, [(uid, uid)])), None)

    def messages(self, name: Name, uids: Ranges) -> list[Message]:
        """Those that exist."""
        return [self._message(uid, row) for uid, row in self._rows(self.store.states, name) if contains(uids, uid)]

    def kept(self, name: Name, uids: Ranges) -> list[Message]:
        """Expunged ones that are still kept."""
        return [self._message(uid, row._replace(modseq=0)) for uid, row in self._rows(self.store.tombs, name) if contains(uids, uid)]

    def set_flags(self, name: Name, uids: Ranges, add: int, remove: int, unchanged_since: int | None = None) -> Stored:
        """First clear, then set bits."""
        box = self._find(name)
        modseq, changed, refused = box.highestmodseq + 1, [], []
        for uid, row in self._rows(self.store.states, name):
            flags = row.flags & ~remove | add
            if not contains(uids, uid):
                continue
            if unchanged_since is not None and row.modseq > unchanged_since:
                refused.append(uid)
            elif flags != row.flags:
                self.store.states[box.id, uid] = row._replace(flags=flags, modseq=modseq)
                changed.append(uid)
        if changed:
            self._changed(box, Change(modseq, "flags", uidset.ranges(changed), add, remove))
        return Stored(modseq if changed else box.highestmodseq, uidset.ranges(changed), uidset.ranges(refused))

    def copy(self, name: Name, uids: Ranges, to: Name, now: int) -> list[tuple[int, int]]:
        """Copy messages under new UIDs."""
        with self.transaction():
            box = self._find(to)
            rows = [(uid, row) for uid, row in self._rows(self.store.states, name) if contains(uids, uid)]
            if not rows:
                return []
            used = reduce(or_, [row.flags for _, row in rows])
            bits = {bit: self.keyword(to, word) for word, bit in self.keywords(name).items() if bit & used}
            self._add(box, [(_translate(row.flags, bits), row.mid) for _, row in rows], now)
            return [(uid, box.uidnext + place) for place, (uid, _) in enumerate(rows)]

    def expunge(self, name: Name, uids: Ranges, now: int, deleted: bool = False) -> list[int]:
        """Take messages away, burying them."""
        box = self._find(name)
        gone = [uid for uid, row in self._rows(self.store.states, name) if contains(uids, uid) and (row.flags & DELETED or not deleted)]
        for uid in gone:
            self.store.tombs[box.id, uid] = self.store.states.pop((box.id, uid))._replace(expunged=now)
            self.store.gone[box.id, uid] = box.highestmodseq + 1
        if gone:
            self._changed(box, Change(box.highestmodseq + 1, "vanish", uidset.ranges(gone)))
        return gone

    def undelete(self, name: Name, since: int, now: int) -> list[tuple[int, int]]:
        """Bring back what was expunged since."""
        box, buried = self._risen(name, since, now)
        rows = sorted((uid, row) for (mailbox, uid), row in self.store.tombs.items() if mailbox == buried and row.expunged >= since)
        for uid, _ in rows:
            del self.store.tombs[buried, uid]
        if rows:
            self._add(box, [(row.flags & ~DELETED, row.mid) for _, row in rows], now)
        return [(uid, box.uidnext + place) for place, (uid, _) in enumerate(rows)]

    def _risen(self, name: Name, since: int, now: int) -> tuple[Mailbox, int]:
        """A mailbox, made anew if it was removed since, and the number under which its messages were buried."""
        box = self.mailbox(name)
        if box:
            return box, box.id
        gone = [(at, box.id, box, keywords) for account, box, keywords, at in self.store.removed.values()
                if account == self.name and name in (box.name, box.id) and at >= since]
        if not gone:
            raise NoSuchMailbox(name)
        _, number, old, keywords = max(gone)
        box = self.create(old.name, now, old.special_use)
        self.store.bits.update({(box.id, word): bit for word, bit in keywords.items()})
        del self.store.removed[number]
        return box, number

    def claim_recent(self, name: Name) -> tuple[int, int]:
        """The UIDs (first, before) that no session was told yet."""
        box = self._find(name)
        self._put(box._replace(recent_floor=box.uidnext))
        return box.recent_floor, box.uidnext

    # History and sums

    def vanished(self, name: Name, modseq: int) -> Ranges | None:
        """UIDs expunged after `modseq`; None if that is from before it was rebuilt."""
        box = self._find(name)
        if modseq < box.vanish_floor:
            return None
        return uidset.ranges(uid for (mailbox, uid), at in self.store.gone.items() if mailbox == box.id and at > modseq)

    def changes(self, name: Name, modseq: int) -> list[Change]:
        """The log after `modseq`."""
        box = self._find(name)
        return sorted(change for (mailbox, at), change in self.store.log.items() if mailbox == box.id and at > modseq)

    def underived(self, name: Name, uids: Ranges, version: int) -> list[Underived]:
        """Of these messages, those of which nothing of this version was derived."""
        box = self.mailbox(name)
        if box is None and not isinstance(name, int):
            raise NoSuchMailbox(name)
        mids = {row.mid for table in (self.store.states, self.store.tombs) for (mailbox, uid), row in table.items()
                if mailbox == (box.id if box else name) and contains(uids, uid)}
        return [self.store.underived_one(mid) for mid in sorted(mids)
                if self.store.msgs[mid].account == self.name and self.store.lacks(mid, version)]

    def rebuild(self) -> None:
        """Count all mailboxes anew, and forget what was derived; at a new modseq, from before which nobody learns what is new, but all."""
        for box in self.mailboxes():
            self._count(box._replace(vanish_floor=box.highestmodseq + 1), box.highestmodseq + 1)
        self.store.derivations = {mid: value for mid, value in self.store.derivations.items() if self.store.msgs[mid].account != self.name}

    def usage(self) -> Usage:
        """What the account holds."""
        boxes = self.mailboxes()
        return Usage(len(boxes), sum(box.messages for box in boxes), sum(box.octets for box in boxes))

    def forget(self, now: int) -> None:
        """Remove all the mail of the account."""
        for box in self.mailboxes():
            self.remove(box.name, now)
        mids = {mid for mid, msg in self.store.msgs.items() if msg.account == self.name}
        for mid in mids:
            self.store.drop(mid, now)
        self.store.tombs = {key: row for key, row in self.store.tombs.items() if row.mid not in mids}
        self.store.threads = {key: value for key, value in self.store.threads.items() if key[0] != self.name}
        self.store.deliveries = {key: value for key, value in self.store.deliveries.items() if value[0] != self.name}
        self.store.derivations = {mid: value for mid, value in self.store.derivations.items() if mid not in mids}
        self.store.removed = {number: value for number, value in self.store.removed.items() if value[0] != self.name}
        for table in ("wishes", "entries"):
            setattr(self.store, table, {key: value for key, value in getattr(self.store, table).items() if key[0] != self.name})

    # Rows

    def _put(self, box: Mailbox) -> Mailbox:
        self.store.boxes[box.id] = self.name, box
        return box

    def _find(self, name: Name) -> Mailbox:
        box = self.mailbox(name)
        if box is None:
            raise NoSuchMailbox(name)
        return box

    def _rows(self, table: dict[Key, Row], name: Name) -> list[tuple[int, Row]]:
        box = self._find(name)
        return sorted((uid, row) for (mailbox, uid), row in table.items() if mailbox == box.id)

    def _message(self, uid: int, row: Row) -> Message:
        msg = self.store.msgs[row.mid]
        return Message(uid, row.flags, row.modseq, msg.blob, msg.length, msg.prefix, msg.internaldate, row.savedate, msg.emailid, msg.threadid,
                       msg.content)

    def _keep(self, delivery: Delivery) -> int:
        emailid = "M" + sha256(delivery.blob + delivery.prefix).hexdigest()[:32]
        keys = [(self.name, reference) for reference in delivery.references]
        threadid = next((self.store.threads[key] for key in keys if key in self.store.threads), "T" + emailid[1:])
        for key in keys:
            self.store.threads.setdefault(key, threadid)
        mid = self.store.number()
        self.store.msgs[mid] = Msg(self.name, delivery.blob, delivery.length, delivery.prefix, delivery.internaldate, emailid, threadid,
                                   delivery.content)
        if delivery.derived is not None:
            self.store.derivations[mid] = delivery.derived
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
