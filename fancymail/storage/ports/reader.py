"""The port of reading mailboxes for IMAP and webmail: whole mailboxes as arrays, what changed, columns in bulk, text that matches.

Asked by core/imap. Two engines say the same (tests/contracts/test_reader.py): SqliteReader reads the shards of this machine, read-only
beside fm-mailbox; VerbReader asks fm-mailbox wherever it runs. All that reads is a coroutine, since one of them waits; the other never does,
but for what is slow. A reader changes nothing, and what it gives is what was committed at one moment.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fancymail.mail.derived import Derived
from fancymail.mail.uidset import Ranges
from fancymail.storage.ports.mailboxes import Mailbox, MailboxError, State

CONTENT = ("blob", "length", "prefix")
KEPT = "octets"                 # a column: the content where it is a small one, kept with its row; None: it is a blob, ask `octets`
STORED = (*CONTENT, KEPT, "size", "internaldate", "savedate", "emailid", "threadid")
COLUMNS = STORED + Derived._fields      # what `columns` knows by name
PLACES = ("header", "body", "text")     # where `matching` looks: Derived.header_text, Derived.text, either


class MailboxGone(MailboxError):
    """The mailbox of this number is no more."""


class Content(NamedTuple):
    """Where the octets of a message are: a row of columns(CONTENT, ...)."""

    uid: int
    blob: bytes
    length: int                 # octets of the content; the message is prefix and content
    prefix: bytes


class Loaded(NamedTuple):
    """A mailbox as it is at mailbox.highestmodseq; the arrays are parallel, ascending by UID."""

    mailbox: Mailbox
    keywords: dict[str, int]    # keyword -> its bit
    uids: array                 # "I"
    flags: array                # "Q"
    modseqs: array              # "Q"


class Changes(NamedTuple):
    """What became of a mailbox since a modseq. Added messages are among the states."""

    mailbox: Mailbox
    keywords: dict[str, int]
    states: list[State]         # by UID
    vanished: Ranges | None     # None: too long ago to know, load it anew


class Shared(NamedTuple):
    """A mailbox of somebody else, and what one may do there."""

    owner: str
    mailbox: Mailbox
    rights: str                 # RFC 4314 2.1


class BoxReader(Protocol):
    """One mailbox, known by its number: a rename changes nothing. Every call raises MailboxGone once it was removed, but those with `kept`."""

    account: str
    mailbox: int

    async def load(self) -> Loaded: """All of it."""

    async def changes(self, modseq: int, uidnext: int) -> Changes:
        """Since a Loaded or Changes that had these two."""

    async def columns(self, names: Sequence[str], uids: Ranges, kept: bool = False) -> list[tuple]:
        """(UID, value of each name...) of those that exist, by UID; `kept`: of those that were expunged, but can still be read.

        Names are of COLUMNS. What was not derived yet is derived first."""

    async def octets(self, content: Content, start: int = 0, length: int | None = None) -> bytes:
        """Octets of the whole message, prefix included; fewer at its end. Raises KeyError when the content is lost."""

    async def matching(self, words: Sequence[str], place: str, uids: Ranges) -> list[int]:
        """UIDs of those in whose text all the words stand (folded as Derived says; substrings), by UID; from the index where there is one."""


class Reader(Protocol):
    """All accounts."""

    async def mailboxes(self, account: str) -> list[Mailbox]: """All of an account, by name, with their counters."""
    async def mailbox(self, account: str, name: str) -> Mailbox | None: """One, or None."""
    async def subscriptions(self, account: str) -> list[str]: """Subscribed names, also those that nothing has any more, by name."""

    async def metadata(self, account: str, mailbox: int = 0) -> dict[str, bytes]:
        """Entries (RFC 5464) of a mailbox, or (0) of the account: name in lower case -> value."""

    async def acl(self, account: str, mailbox: int) -> dict[str, str]: """Identifier -> rights, as granted; the owner needs none."""
    async def shared(self, account: str) -> list[Shared]: """What others gave an account rights to, by owner and name."""
    def open(self, account: str, mailbox: int) -> BoxReader: """One mailbox by number (Mailbox.id); asks nothing."""
    def close(self) -> None: """Let go of the files."""
