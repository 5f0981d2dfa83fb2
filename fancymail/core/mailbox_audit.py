"""The mailboxes' books: counters against what they count, contents that rows name and that are not there, contents that no row names.

Used by fm-mailbox for the verbs `audit` and `mend`, over the same stores as core/mailboxes.py. It changes no message; what is lost it names,
and what is derived it has made anew.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256

from fancymail.core.mailboxes import Mailboxes
from fancymail.mail.mailbox import DELETED, SEEN
from fancymail.mail.uidset import LARGEST
from fancymail.storage.ports.blobs import BadContent
from fancymail.storage.ports.mailboxes import AccountMailboxes, Mailbox, Message, NoSuchMailbox, State

NAMED = 100             # of one kind in an answer
PIECE = 200             # messages looked at before others get their turn
ALL = [(1, LARGEST)]
UNTOLD = (None, errno.EMFILE, errno.ENFILE, errno.ENOMEM)      # says nothing of the content: a bucket that is away has no number


@dataclass
class Books:
    """What was found; each entry of a list is in words for people."""

    accounts: int = 0
    mailboxes: int = 0
    messages: int = 0
    octets: int = 0
    miscounted: list[str] = field(default_factory=list)     # account/mailbox
    missing: list[str] = field(default_factory=list)        # account/mailbox uid: the content is not there, or damaged
    unnamed: list[bytes] = field(default_factory=list)      # contents that no row names, older than they are kept
    wrong: set[str] = field(default_factory=set)            # accounts with wrong counters

    def told(self) -> dict:
        """As a verb's answer."""
        counts = {name: getattr(self, name) for name in ("accounts", "mailboxes", "messages", "octets")}
        return {**counts, "miscounted": len(self.miscounted), "missing": len(self.missing), "unnamed": len(self.unnamed),
                "miscounted_names": self.miscounted[:NAMED], "missing_names": self.missing[:NAMED]}


class MailboxAudit:
    """There are two depths: whether contents are there, or (contents=True) whether they are whole, for which all of them are read."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self.mailboxes = mailboxes

    def look(self, books: Books, contents: bool) -> Iterator[None]:
        """Fill the books; yields now and then, for others. What changes meanwhile is looked at in one piece, mailbox by mailbox.

        Raises OSError when nobody can tell what is there, as of a bucket that is away."""
        for name in self.mailboxes.store.accounts():
            account = self.mailboxes.store.account(name)
            books.accounts += 1
            for box in account.mailboxes():
                yield from self._mailbox(account, box.id, books, contents)
        before = self.mailboxes.wall() - self.mailboxes.keep.blobs
        for part in range(self.mailboxes.blobs.parts):
            stale = self.mailboxes.blobs.stale(part, before)
            books.unnamed += set(stale) - self.mailboxes.store.referenced(stale)
            yield

    def mend(self, books: Books) -> dict[str, int]:
        """Make anew what was wrong and is derived; let go of contents that nobody names."""
        for name in books.wrong:
            self.mailboxes.store.account(name).rebuild()
        return {"recounted": len(books.wrong), "contents_removed": self.mailboxes.unnamed(books.unnamed), "missing": len(books.missing)}

    def _mailbox(self, account: AccountMailboxes, number: int, books: Books, contents: bool) -> Iterator[None]:
        if (found := _at_once(account, number)) is None:
            return
        box, states, sizes, above = found
        books.mailboxes, books.messages, books.octets = books.mailboxes + 1, books.messages + len(states), books.octets + box.octets
        if counted(states, sizes) != (box.messages, box.unseen, box.deleted, box.octets) or above \
                or [state.uid for state in states] != [uid for uid, _ in sizes]:
            books.miscounted.append(f"{account.name}/{box.name}")
            books.wrong.add(account.name)
        for start in range(0, len(states), PIECE):
            piece = states[start:start + PIECE]
            try:
                messages = account.messages(number, [(piece[0].uid, piece[-1].uid)])
            except NoSuchMailbox:               # it was removed meanwhile
                return
            for message in messages:
                if not self._there(message, contents):
                    books.missing.append(f"{account.name}/{box.name} {message.uid}")
            yield

    def _there(self, message: Message, whole: bool) -> bool:
        """Whether the content is there: its first octet, or all of it as it was."""
        kept = getattr(message, "content", None)
        if kept is not None:
            return not whole or sha256(kept).digest() == message.blob
        try:
            if whole:
                return self.mailboxes.blobs.verify(message.blob)
            return message.length == 0 or bool(next(self.mailboxes.blobs.read(message.blob, message.length, 1)))
        except (KeyError, BadContent):
            return False
        except OSError as error:
            if error.errno in UNTOLD:
                raise
            return False


def _at_once(account: AccountMailboxes, number: int) -> tuple[Mailbox, list[State], list[tuple[int, int]], bool] | None:
    """A mailbox, its messages, and whether it has or had any with a UID that it would give again, as they are at one moment, whoever else
    changes it between the questions; None when it is gone."""
    while (box := account.mailbox(number)) is not None:
        with suppress(NoSuchMailbox):
            states, sizes = account.states(number), account.sizes(number)
            above = bool(states) and states[-1].uid >= box.uidnext or bool(account.kept(number, [(box.uidnext, LARGEST)]))
            if account.mailbox(number) == box:
                return box, states, sizes, above
    return None


def counted(states: list[State], sizes: list[tuple[int, int]]) -> tuple[int, int, int, int]:
    """What a mailbox should say: messages, unseen, deleted, octets."""
    return (len(states), sum(not state.flags & SEEN for state in states), sum(bool(state.flags & DELETED) for state in states),
            sum(size for _, size in sizes))
