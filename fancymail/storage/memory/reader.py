"""Reading mailboxes in memory (ports.reader.Reader): for tests, and a plain telling of what the port means.

Over a MemoryMailboxes and any store of contents with `read`. What was not derived yet is derived by the function that is given.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from fancymail.mail import uidset
from fancymail.mail.derived import VERSION, Derived
from fancymail.mail.uidset import Ranges
from fancymail.storage.memory.mailboxes import MemoryMailboxes, Row
from fancymail.storage.ports.blobs import BlobStore
from fancymail.storage.ports.mailboxes import Mailbox
from fancymail.storage.ports.reader import KEPT, Changes, Content, Loaded, MailboxGone, Shared

Precompute = Callable[[bytes, bytes, int], Derived]         # prefix, content, internal date


class MemoryReader:
    """All accounts."""

    def __init__(self, store: MemoryMailboxes, blobs: BlobStore, precompute: Precompute) -> None:
        self.store, self.blobs, self.precompute = store, blobs, precompute

    async def mailboxes(self, account: str) -> list[Mailbox]:
        """All of an account."""
        return self.store.account(account).mailboxes()

    async def mailbox(self, account: str, name: str) -> Mailbox | None:
        """One, or None."""
        return self.store.account(account).mailbox(name)

    async def subscriptions(self, account: str) -> list[str]:
        """Subscribed names."""
        return self.store.account(account).subscriptions()

    async def metadata(self, account: str, mailbox: int = 0) -> dict[str, bytes]:
        """Entries of a mailbox or of the account."""
        return dict(sorted(self.store.entries.get((account, mailbox), {}).items()))

    async def acl(self, account: str, mailbox: int) -> dict[str, str]:
        """Identifier -> rights."""
        there = self.store.account(account).mailbox(mailbox)
        return self.store.account(account).acl(mailbox) if there else {}

    async def shared(self, account: str) -> list[Shared]:
        """What others gave an account rights to."""
        return [Shared(*row) for row in self.store.shared(account)]

    def open(self, account: str, mailbox: int) -> MemoryBox:
        """One mailbox."""
        return MemoryBox(self, account, mailbox)

    def content(self, blob: bytes, length: int) -> bytes:
        """A content, wherever it is kept."""
        octets = self.store.content(blob)
        return b"".join(self.blobs.read(blob, length)) if octets is None else octets

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryBox:
    """One mailbox (ports.reader.BoxReader)."""

    def __init__(self, reader: MemoryReader, account: str, mailbox: int) -> None:
        self.reader, self.account, self.mailbox = reader, account, mailbox
        self.mine = reader.store.account(account)

    async def load(self) -> Loaded:
        """All of it."""
        box, states = self._box(), self.mine.states(self.mailbox)
        uids, flags, modseqs = zip(*states) if states else ((), (), ())
        return Loaded(box, self.mine.keywords(self.mailbox), array("I", uids), array("Q", flags), array("Q", modseqs))

    async def changes(self, modseq: int, uidnext: int) -> Changes:
        """What became of it since."""
        box, states = self._box(), self.mine.states(self.mailbox, modseq)
        return Changes(box, self.mine.keywords(self.mailbox), states, self.mine.vanished(self.mailbox, modseq))

    async def columns(self, names: Sequence[str], uids: Ranges, kept: bool = False) -> list[tuple]:
        """Values in bulk."""
        if not kept and uids:
            self._box()
        return [(uid, *(self._column(name, row) for name in names)) for uid, row in self._rows(uids, kept)]

    async def octets(self, content: Content, start: int = 0, length: int | None = None) -> bytes:
        """Octets of a message."""
        whole = content.prefix + self.reader.content(content.blob, content.length)
        return whole[start:] if length is None else whole[start:start + length]

    async def matching(self, words: Sequence[str], place: str, uids: Ranges) -> list[int]:
        """UIDs of those with all the words."""
        names = {"header": ("header_text",), "body": ("text",), "text": ("header_text", "text")}[place]
        return [uid for uid, *texts in await self.columns(names, uids) if all(any(word in text for text in texts) for word in words)]

    def _rows(self, uids: Ranges, kept: bool) -> list[tuple[int, Row]]:
        table = self.reader.store.tombs if kept else self.reader.store.states
        return sorted((uid, row) for (mailbox, uid), row in table.items() if mailbox == self.mailbox and uidset.contains(uids, uid))

    def _column(self, name: str, row: Row):
        msg = self.reader.store.msgs[row.mid]
        if name in Derived._fields:
            return getattr(self._derived(row.mid), name)
        if name == "size":
            return len(msg.prefix) + msg.length
        if name == KEPT:
            return self.reader.store.content(msg.blob)
        return row.savedate if name == "savedate" else getattr(msg, name)

    def _derived(self, mid: int) -> Derived:
        store = self.reader.store
        if store.lacks(mid, VERSION):
            msg = store.msgs[mid]
            store.derivations[mid] = self.reader.precompute(msg.prefix, self.reader.content(msg.blob, msg.length), msg.internaldate)
        return store.derivations[mid]

    def _box(self) -> Mailbox:
        box = self.mine.mailbox(self.mailbox)
        if box is None:
            raise MailboxGone(str(self.mailbox))
        return box
