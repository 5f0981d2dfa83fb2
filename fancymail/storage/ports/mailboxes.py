"""The port of mailbox state: what core may ask, and the values it gets. One suite (tests/contracts/test_mailboxes.py) holds all engines to it.

Asked by core/mailboxes.py only, inside the one process that writes. All calls are synchronous and short; what happens between entering and
leaving `transaction()` becomes durable together or not at all. UIDs, UIDVALIDITY and modseq never go back, whatever is deleted.
A message names its content by hash; the octets of a small one are kept with it, once for all messages that have it, a large one is a blob
(ports/blobs.py, core/stowage.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from fancymail.mail.derived import Derived
from fancymail.mail.uidset import Ranges

Name = str | int                # of a mailbox: its normal name (mail.mailbox.normal_name), or its number, which a rename does not change


class MailboxError(Exception):
    """The store refuses; nothing was changed."""


class NoSuchMailbox(MailboxError):
    """The account has no mailbox of that name, or it went meanwhile."""


class MailboxExists(MailboxError):
    """A mailbox of that name is there already."""


class StoreFailed(Exception):
    """The engine could not keep it (full or broken disk, damaged file); all of the transaction is undone. Temporary, as far as one can know."""


class TooManyKeywords(MailboxError):
    """A mailbox holds 56 keywords at most."""


class Mailbox(NamedTuple):
    """One mailbox with its counters (kept in the same transaction as what they count)."""

    id: int
    name: str
    uidvalidity: int
    uidnext: int
    highestmodseq: int
    vanish_floor: int           # below this modseq, what vanished is no longer known
    special_use: str
    subscribed: int
    objectid: str               # MAILBOXID, RFC 8474 4
    messages: int
    unseen: int
    deleted: int
    octets: int
    recent_floor: int           # UIDs from here on were told to no session as \Recent
    created: int


class State(NamedTuple):
    """What changes about one message in one mailbox."""

    uid: int
    flags: int
    modseq: int


class Message(NamedTuple):
    """One message in one mailbox. Its octets are `prefix` and then `length` octets of the blob."""

    uid: int
    flags: int
    modseq: int
    blob: bytes                 # SHA-256 of the content, 32 octets
    length: int                 # octets of the content
    prefix: bytes               # Return-Path and Delivered-To of this copy: blobs are shared, these lines are not
    internaldate: int
    savedate: int
    emailid: str                # RFC 8474 5
    threadid: str
    content: bytes | None = None        # the octets of a small one; None: they are a blob

    @property
    def size(self) -> int:
        """RFC822.SIZE: what a client gets, in octets."""
        return len(self.prefix) + self.length


class Delivery(NamedTuple):
    """One message for one mailbox of an account, with all that is to be kept of it."""

    mailbox: str                # name; it must exist
    queue_id: str               # with `recipient` and `internaldate`: what is delivered once, never twice; "" asks for no such check
    recipient: int
    blob: bytes
    length: int
    prefix: bytes
    internaldate: int
    references: Sequence[int] = ()      # hashes of its own message id and of those it answers, for threading
    flags: int = 0
    keywords: Sequence[str] = ()
    derived: Derived | None = None      # None: it is made later
    content: bytes | None = None        # the octets of a small one, to be kept with it; None: they are a blob


class Delivered(NamedTuple):
    """Where a delivery went. `duplicate`: it had been there before, nothing was added."""

    mailbox: str
    uid: int
    uidvalidity: int
    duplicate: bool


class Change(NamedTuple):
    """One record of the change log: what one command did to messages that were there. Added ones show by their UIDs."""

    modseq: int
    kind: str                   # "flags" or "vanish"
    uids: Ranges
    add: int = 0                # of "flags": bits set and bits cleared
    remove: int = 0


class Stored(NamedTuple):
    """What a change of flags did."""

    modseq: int                 # of the mailbox now: that of the change, if it changed anything
    changed: Ranges             # UIDs; a message that has them so already is no change (RFC 7162 3.1)
    refused: Ranges             # UIDs that were changed since `unchanged_since`, so they were left alone


class Underived(NamedTuple):
    """A message of which there is no Derived of the asked version."""

    place: tuple[int, int]      # shard and number of the message; these tell the order, and where to go on
    blob: bytes
    length: int
    prefix: bytes
    internaldate: int
    content: bytes | None = None        # as of Message


class Usage(NamedTuple):
    """What an account holds."""

    mailboxes: int
    messages: int
    octets: int


class Keep(NamedTuple):
    """How long what is gone is kept, in seconds."""

    expunged: int = 7 * 86400
    delivered: int = 12 * 86400
    blobs: int = 86400


def effective_rights(granted: Mapping[str, str], account: str) -> str:
    """What an access list gives an account (RFC 4314 2): as itself and as `anyone`, less what is denied to either; in order, each once."""
    given = set(granted.get(account, "") + granted.get("anyone", ""))
    return "".join(sorted(given - set(granted.get(f"-{account}", "") + granted.get("-anyone", ""))))


class AccountMailboxes(Protocol):
    """The mailboxes of one account."""

    name: str

    def transaction(self) -> AbstractContextManager: """All or nothing; nests (an inner failure undoes the inner part only)."""
    def mailboxes(self) -> list[Mailbox]: """All, by name."""
    def mailbox(self, name: Name) -> Mailbox | None: """One, or None."""
    def create(self, name: str, now: int, special_use: str = "", subscribed: bool = True) -> Mailbox: """Make one; raises MailboxExists."""
    def rename(self, name: Name, to: str) -> None: """With all below it; raises NoSuchMailbox, MailboxExists."""
    def remove(self, name: Name, now: int) -> None: """With its messages, not with what is below it; raises NoSuchMailbox."""
    def subscribe(self, name: str, subscribed: bool) -> None: """Whether there is such a mailbox or not (RFC 9051 6.3.7)."""
    def subscriptions(self) -> list[str]: """Subscribed names, those of mailboxes that are gone too, by name."""

    def keywords(self, name: Name) -> dict[str, int]: """Keyword -> its bit, in this mailbox."""
    def keyword(self, name: Name, keyword: str) -> int: """The bit of a keyword, made when new; raises TooManyKeywords."""

    def deliver(self, deliveries: Sequence[Delivery], now: int) -> list[Delivered]:
        """Add messages; one modseq per mailbox and call; raises NoSuchMailbox."""

    def sizes(self, name: Name) -> list[tuple[int, int]]: """(UID, size in octets) of every message, by UID."""
    def states(self, name: Name, modseq: int = 0) -> list[State]: """Of every message changed after `modseq`, by UID."""
    def message(self, name: Name, uid: int) -> Message | None: """One, or None."""
    def messages(self, name: Name, uids: Ranges) -> list[Message]: """Those that exist, by UID."""
    def kept(self, name: Name, uids: Ranges) -> list[Message]: """Expunged ones that are still kept, by UID."""

    def set_flags(self, name: Name, uids: Ranges, add: int, remove: int, unchanged_since: int | None = None) -> Stored:
        """First clear, then set bits; of messages whose modseq is at most `unchanged_since`, if that is given (RFC 7162 3.1.3)."""

    def copy(self, name: Name, uids: Ranges, to: Name, now: int) -> list[tuple[int, int]]:
        """With flags and keywords; (UID, new UID) of each."""

    def expunge(self, name: Name, uids: Ranges, now: int, deleted: bool = False) -> list[int]:
        """Take messages away, keeping a tombstone of each; the UIDs that went. deleted: only those that are marked \\Deleted."""

    def undelete(self, name: Name, since: int, now: int) -> list[tuple[int, int]]:
        """Bring back what was expunged since, under new UIDs: (old, new). A mailbox that was removed since is made anew for it."""

    def claim_recent(self, name: Name) -> tuple[int, int]:
        """The UIDs (first, before) that no session was told yet; nobody gets them again."""

    def vanished(self, name: Name, modseq: int) -> Ranges | None: """UIDs expunged after `modseq`; None when that is too long ago to know."""
    def changes(self, name: Name, modseq: int) -> list[Change]: """The log after `modseq`, oldest first."""

    def metadata(self, name: Name | None) -> dict[str, bytes]: """Entries (RFC 5464) of a mailbox, or (None) of the account: name -> value."""

    def set_metadata(self, name: Name | None, entries: Mapping[str, bytes | None]) -> None:
        """Set entries, or (None) take them away; names are in lower case."""

    def acl(self, name: Name) -> dict[str, str]: """Identifier -> rights."""
    def grant(self, name: Name, identifier: str, rights: str) -> None: """Give exactly these rights; none: take the identifier from the list."""

    def underived(self, name: Name, uids: Ranges, version: int) -> list[Underived]:
        """Of these messages, kept ones too, those of which nothing of this version was derived."""

    def rebuild(self) -> None:
        """Count all mailboxes anew from their messages, and forget what was derived: at a new modseq of each, which is its `vanish_floor` too,
        so that whoever keeps what he read before loads it anew."""

    def usage(self) -> Usage: """What the account holds, from the counters."""
    def forget(self, now: int) -> None: """Remove all the mail of the account; nothing can be undeleted."""


class MailboxStore(Protocol):
    """All accounts of one installation."""

    def account(self, name: str) -> AccountMailboxes: """The mailboxes of an account; cheap, asks nothing."""
    def accounts(self) -> list[str]: """Those that have mailboxes, by name."""
    def transaction(self) -> AbstractContextManager: """Over all accounts: what happens inside is committed together at the end."""

    def shared(self, account: str) -> list[tuple[str, Mailbox, str]]:
        """What others gave an account rights to, itself or as `anyone` (RFC 4314 2): (owner, mailbox, rights), by owner and name."""

    def underived(self, version: int, after: tuple[int, int], limit: int) -> tuple[list[Underived], tuple[int, int] | None]:
        """Of the next `limit` messages behind a place (the first is behind (0, 0)) those of which nothing of this version was derived, and the place
        behind which to go on; None: there are no more. So looking through millions is many short questions."""

    def derive(self, rows: Sequence[tuple[Underived, Derived]]) -> None:
        """Keep what was derived of messages; those that went meanwhile are left out."""

    def ungrant(self, identifier: str) -> None: """Take somebody from all access lists: the account is no more."""

    def purge(self, now: int, keep: Keep) -> list[bytes]:
        """Let go of some of what is older than `keep` says: call it now and then, and again as long as something is `overdue`.

        Returns the blobs whose last reference went longer than `keep.blobs` ago and that nothing names now: unlink them at once."""

    def overdue(self, now: int, keep: Keep) -> bool: """Whether there is anything left that `purge` would let go of now."""
    def referenced(self, blobs: Iterable[bytes]) -> set[bytes]: """Those of the blobs that some message still names."""
    def close(self) -> None: """Everything committed is on disk already; let go of the files."""
