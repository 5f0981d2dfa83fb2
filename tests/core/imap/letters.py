"""A mailbox of real messages in memory, read through the reader port, with a session's view of it."""

from __future__ import annotations

from fancymail.core.imap.image import BoxImage
from fancymail.core.imap.precompute import precompute
from fancymail.core.imap.view import View
from fancymail.core.relatives import relatives
from fancymail.storage.memory.blobs import MemoryBlobs
from fancymail.storage.memory.mailboxes import MemoryMailboxes
from fancymail.storage.memory.reader import MemoryReader
from fancymail.storage.ports.mailboxes import Delivery

ACCOUNT = "alice@example.test"


class Letters:
    """INBOX of an account."""

    def __init__(self, *messages: bytes, prefix: bytes = b"", internaldate: int = 1_000_000_000, now: int = 1_500_000_000) -> None:
        self.store, self.blobs = MemoryMailboxes(), MemoryBlobs()
        self.account = self.store.account(ACCOUNT)
        self.box = self.account.create("INBOX", now)
        self.reader = MemoryReader(self.store, self.blobs, precompute)
        self.opened = self.reader.open(ACCOUNT, self.box.id)
        for message in messages:
            self.add(message, prefix=prefix, internaldate=internaldate, now=now)

    def add(self, message: bytes, flags: int = 0, keywords: tuple[str, ...] = (), *, prefix: bytes = b"", internaldate: int = 1_000_000_000,
            now: int = 1_500_000_000) -> int:
        blob = self.blobs.keep(message)
        delivery = Delivery("INBOX", "", 0, blob.hash, blob.length, prefix, internaldate, relatives(message), flags, keywords,
                            precompute(prefix, message, internaldate))
        return self.account.deliver([delivery], now)[0].uid

    async def view(self) -> View:
        return View(BoxImage(await self.opened.load()))
