"""Deriving what was not derived at delivery: of old messages, of copies between accounts, of everything after a rebuild.

A part of fm-mailbox. Readers that need it now say which messages (`derive`); the rest is done in the background, little by little. Contents are read
and computed in a thread; rows are written in a turn with other work. A content that is lost leaves an empty message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

from fancymail.base.log import Log
from fancymail.core.imap.precompute import precompute
from fancymail.core.turn import Turn
from fancymail.mail.derived import VERSION, Derived
from fancymail.mail.uidset import Ranges
from fancymail.storage.ports.blobs import BadContent, BlobStore
from fancymail.storage.ports.mailboxes import MailboxStore, NoSuchMailbox, StoreFailed, Underived

FEW = 32                        # messages of one step
PAUSE = 0.05                    # seconds between two steps in the background: mail that comes in goes first
IDLE = 600.0                    # seconds until the next look when there was nothing


class Derivation:
    """Over a store and its contents; `turn` is the writer's."""

    def __init__(self, store: MailboxStore, blobs: BlobStore, turn: Turn, thread: Executor, log: Log) -> None:
        self.store, self.blobs, self.turn, self.thread, self.log = store, blobs, turn, thread, log
        self.wanted = asyncio.Event()

    async def derive(self, account: str, mailbox: int, uids: Ranges) -> int:
        """Derive of these messages now what was not derived yet; of how many."""
        try:
            rows = self.store.account(account).underived(mailbox, uids, VERSION)
        except NoSuchMailbox:
            return 0
        for start in range(0, len(rows), FEW):
            await self._step(rows[start:start + FEW])
        return len(rows)

    async def run(self) -> None:
        """Derive whatever there is, then wait until somebody says that there is more."""
        while True:
            self.wanted.clear()
            await self.complete(PAUSE)
            try:
                await asyncio.wait_for(self.wanted.wait(), IDLE)
            except TimeoutError:
                pass

    async def complete(self, pause: float = 0.0) -> int:
        """Derive of all messages what was not derived yet, or is lost; of how many."""
        after, count = (0, 0), 0
        while rows := self._next(after):
            await self._step(rows)
            after, count = rows[-1].place, count + len(rows)
            await asyncio.sleep(pause)
        if count:
            self.log.info("derived", messages=count)
        return count

    def _next(self, after: tuple[int, int]) -> Sequence[Underived]:
        return self.store.underived(VERSION, after, FEW)

    async def _step(self, rows: Sequence[Underived]) -> None:
        computed = await asyncio.get_running_loop().run_in_executor(self.thread, lambda: [(row, self._compute(row)) for row in rows])
        try:
            await self.turn.run(lambda: self.store.derive(computed))
        except StoreFailed as error:
            self.log.error("cannot keep what was derived", reason=str(error))

    def _compute(self, row: Underived) -> Derived:
        """In the thread."""
        try:
            content = b"".join(self.blobs.read(row.blob, row.length)) if row.content is None else row.content
        except (KeyError, BadContent, OSError) as error:
            self.log.error("content lost", blob=row.blob.hex(), reason=str(error))
            content = b""
        try:
            return precompute(row.prefix, content, row.internaldate)
        except Exception as error:      # without anything derived it could not be read at all
            self.log.exception("cannot be derived", error, blob=row.blob.hex())
            return precompute(row.prefix, b"", row.internaldate)
