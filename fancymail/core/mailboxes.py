"""The rules of mailboxes: what an account begins with, where a delivery goes, what a client may do to messages.

Asked by fm-mailbox, over a MailboxStore and a BlobStore (storage.ports). Every method is one short piece of work inside a transaction; many of
them share a commit (core/turn.py). It never waits, never parses more of a message than three header fields, and answers refusals as
`MailboxRefusal` with an RFC 3463 status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from fancymail.core.relatives import relatives
from fancymail.core.stowage import Stowage
from fancymail.mail import uidset
from fancymail.mail.derived import Derived
from fancymail.mail.mailbox import INBOX, BadName, normal_name, parent
from fancymail.mail.trace import delivered_to, return_path
from fancymail.mail.uidset import Ranges
from fancymail.storage.ports.blobs import Blob, BlobStore
from fancymail.storage.ports.mailboxes import (
    AccountMailboxes, Delivered, Delivery, Keep, Mailbox, MailboxExists, MailboxStore, Message, NoSuchMailbox, StoreFailed, Usage)

# RFC 6154: what most clients look for, and make under names of their own when it is not there.
FOLDERS = {"Drafts": "\\Drafts", "Sent": "\\Sent", "Junk": "\\Junk", "Trash": "\\Trash", "Archive": "\\Archive"}
PRIVATE = {"\\Drafts", "\\Sent", "\\Trash"}         # nobody else files into these by knowing an address


class MailboxRefusal(Exception):
    """What cannot be done: an RFC 3463 status and a sentence."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Arrival(NamedTuple):
    """One recipient of one message that came from the queue."""

    account: str                # full address
    queue_id: str
    recipient: int              # index in the envelope
    sender: str                 # reverse-path; "" is the null reverse-path
    address: str                # where it was sent to, tag included
    tag: str                    # what stands behind "+"
    blob: Blob
    received: float             # seconds since the epoch
    references: Sequence[int]   # of core.relatives
    quota: int = 0              # octets; 0: no limit
    derived: Derived | None = None      # of the message as this recipient gets it; None: later


class Mailboxes:
    """All mailboxes of one installation."""

    def __init__(self, store: MailboxStore, blobs: BlobStore, *, folders: dict[str, str] = FOLDERS, keep: Keep = Keep(),
                 wall: Callable[[], float] = time.time) -> None:
        self.store, self.blobs, self.folders, self.keep, self.wall = store, blobs, folders, keep, wall
        self.stowage = Stowage(blobs)

    def account(self, name: str) -> AccountMailboxes:
        """The mailboxes of an account, made when it has none yet. The caller knows that there is such an account."""
        account = self.store.account(name)
        if account.mailbox(INBOX) is None:
            try:
                with account.transaction():
                    self._begin(account, int(self.wall()))
            except MailboxExists:           # another node was faster
                pass
        return account

    def _begin(self, account: AccountMailboxes, now: int) -> None:
        account.create(INBOX, now)
        for folder, use in self.folders.items():
            if account.mailbox(folder) is None:
                account.create(folder, now, use)

    def octets(self, message: Message) -> Iterator[bytes]:
        """A message's octets in pieces; while reading raises KeyError, BadContent, at the first piece if nothing is there."""
        chunks = iter((message.content,)) if message.content is not None else self.blobs.read(message.blob, message.length)
        yield message.prefix + next(chunks, b"")
        yield from chunks

    # In

    def deliver(self, arrivals: Sequence[Arrival]) -> list[Delivered | MailboxRefusal]:
        """Deliver a batch in one transaction. Each gets its own outcome; raises StoreFailed when nothing could be kept."""
        outcomes: list[Delivered | MailboxRefusal | None] = [None] * len(arrivals)
        by_account: dict[str, list[int]] = {}
        for place, arrival in enumerate(arrivals):
            by_account.setdefault(arrival.account, []).append(place)
        with self.store.transaction():
            for name, places in sorted(by_account.items()):        # in one order, so that two nodes never wait for each other
                for place, outcome in zip(places, self._deliver_to(name, [arrivals[place] for place in places])):
                    outcomes[place] = outcome
        return outcomes

    def append(self, name: str, recipient: str, blob: Blob, head: bytes) -> Delivered:
        """Put a message into an INBOX that did not come through the queue."""
        account = self.account(name)
        prefix = delivered_to(recipient) if recipient else b""
        now = int(self.wall())
        return account.deliver([Delivery(INBOX, "", 0, blob.hash, blob.length, prefix, now, relatives(head), content=blob.octets)], now)[0]

    def _deliver_to(self, name: str, arrivals: list[Arrival]) -> list[Delivered | MailboxRefusal]:
        account = self.store.account(name)
        try:
            if any(arrival.quota for arrival in arrivals):
                return [self._deliver_one(account, arrival) for arrival in arrivals]
            return account.deliver([self._delivery(account, arrival) for arrival in arrivals], int(self.wall()))
        except NoSuchMailbox:           # the first mail of an account: it was not looked for before, since nearly all have mail
            self.account(name)
            return self._deliver_to(name, arrivals)

    def _deliver_one(self, account: AccountMailboxes, arrival: Arrival) -> Delivered | MailboxRefusal:
        """One by one, since each may be the one that is too many. What had been delivered before counts as delivered, full or not."""
        try:
            with account.transaction():
                result = account.deliver([self._delivery(account, arrival)], int(self.wall()))[0]
                if arrival.quota and not result.duplicate and account.usage().octets > arrival.quota:
                    raise MailboxRefusal("4.2.2", "the mailbox is full")
                return result
        except MailboxRefusal as refusal:
            return refusal

    def _delivery(self, account: AccountMailboxes, arrival: Arrival) -> Delivery:
        return Delivery(self._place(account, arrival.tag) if arrival.tag else INBOX, arrival.queue_id, arrival.recipient,
                        arrival.blob.hash, arrival.blob.length, trace(arrival.sender, arrival.address), int(arrival.received), arrival.references,
                        derived=arrival.derived, content=arrival.blob.octets)

    @staticmethod
    def _place(account: AccountMailboxes, tag: str) -> str:
        """The mailbox that a tag names, if there is one that strangers may file into, else INBOX."""
        try:
            name = normal_name(tag)
        except BadName:
            return INBOX
        box = account.mailbox(name)
        if box is None:                 # domains and local parts travel in any case; mailboxes have one
            alike = [other for other in account.mailboxes() if other.name.casefold() == name.casefold()]
            box = alike[0] if len(alike) == 1 else None
        return INBOX if box is None or box.special_use in PRIVATE else box.name

    # Messages

    def inbox(self, name: str) -> tuple[Mailbox, list[tuple[int, int]]]:
        """An INBOX and its messages as (UID, size)."""
        account = self.account(name)
        return account.mailbox(INBOX), account.sizes(INBOX)

    def message(self, name: str, uid: int, mailbox: str = INBOX) -> Message:
        """One message; raises MailboxRefusal."""
        try:
            found = self.account(name).message(mailbox, uid)
        except NoSuchMailbox:
            raise _no_mailbox(mailbox) from None
        if found is None:
            raise MailboxRefusal("5.5.4", f"no such message: {uid}")
        return found

    def messages(self, name: str, uids: Ranges, mailbox: str = INBOX) -> list[Message]:
        """Those that exist, by UID; raises MailboxRefusal."""
        try:
            return self.account(name).messages(mailbox, uids)
        except NoSuchMailbox:
            raise _no_mailbox(mailbox) from None

    def expunge(self, name: str, uids: Ranges, mailbox: str = INBOX) -> list[int]:
        """Take messages away; those that are gone already are no error. Returns the UIDs that went."""
        try:
            return self.account(name).expunge(mailbox, uids, int(self.wall()))
        except NoSuchMailbox:
            raise _no_mailbox(mailbox) from None

    def undelete(self, name: str, seconds: float, mailbox: str = INBOX) -> list[tuple[int, int]]:
        """Bring back what was expunged in the last `seconds`, as far as it is kept: (old UID, new UID)."""
        now = int(self.wall())
        try:
            return self.account(name).undelete(mailbox, now - int(seconds), now)
        except NoSuchMailbox:
            raise _no_mailbox(mailbox) from None

    # Mailboxes

    def create(self, name: str, mailbox: str) -> Mailbox:
        """Make a mailbox, with those above it (RFC 9051 6.3.4); raises MailboxRefusal."""
        account, mailbox = self.account(name), _named(mailbox)
        if mailbox == INBOX or account.mailbox(mailbox):
            raise MailboxRefusal("5.2.0", f"there is a mailbox {mailbox} already")
        now, above, missing = int(self.wall()), parent(mailbox), []
        while above and account.mailbox(above) is None:
            missing.append(above)
            above = parent(above)
        for level in reversed(missing):
            account.create(level, now)
        return account.create(mailbox, now, self.folders.get(mailbox, ""))

    def remove(self, name: str, mailbox: str) -> None:
        """Remove a mailbox and its messages; raises MailboxRefusal."""
        mailbox = _named(mailbox)
        if mailbox == INBOX:
            raise MailboxRefusal("5.2.0", "INBOX cannot be removed")
        try:
            self.account(name).remove(mailbox, int(self.wall()))
        except NoSuchMailbox:
            raise _no_mailbox(mailbox) from None

    def usage(self, name: str) -> Usage:
        """What an account holds."""
        return self.account(name).usage()

    def forget(self, name: str) -> None:
        """Remove all mail of an account that is no more, and what others allowed it: whoever gets the address next starts with nothing."""
        self.store.account(name).forget(int(self.wall()))
        self.store.ungrant(name)

    # Garbage

    def purge(self) -> int:
        """Let go of what nobody can want any more; returns how many contents went. Call it outside of transactions."""
        return self.blobs.discard(self.store.purge(int(self.wall()), self.keep))

    def overdue(self) -> bool:
        """Whether `purge` left anything of what nobody can want any more."""
        return self.store.overdue(int(self.wall()), self.keep)

    def unnamed(self, blobs: Iterable[bytes]) -> int:
        """Of contents that nobody touched for long, discard those that no row names: a crash left them. Returns how many went."""
        blobs = list(blobs)
        return self.blobs.discard(set(blobs) - self.store.referenced(blobs))


def trace(sender: str, address: str) -> bytes:
    """The lines that final delivery puts on top (RFC 5321 4.4: Return-Path replaces what was there by standing first)."""
    return return_path(sender) + delivered_to(address)


def uids_of(sets: Iterable[str]) -> Ranges:
    """Read UID sets; raises MailboxRefusal."""
    try:
        return uidset.merge(pair for text in sets for pair in uidset.parse(text))
    except ValueError as error:
        raise MailboxRefusal("5.5.4", str(error)) from None


def _named(mailbox: str) -> str:
    try:
        return normal_name(mailbox)
    except BadName as error:
        raise MailboxRefusal("5.5.4", str(error)) from None


def _no_mailbox(mailbox: str) -> MailboxRefusal:
    return MailboxRefusal("5.2.0", f"no such mailbox: {mailbox}")


__all__ = ["Arrival", "FOLDERS", "MailboxRefusal", "Mailboxes", "StoreFailed", "trace", "uids_of"]
