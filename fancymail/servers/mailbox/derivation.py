"""Deriving what was not derived at delivery: of what was just appended, of old messages, of copies between accounts, of everything after a rebuild.

A part of fm-mailbox. Readers that need it now say which messages (`derive`); the rest is done in the background, little by little. Contents are read
and computed in a thread; rows are written in a turn with other work. A content that is lost leaves an empty message.

Of a small message that a client appends (`soon`) it is worked out here, from the octets at hand, when the client has its OK and thinks of the next
one; a few of them are written together. A crash in between costs nothing: what has no such row is found at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress

from fancymail.base.log import Log
from fancymail.core.imap.precompute import precompute
from fancymail.core.turn import Turn
from fancymail.mail.derived import VERSION, Derived
from fancymail.mail.uidset import Ranges, ranges
from fancymail.storage.ports.blobs import BadContent, Blob, BlobStore
from fancymail.storage.ports.mailboxes import MailboxStore, Name, NoSuchMailbox, StoreFailed, Underived

FEW = 32                        # messages of one step
LOOKED = 200                    # messages that are looked at in one go
SOON = 0.03                     # seconds in which several that were appended are gathered
PAUSE = 0.05                    # seconds between two steps in the background: mail that comes in goes first
IDLE = 600.0                    # seconds until the next look when there was nothing


class Derivation:
    """Over a store and its contents; `turn` is the writer's."""

    def __init__(self, store: MailboxStore, blobs: BlobStore, turn: Turn, thread: Executor, log: Log) -> None:
        self.store, self.blobs, self.turn, self.thread, self.log = store, blobs, turn, thread, log
        self.wanted = asyncio.Event()
        self._fresh: list[tuple[Blob, int]] = []                        # what was appended, with its date
        self._ready: dict[tuple[bytes, bytes, int], Derived] = {}       # hash, prefix and date of it -> what was derived
        self._due: dict[tuple[str, Name], list[int]] = {}               # where it is
        self._writing: asyncio.Task | None = None
        self._ended = False

    def soon(self, account: str, mailbox: Name, uid: int, blob: Blob, internaldate: int) -> None:
        """Derive of a small message that was just put there, behind the answer to who brought it."""
        if self._ended:
            return                      # the next start finds it
        loop = asyncio.get_running_loop()
        self._due.setdefault((account, mailbox), []).append(uid)
        self._fresh.append((blob, internaldate))
        loop.call_soon(self._prepare)
        if self._writing is None:
            self._writing = loop.create_task(self._gather())

    def _prepare(self) -> None:
        while self._fresh:
            blob, internaldate = self._fresh.pop()
            self._ready[blob.hash, b"", internaldate] = self._computed(blob.hash, b"", blob.octets or b"", internaldate)

    async def _gather(self) -> None:
        await asyncio.sleep(SOON)
        self._writing = None
        await self.write()

    async def write(self) -> None:
        """Write down what was derived of messages that were appended."""
        self._prepare()
        due, self._due, ready = self._due, {}, list(self._ready)
        for (account, mailbox), uids in due.items():
            try:
                await self.derive(account, mailbox, ranges(uids))
            except StoreFailed as error:
                self.log.error("cannot be derived", account=account, reason=str(error))
        for key in ready:
            self._ready.pop(key, None)

    async def stop(self) -> None:
        """Write down what waits, take no more: the files are going to be closed."""
        self._ended = True
        if self._writing is not None:
            self._writing.cancel()
        await self.write()

    async def derive(self, account: str, mailbox: Name, uids: Ranges) -> int:
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
            try:
                await self.complete(PAUSE)
            except Exception as error:          # a database that is away for a while is no reason to derive nothing any more
                self.log.exception("cannot be derived", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE):
                    await self.wanted.wait()

    async def complete(self, pause: float = 0.0) -> int:
        """Derive of all messages what was not derived yet, or is lost; of how many."""
        after, count = (0, 0), 0
        while after is not None:
            rows, after = self.store.underived(VERSION, after, LOOKED)
            for start in range(0, len(rows), FEW):
                await self._step(rows[start:start + FEW])
                await asyncio.sleep(pause)
            count += len(rows)
            await asyncio.sleep(0)
        if count:
            self.log.info("derived", messages=count)
        return count

    async def _step(self, rows: Sequence[Underived]) -> None:
        known = [(row, self._ready.get((row.blob, row.prefix, row.internaldate))) for row in rows]
        computed = [(row, derived) for row, derived in known if derived is not None]
        if missing := [row for row, derived in known if derived is None]:
            computed += await asyncio.get_running_loop().run_in_executor(self.thread, lambda: [(row, self._compute(row)) for row in missing])
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
        return self._computed(row.blob, row.prefix, content, row.internaldate)

    def _computed(self, blob: bytes, prefix: bytes, content: bytes, internaldate: int) -> Derived:
        try:
            return precompute(prefix, content, internaldate)
        except Exception as error:      # without anything derived it could not be read at all
            self.log.exception("cannot be derived", error, blob=blob.hex())
            return precompute(prefix, b"", internaldate)
