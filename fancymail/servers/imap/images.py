"""The mailboxes that sessions of this process look at: one image of each, however many sessions look, renewed when fm-mailbox says so.

`Images` belongs to servers/imap/daemon.py. A `Box` is the image, its reader and its sessions. An alert of fm-mailbox is a hint: it makes
boxes stale and wakes those whose clients wait for news; the truth is asked of the reader by modseq. Sessions never write to an image. What is new
is claimed as \\Recent before any session can tell of it (RFC 3501 2.3.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from fancymail.core.filing import EVERY_BIT
from fancymail.core.imap.image import BoxImage
from fancymail.core.imap.view import View
from fancymail.ipc.message import IpcError
from fancymail.servers.asking.store import MailStore
from fancymail.storage.ports.mailboxes import Mailbox, Stored, StoreFailed
from fancymail.storage.ports.reader import BoxReader, Changes, Loaded, MailboxGone, Reader


class Box:
    """One mailbox in memory. `stale`: an alert came since it was renewed; `gone`: it was removed."""

    def __init__(self, account: str, mailbox: int, reader: BoxReader, store: MailStore) -> None:
        self.account, self.mailbox, self.reader, self._store = account, mailbox, reader, store
        self.image: BoxImage | None = None
        self.sessions: set = set()
        self.stale, self.gone = True, False
        self._lock = asyncio.Lock()
        self._nothing: Changes | None = None        # the answer that there is nothing new: readers give the same one as long as it is true

    async def current(self) -> None:
        """Renew the image if something was said to have changed. Raises as `renew`."""
        if self.stale:
            await self.renew()

    async def learn(self, stored: Stored, action: str, flags: Sequence[str]) -> None:
        """Take what fm-mailbox answered to a STORE of this process, without asking anybody, if nothing came between. Raises as `renew`."""
        bits, unknown = self.image.bits(flags)
        known = self.image.modseq
        if unknown or not self.image.mark(stored.changed, stored.modseq, bits if action != "remove" else 0,
                                          {"add": 0, "remove": bits, "set": EVERY_BIT}[action]):
            await self.renew()
        elif self.image.modseq != known:
            self._tell()

    async def renew(self, found: Mailbox | None = None) -> None:
        """Bring the image up to date with the store; `found`: what was read of the mailbox for the same command. Raises MailboxGone, StoreFailed,
        IpcError."""
        if found is not None and self.image is not None and found == self.image.mailbox:
            return                                  # what was said to have changed since is asked at the next command
        if self._nothing is not None and not self.stale and await self._quiet():
            return
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

    async def _quiet(self) -> bool:
        """Whether nothing happened. Who finds out otherwise asks again, behind those who are about it already."""
        try:
            return await self._ask() is self._nothing
        except MailboxGone:
            return False

    def _tell(self) -> None:
        """Whoever had the image renewed, all whose clients wait have news: the alert may have found it being renewed already."""
        for session in self.sessions:
            if session.waiting:
                session.news()

    async def _renew(self) -> None:
        image = self.image
        if image is None:
            self.image = BoxImage(await self.reader.load())
            return
        changes = await self._ask()
        if changes is self._nothing:
            return
        self._nothing = None
        if not image.apply(await self._claimed(changes)):
            image.replace(await self._claimed(await self.reader.load()))        # too long ago for the log of the store
        elif image.mailbox is changes.mailbox and not changes.states and not changes.vanished and not self._unclaimed(image.mailbox):
            self._nothing = changes

    async def _ask(self) -> Changes:
        mailbox = self.image.mailbox
        return await self.reader.changes(mailbox.highestmodseq, mailbox.uidnext)

    async def claim(self, view: View) -> None:
        """A view is about to be told for the first time: what nobody was told of yet is for it, if it knows of \\Recent."""
        if view.claims:
            await self._claim(self.image.mailbox)

    async def _claimed(self, found: Changes | Loaded) -> Changes | Loaded:
        """What was found, and nobody else will be told first of what is new in it."""
        if any(session.box is self and session.view.claims for session in self.sessions):
            return found._replace(mailbox=await self._claim(found.mailbox))
        return found

    @staticmethod
    def _unclaimed(facts: Mailbox) -> bool:
        """Whether there is what no session was told of as \\Recent."""
        return facts.recent_floor < facts.uidnext

    async def _claim(self, facts: Mailbox) -> Mailbox:
        if not self._unclaimed(facts):
            return facts
        try:
            first, before = await self._store.claim(self.account, self.mailbox)
        except IpcError:
            return facts                    # fm-mailbox is away: mail can be read meanwhile, and the next one to be told claims it
        self.image.claimed(first, before)
        return facts._replace(recent_floor=before)


class Images:
    """All boxes of a process. `keep`: seconds for which a box stays after its last session; `spawn(coroutine, what)` runs beside."""

    def __init__(self, reader: Reader, store: MailStore, spawn: Callable[[Coroutine, str], object], keep: float) -> None:
        self.reader, self.store, self.keep, self._spawn = reader, store, keep, spawn
        self._loop = asyncio.get_running_loop()
        self._boxes: dict[str, dict[int, Box]] = {}
        self._left: dict[Box, float] = {}           # boxes without a session, and when the last one left
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._boxes.values()))

    @property
    def octets(self) -> int:
        """Of all images, their orders apart."""
        return sum(box.image.octets for boxes in self._boxes.values() for box in boxes.values() if box.image is not None)

    def enter(self, account: str, mailbox: int, session) -> Box:
        """Return the box of a mailbox for a session that selects it."""
        boxes = self._boxes.setdefault(account, {})
        box = boxes.get(mailbox)
        if box is None or box.gone:
            box = boxes[mailbox] = Box(account, mailbox, self.reader.open(account, mailbox), self.store)
        self._left.pop(box, None)
        box.sessions.add(session)
        return box

    def leave(self, box: Box, session) -> None:
        """A session selects it no more."""
        box.sessions.discard(session)
        if box.sessions:
            return
        if box.gone:
            self._drop(box)
            return
        self._left[box] = self._loop.time()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self.keep, self._sweep)

    def _sweep(self) -> None:
        """Let go of the boxes that nobody has come back to."""
        self._sweeping, now = None, self._loop.time()
        for box, left in list(self._left.items()):
            if (rest := left + self.keep - now) > 0:            # the next one left later still
                self._sweeping = self._loop.call_later(rest, self._sweep)
                return
            del self._left[box]
            self._drop(box)

    def _drop(self, box: Box) -> None:
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
