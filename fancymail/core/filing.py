"""What people do with their messages: append, mark, copy, move, expunge; and with mailboxes, as far as it is more than one row.

Asked by fm-mailbox (servers/mailbox/verbs.py) for IMAP and webmail, over the same stores as core/mailboxes.py. Every method is the work of one
command: one transaction, one modseq in each mailbox it touches. Whether the asker may do it was decided before (core/imap/acl.py).
Refusals are MailboxRefusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fancymail.core.mailboxes import Mailboxes, MailboxRefusal
from fancymail.core.relatives import relatives
from fancymail.mail import uidset
from fancymail.mail.derived import Derived
from fancymail.mail.mailbox import INBOX, SYSTEM_FLAGS, BadName, normal_name, parent
from fancymail.mail.uidset import LARGEST, Ranges
from fancymail.storage.ports.blobs import Blob
from fancymail.storage.ports.mailboxes import (
    AccountMailboxes, Delivery, Mailbox, MailboxExists, MailboxStore, Name, NoSuchMailbox, Stored, TooManyKeywords)

EVERY_BIT = 2**61 - 1
ENTRIES = 100                   # metadata entries of one mailbox
ENTRY = 64 << 10                # octets of one value
SLICE = 500                     # messages that are copied between accounts at a time

_SYSTEM = {word.lower(): bit for word, bit in SYSTEM_FLAGS.items()}


class Letter(NamedTuple):
    """One message to append."""

    blob: Blob
    head: bytes                 # its first octets, with the header
    internaldate: int
    flags: Sequence[str]
    derived: Derived | None = None


class Added(NamedTuple):
    """Where messages went: they have the UIDs from `first` on, in order."""

    uidvalidity: int
    first: int
    count: int


class Copied(NamedTuple):
    """What was copied or moved, and where it went: the new UIDs follow the order of the old ones, from `first` on."""

    uidvalidity: int
    source: Ranges
    first: int
    modseq: int                 # of the mailbox that they were copied from, now


class refusing:
    """`with refusing():` says what the store refuses in the words of a MailboxRefusal."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, NoSuchMailbox):
            raise MailboxRefusal("5.2.0", f"no such mailbox: {error}") from None
        if isinstance(error, MailboxExists):
            raise MailboxRefusal("5.2.0", f"there is a mailbox {error} already") from None
        if isinstance(error, TooManyKeywords):
            raise MailboxRefusal("5.5.3", str(error)) from None
        if isinstance(error, BadName):
            raise MailboxRefusal("5.5.4", str(error)) from None


class Filing:
    """Over the same stores as `mailboxes`."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self.mailboxes = mailboxes

    @property
    def store(self) -> MailboxStore:
        return self.mailboxes.store

    # Messages

    def flags(self, owner: str, mailbox: Name, uids: Ranges, how: str, words: Sequence[str], unchanged_since: int | None = None) -> Stored:
        """Add, remove or set flags (RFC 9051 6.4.6). A keyword that is removed but unknown is none."""
        account = self.store.account(owner)
        with refusing(), account.transaction():
            bits = _bits(account, mailbox, words, make=how != "remove")
            add, remove = {"add": (bits, 0), "remove": (0, bits), "set": (bits, EVERY_BIT)}[how]
            return account.set_flags(mailbox, uids, add, remove, unchanged_since)

    def append(self, owner: str, mailbox: Name, letters: Sequence[Letter], quota: int = 0, replacing: tuple[str, int, int] | None = None) -> Added:
        """Put messages into a mailbox, all or none (RFC 3502); `replacing` (owner, mailbox number, UID) takes that one away (RFC 8508)."""
        account, now = self.mailboxes.account(owner), int(self.mailboxes.wall())
        whose, number, uid = replacing or (owner, 0, 0)
        other = self.store.account(whose)           # each account numbers its mailboxes by itself
        with refusing(), account.transaction(), other.transaction():
            name = _found(account, mailbox).name
            added = account.deliver([_delivery(name, letter) for letter in letters], now)
            if replacing is not None and not other.expunge(number, [(uid, uid)], now):
                raise MailboxRefusal("5.5.4", "the message that is to be replaced is gone")
            _within(account, quota)
            return Added(added[0].uidvalidity, added[0].uid, len(letters))

    def copy(self, owner: str, mailbox: Name, uids: Ranges, to: str, name: Name, quota: int = 0, move: bool = False) -> Copied:
        """Copy messages, or move them (RFC 6851), to a mailbox of the same or another account."""
        source, target, now = self.store.account(owner), self.mailboxes.account(to), int(self.mailboxes.wall())
        with refusing(), source.transaction(), target.transaction():
            box = _found(target, name)
            if to == owner:
                pairs = source.copy(mailbox, uids, name, now)
            else:
                pairs = _copy_over(source, mailbox, uids, target, box, now)
            copied = uidset.ranges(old for old, _ in pairs)
            if move:
                source.expunge(mailbox, copied, now)
            if pairs:
                _within(target, quota if not move or to != owner else 0)
            return Copied(box.uidvalidity, copied, pairs[0][1] if pairs else box.uidnext, _found(source, mailbox).highestmodseq)

    def expunge(self, owner: str, mailbox: Name, uids: Ranges, deleted: bool = True) -> tuple[int, list[int]]:
        """Take messages away, only those marked as deleted; the modseq now, and the UIDs that went."""
        account = self.store.account(owner)
        with refusing(), account.transaction():
            gone = account.expunge(mailbox, uids, int(self.mailboxes.wall()), deleted)
            return _found(account, mailbox).highestmodseq, gone

    def claim(self, owner: str, mailbox: Name) -> tuple[int, int]:
        """The UIDs that are \\Recent for whoever asks, and for nobody after."""
        with refusing():
            return self.store.account(owner).claim_recent(mailbox)

    # Mailboxes

    def create(self, owner: str, name: str, special_use: str = "") -> Mailbox:
        """Make a mailbox, with those above it, subscribed to by nobody; a special use (RFC 6154 3) that another has moves to it."""
        with refusing():
            name = normal_name(name)
            account = self.mailboxes.account(owner)
            if account.mailbox(name):
                raise MailboxExists(name)
            now = int(self.mailboxes.wall())
            with account.transaction():
                self._above(account, name, now)
                return account.create(name, now, special_use, subscribed=False)

    def rename(self, owner: str, name: str, to: str) -> None:
        """Rename a mailbox with all below it; INBOX gives its messages to a new one and stays (RFC 9051 6.3.6)."""
        with refusing():
            name, to = normal_name(name), normal_name(to)
            account, now = self.mailboxes.account(owner), int(self.mailboxes.wall())
            with account.transaction():
                if to == INBOX:
                    raise MailboxExists(to)
                _found(account, name)
                if not to.startswith(f"{name}/"):
                    self._above(account, to, now)
                if name != INBOX:
                    for box in account.mailboxes():
                        if box.name.startswith(f"{name}/"):
                            normal_name(to + box.name[len(name):])      # nobody could name it any more if it became too long or too deep
                    return account.rename(name, to)
                account.create(to, now, subscribed=False)
                moved = account.copy(INBOX, [(1, LARGEST)], to, now)
                account.expunge(INBOX, uidset.ranges(old for old, _ in moved), now)

    def subscribe(self, owner: str, name: str, subscribed: bool) -> None:
        """Subscribe to a name or not, whether there is such a mailbox or not."""
        with refusing():
            self.mailboxes.account(owner).subscribe(normal_name(name), subscribed)

    def set_metadata(self, owner: str, mailbox: Name | None, entries: dict[str, bytes | None]) -> None:
        """Set or remove entries of a mailbox or an account (RFC 5464)."""
        account = self.mailboxes.account(owner)
        with refusing(), account.transaction():
            if any(value is not None and len(value) > ENTRY for value in entries.values()):
                raise MailboxRefusal("5.3.4", f"an entry has at most {ENTRY} octets")
            account.set_metadata(mailbox, entries)
            if len(account.metadata(mailbox)) > ENTRIES:
                raise MailboxRefusal("5.5.3", f"there are at most {ENTRIES} entries")

    def set_acl(self, owner: str, mailbox: Name, identifier: str, rights: str) -> None:
        """Give somebody exactly these rights; none at all takes them from the list."""
        with refusing():
            self.store.account(owner).grant(mailbox, identifier, rights)

    @staticmethod
    def _above(account: AccountMailboxes, name: str, now: int) -> None:
        """Make the mailboxes above a name that are missing."""
        missing, above = [], parent(name)
        while above and account.mailbox(above) is None:
            missing.append(above)
            above = parent(above)
        for level in reversed(missing):
            account.create(level, now, subscribed=False)


def _found(account: AccountMailboxes, mailbox: Name) -> Mailbox:
    box = account.mailbox(mailbox)
    if box is None:
        raise NoSuchMailbox(mailbox)
    return box


def _within(account: AccountMailboxes, quota: int) -> None:
    """Undo, by raising, what makes an account hold more than it may."""
    if quota and account.usage().octets > quota:
        raise MailboxRefusal("5.2.2", "the quota is exceeded")


def _delivery(mailbox: str, letter: Letter) -> Delivery:
    flags, keywords = _split(letter.flags)
    return Delivery(mailbox, "", 0, letter.blob.hash, letter.blob.length, b"", letter.internaldate, relatives(letter.head), flags, keywords,
                    letter.derived, letter.blob.octets)


def _copy_over(source: AccountMailboxes, mailbox: Name, uids: Ranges, target: AccountMailboxes, box: Mailbox, now: int) -> list[tuple[int, int]]:
    """Copy between accounts, some at a time, since small contents come along: large ones are shared. What is derived is derived anew."""
    words = {bit: word for word, bit in source.keywords(mailbox).items()}
    there, pairs = [state.uid for state in source.states(mailbox) if uidset.contains(uids, state.uid)], []
    for start in range(0, len(there), SLICE):
        messages = source.messages(mailbox, uidset.ranges(there[start:start + SLICE]))
        added = target.deliver([Delivery(box.name, "", 0, message.blob, message.length, message.prefix, message.internaldate, (), message.flags & 31,
                                         [word for bit, word in words.items() if message.flags & bit], content=message.content)
                                for message in messages], now)
        pairs += [(message.uid, each.uid) for message, each in zip(messages, added)]
    return pairs


def _split(words: Sequence[str]) -> tuple[int, list[str]]:
    """System flags as bits, and keywords. \\Recent belongs to sessions: whoever sets it is not heard (RFC 9051 2.3.2)."""
    bits, keywords = 0, []
    for word in words:
        if word.lower() in _SYSTEM:
            bits |= _SYSTEM[word.lower()]
        elif not word.startswith("\\"):
            keywords.append(word)
    return bits, keywords


def _bits(account: AccountMailboxes, mailbox: Name, words: Sequence[str], make: bool) -> int:
    bits, keywords = _split(words)
    known = {word.lower(): bit for word, bit in account.keywords(mailbox).items()} if keywords else {}
    for word in keywords:
        if word.lower() in known:
            bits |= known[word.lower()]
        elif make:
            bits |= account.keyword(mailbox, word)
    return bits
