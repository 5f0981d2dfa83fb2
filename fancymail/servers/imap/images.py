"""The mailboxes that sessions of this process look at: one image of each, however many sessions look, renewed when fm-mailbox says so.

`Images` belongs to servers/imap/daemon.py. A `Box` is the image, its reader and its sessions. An alert of fm-mailbox is a hint: it makes
boxes stale and wakes those whose clients wait for news; the truth is asked of the reader by modseq. Sessions never write to an image.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from fancymail.core.imap.image import BoxImage
from fancymail.ipc.message import IpcError
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.ports.reader import BoxReader, MailboxGone, Reader


class Box:
    """One mailbox in memory. `stale`: an alert came since it was renewed; `gone`: it was removed."""

    def __init__(self, account: str, mailbox: int, reader: BoxReader) -> None:
        self.account, self.mailbox, self.reader = account, mailbox, reader
        self.image: BoxImage | None = None
        self.sessions: set = set()
        self.stale, self.gone = True, False
        self._lock = asyncio.Lock()

    async def current(self) -> None:
        """Renew the image if something was said to have changed. Raises as `renew`."""
        if self.stale:
            await self.renew()

    async def renew(self) -> None:
        """Bring the image up to date with the store. Raises MailboxGone, StoreFailed, IpcError."""
        async with self._lock:
            known = self.image.modseq if self.image is not None else -1
            self.stale = False                      # an alert that comes while we ask makes it stale again
            try:
                await self._renew()
            except MailboxGone:
                self.gone = True
                raise
            except BaseException:
                self.stale = True
                raise
            finally:
                if self.gone or self.image is not None and self.image.modseq != known:
                    self._tell()

    def _tell(self) -> None:
        """Whoever had the image renewed, all whose clients wait have news: the alert may have found it being renewed already."""
        for session in self.sessions:
            if session.waiting:
                session.news()

    async def _renew(self) -> None:
        image = self.image
        if image is None:
            self.image = BoxImage(await self.reader.load())
        elif not image.apply(await self.reader.changes(image.modseq, image.mailbox.uidnext)):
            image.replace(await self.reader.load())     # too long ago for the log of the store


class Images:
    """All boxes of a process. `keep`: seconds for which a box stays after its last session; `spawn(coroutine, what)` runs beside."""

    def __init__(self, reader: Reader, spawn: Callable[[Coroutine, str], object], keep: float) -> None:
        self.reader, self.keep, self._spawn = reader, keep, spawn
        self._loop = asyncio.get_running_loop()
        self._boxes: dict[str, dict[int, Box]] = {}
        self._drops: dict[Box, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return sum(map(len, self._boxes.values()))

    def enter(self, account: str, mailbox: int, session) -> Box:
        """Return the box of a mailbox for a session that selects it."""
        boxes = self._boxes.setdefault(account, {})
        box = boxes.get(mailbox)
        if box is None or box.gone:
            box = boxes[mailbox] = Box(account, mailbox, self.reader.open(account, mailbox))
        if (drop := self._drops.pop(box, None)) is not None:
            drop.cancel()
        box.sessions.add(session)
        return box

    def leave(self, box: Box, session) -> None:
        """A session selects it no more."""
        box.sessions.discard(session)
        if not box.sessions and box not in self._drops:
            self._drops[box] = self._loop.call_later(0 if box.gone else self.keep, self._drop, box)

    def _drop(self, box: Box) -> None:
        del self._drops[box]
        boxes = self._boxes.get(box.account, {})
        if boxes.get(box.mailbox) is box:
            del boxes[box.mailbox]
            if not boxes:
                del self._boxes[box.account]

    def changed(self, account: str) -> None:
        """Something of an account changed: look at once where a client waits for news, at the next command elsewhere."""
        for box in self._boxes.get(account, {}).values():
            box.stale = True
            if any(session.waiting for session in box.sessions):
                self._spawn(self._look(box), "news")

    async def _look(self, box: Box) -> None:
        try:
            await box.current()
        except (MailboxGone, StoreFailed, IpcError):
            pass                        # what is gone was told, what cannot be read is asked for again at the next alert
