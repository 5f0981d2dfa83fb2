"""What moving an installation between engines asks of each of them: all its rows in words that both have, and to become like another.

Asked by core/moving.py; kept by storage/sqlite/moving.py and storage/postgres/moving.py, which pass one suite (tests/contracts/test_moving.py).
Numbers of mailboxes and messages (`box`, `letter`) are each engine's own: core translates them. An engine decides nothing here and
compares nothing. While mail is moved its target has no other user; its source may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from fancymail.mail.derived import Derived

from .mailboxes import Mailbox


class Table(NamedTuple):
    """Rows of one kind. Columns whose name is `box` or `letter` hold the engine's own numbers."""

    name: str
    columns: tuple[str, ...]
    key: int                    # how many of the first columns name a row; 0: there is one row


def _table(name: str, columns: str, key: int) -> Table:
    return Table(name, tuple(columns.split()), key)


DIRECTORY = (                   # in this order: an account has a domain
    _table("secret", "octets", 0),
    _table("domain", "name", 1),
    _table("account", "key address domain skeleton password scram version enabled quota created", 1),
    _table("alias", "key address domain targets skeleton wildcard", 1),
    _table("access", "account privilege address", 3),
)
OWNER = _table("owner", "uidvalidity", 0)
MAILBOX = Table("mailbox", ("box", *Mailbox._fields[1:]), 1)
REMOVED = _table("removed", "box name special_use keywords at", 1)
STATE = _table("state", "box uid flags modseq letter savedate", 2)
TOMB = _table("tomb", "box uid flags letter savedate expunged", 2)
ACCOUNT = (                     # all of one account but its letters
    OWNER, MAILBOX, REMOVED,
    _table("keyword", "box name bit", 2),
    STATE, TOMB,
    _table("vanished", "box modseq first last", 3),
    _table("change", "box modseq kind uids added removed", 2),
    _table("acl", "box identifier rights", 2),
    _table("metadata", "box name value", 2),            # box 0: of the account
    _table("subscription", "name", 1),
    _table("delivered", "received queue_id recipient mailbox uidvalidity uid at", 3),
    _table("relative", "hash threadid", 1),
)

Key = tuple
Row = tuple


class Letter(NamedTuple):
    """A message as it lies in an account, in however many mailboxes. It never changes."""

    number: int
    blob: bytes
    length: int
    prefix: bytes
    internaldate: int
    emailid: str
    threadid: str
    octets: bytes | None        # of a content that is kept with its row; None: it is a blob
    derived: Derived | None


class Rows(Protocol):
    """Tables that can be read and made like others."""

    def moment(self) -> AbstractContextManager: """All that is read within is of one moment."""
    def change(self) -> AbstractContextManager: """All that is changed within is durable at its end, or nothing of it."""
    def rows(self, table: Table) -> list[Row]: """All rows of a kind, in the order of its columns."""
    def replace(self, table: Table, keys: Sequence[Key], rows: Sequence[Row]) -> None: """Drop the rows of these keys, then add rows."""


class MovingAccount(Rows, Protocol):
    """One account's mail."""

    def letters(self, numbers: Sequence[int]) -> list[Letter]: """Those that are there."""
    def add(self, letters: Sequence[Letter]) -> list[int]: """Keep letters under numbers of our own; these."""
    def boxes(self, count: int) -> Sequence[int]: """Numbers for so many new mailboxes."""
    def tidy(self) -> None: """Drop letters that are in no mailbox and no tomb."""


class MovingMail(Protocol):
    """The mail of all accounts."""

    def names(self) -> list[str]: """All accounts that ever had any."""
    def count(self) -> int: """Messages in all mailboxes."""
    def account(self, name: str) -> MovingAccount: """One; made when it is written to."""
    def close(self) -> None: """Let go of files."""


class Journal(Protocol):
    """What has been moved and verified, kept on the disk between runs."""

    def account(self, name: str) -> bytes: """The digest of the account's rows when they were verified last; b"" for never."""
    def verified(self, name: str, digest: bytes) -> None: """The account is on the other side as its digest says."""
    def contents(self, blobs: Iterable[bytes]) -> set[bytes]: """Those of the contents that are on the other side, read back and whole."""
    def carried(self, blobs: Iterable[bytes]) -> None: """These are."""
    def all_contents(self) -> Iterator[bytes]: """All that are."""
    def begin_anew(self) -> None: """The other side is empty: nothing was moved."""
