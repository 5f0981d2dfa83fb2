"""fm-mailbox: the mailboxes of all accounts; the only daemon that opens STATE/mail, and the only writer there.

Verbs are thin: whose mailbox it is says recipients.py, what may be done says core/mailboxes.py, many changes of one turn share a commit
(core/turn.py). delivery.py brings in what the queue holds. Here live the threads, the clock and the timers.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from fancymail.base.settings import Paths
from fancymail.core.filing import Filing
from fancymail.core.mailbox_audit import Books, MailboxAudit
from fancymail.core.mailboxes import Mailboxes, uids_of
from fancymail.core.maildrops import InUse, Maildrops
from fancymail.core.schedule import Schedule
from fancymail.core.turn import Turn
from fancymail.ipc.message import RAW_CHUNK, IpcError, Reply
from fancymail.ipc.verb import Address, Flag, Number, Octets, RawStream, Seconds, Text, UserName, Word, verb
from fancymail.mail import uidset
from fancymail.mail.lineends import LineEnds
from fancymail.mail.mailbox import INBOX
from fancymail.servers.asking.notices import QUEUES, Notices
from fancymail.servers.containment.reach import Reach
from fancymail.servers.running.daemon import Daemon
from fancymail.storage.blobs import HEAD, FileBlobs
from fancymail.storage.ports.blobs import Blob
from fancymail.storage.ports.mailboxes import Keep, Message
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.reader import SqliteReader

from .copying import Copying
from .delivery import Delivery
from .derivation import Derivation
from .indexing import Indexing
from .pace import Pace
from .quotas import FULL, Quotas
from .recipients import Recipients
from .refusals import refusals
from .uploads import Uploads
from .verbs import ChangingVerbs, ReadingVerbs

READERS = "pop3 imap webmaild"
OWNERS = "imap webmaild"                # POP3 knows an INBOX from which one reads and deletes, and nothing else
RECORD = struct.Struct("<IQ")           # UID and octets of one message of a maildrop
IN_CHUNK = RAW_CHUNK // RECORD.size
PACE = 0.01                             # seconds between two alerts about one account
LEFT = 3600.0                           # seconds after which nobody brings a file any more that lies in `incoming`
PURGE = 60.0                            # seconds between two looks for what may go
GOING = 1.0                             # seconds between two slices of it when it is much
SWEEP = 300.0                           # seconds between two parts of the blob store looked through for what a crash left


class MailboxServer(ChangingVerbs, ReadingVerbs, Daemon):
    """Mailboxes."""

    name = "mailbox"
    stores = True

    @classmethod
    def reach(cls, settings, paths: Paths) -> Reach:
        """The mailboxes, the queue it delivers from (its files become contents by a link), notices to senders, subscribers."""
        notices = tuple(map(paths.queues.joinpath, QUEUES.values()))
        return Reach(keeps=(paths.mail, paths.queues / settings.mailbox.queue), fills=notices, answers=True)

    async def started(self) -> None:
        options, folder, hostname = self.settings.mailbox, self.paths.state / "mail", self.settings.server.hostname
        self.thread = ThreadPoolExecutor(1, "blobs")
        self.readers = ThreadPoolExecutor(2, "read")
        if self.cluster is None:
            self.blobs = FileBlobs(folder / "blobs")
            self.records = SqliteMailboxes(folder, options.shards, options.cache, options.changes, copied=True)
            self.copying = Copying(self.records.crowded, self.log)
            self.turn = Turn(self.records.transaction, self.copying.look)
        else:
            self.blobs, self.records, self.turn = self.cluster.blobs(), self.cluster.mailboxes(options.changes), self.cluster.turn()
        self.mailboxes = Mailboxes(self.records, self.blobs, folders=options.folders, keep=_times(options))
        self.filing, self.auditor = Filing(self.mailboxes), MailboxAudit(self.mailboxes)
        self.derivation = Derivation(self.records, self.blobs, self.turn, self.readers, self.log)
        if self.cluster is None:
            self.reader = SqliteReader(folder, options.shards, derive=self.derivation.derive, run=self._read)
        else:
            self.mailboxes.stowage.small = self.settings.storage.small
            self.reader = self.cluster.reader(self.derivation.derive, self.readers)
        self.uploads = Uploads(self.thread, self.mailboxes.stowage.sync)
        self.incoming = _folder(folder / "incoming")
        self.maildrops = Maildrops()
        self.pace = Pace(super().alert, PACE, self.loop)
        self.recipients = Recipients(self.ask, options.trust, self.loop.time)
        notices = Notices(self.ask, hostname, self.settings.smtpout.expire, self.readers, self.log,
                          self.keys.secret(self.name))
        self.delivery = Delivery(self.ask, self.alert, self.mailboxes, self.turn, self.recipients, notices, Schedule(self.settings.smtpout),
                                 self.thread, self.log, self.counters, queue=options.queue, batch=options.batch,
                                 separator=self.settings.auth.tag_separator, later=self.derivation.wanted.set)
        self.metrics.gauges["maildrops"] = lambda: self.maildrops.sweep(self.loop.time())
        self.quotas = Quotas(self.mailboxes, self.turn, self.uploads, self.recipients, super().alert, hostname, options.quota_warning,
                             self.log)
        self.subscribe_to("auth", "accounts", self._accounts_changed)
        self.consumer = self.spawn(self.delivery.run(), "delivery")
        self.spawn(self.derivation.run(), "derivation")
        self.indexing = Indexing(folder, options.shards, options.search_index, self.log, lambda: self.turn.count)
        self.metrics.gauges["indexed"] = lambda: self.indexing.count
        self.spawn(self.quotas.run(), "quotas")
        if self.cluster is None:            # a database of its own searches in its own way
            self.spawn(self.indexing.run(), "indexing")
        self.spawn(self._purge(), "purge")
        self.spawn(self._sweep(), "sweep")

    async def stopping(self) -> None:
        """Settle what was taken, then let go of the files."""
        self.delivery.stop()
        await asyncio.wait([self.consumer], timeout=8.0)
        await self.derivation.stop()
        self.thread.shutdown()
        self.readers.shutdown()
        self.indexing.close()
        self.reader.close()
        if self.cluster is None:
            await self.copying.stop()
        self.records.close()
        self.blobs.close()

    def reloaded(self, settings) -> None:
        if settings.mailbox.shards != self.settings.mailbox.shards:
            raise IpcError("5.3.5", "mailbox.shards cannot change once there is mail")
        self.mailboxes.folders, self.mailboxes.keep = settings.mailbox.folders, _times(settings.mailbox)
        self.recipients.trust, self.quotas.warn = settings.mailbox.trust, settings.mailbox.quota_warning
        self.delivery.schedule, self.delivery.batch = Schedule(settings.smtpout), settings.mailbox.batch
        self.delivery.separator = settings.auth.tag_separator

    # -- the reference -----------------------------------------------------------------------------------------------------

    @verb(callers=READERS, name="list")
    async def list_(self, user: UserName) -> AsyncIterator[Reply]:
        """List a user's INBOX: ok with the number of messages, `mailinfo: number ; octets` for each, ok."""
        account = await self._account(user)
        with refusals():
            sizes = self.mailboxes.inbox(account)[1]
        yield Reply("ok", len(sizes))
        for uid, size in sizes:
            yield Reply("mailinfo", uid, size)
        yield Reply("ok")

    @verb(callers=OWNERS)
    async def store(self, to: UserName, recipient: Address, length: Octets, raw: RawStream) -> AsyncIterator[Reply]:
        """Store a message in a user's INBOX: ok, then `length` raw octets are sent, then ok with the message number."""
        account = await self._account(to)
        if length > self.settings.mailbox.store_limit:
            raise IpcError("5.3.4", f"a message has at most {self.settings.mailbox.store_limit} octets")
        yield Reply("ok")
        with refusals():
            yield Reply("ok", await self._store(account, recipient, raw.read(length)))

    @verb(callers=READERS)
    async def retr(self, user: UserName, number: Number) -> AsyncIterator[Reply]:
        """Retrieve a message: ok with its size in octets, then its octets by raw operations."""
        message = self._message(await self._account(user), number)
        with refusals():
            chunks = self.mailboxes.octets(message)
            chunk = next(chunks)                # a content that is lost is an error, not the end of an answer
            yield Reply("ok", message.size)
            while chunk:
                for start in range(0, len(chunk), RAW_CHUNK):
                    yield Reply("raw", chunk[start:start + RAW_CHUNK])
                chunk = await self.loop.run_in_executor(self.readers, next, chunks, b"")

    @verb(callers=READERS, remember=True)
    async def dele(self, user: UserName, number: Number) -> None:
        """Delete a message of a user's INBOX; an error when there is none of that number."""
        account = await self._account(user)
        if not await self._expunge(account, [(number, number)]):
            raise IpcError("5.5.4", f"no such message: {number}")

    # -- for POP3 and other readers ----------------------------------------------------------------------------------------

    @verb(callers=READERS)
    async def maildrop(self, user: UserName, holder: Word = "", seconds: Seconds = 0, known: Text = "") -> AsyncIterator[Reply]:
        """Give an INBOX as it is now: ok with count, octets, UIDVALIDITY, MODSEQ; then by raw operations (UID u32, octets u64) for each message.

        With a holder, have the maildrop for oneself first, as `lock` does. Who has it already as of `known` (UIDVALIDITY.MODSEQ) is told
        the ok alone when nothing has changed.
        """
        account = await self._account(user)
        if holder:
            self._lock(account, holder, seconds)
        with refusals():
            box = self.mailboxes.account(account).mailbox(INBOX)
            if known == f"{box.uidvalidity}.{box.highestmodseq}":
                yield Reply("ok", box.messages, box.octets, box.uidvalidity, box.highestmodseq)
                return
            sizes = self.mailboxes.account(account).sizes(INBOX)
        yield Reply("ok", len(sizes), sum([size for _, size in sizes]), box.uidvalidity, box.highestmodseq)
        for start in range(0, len(sizes), IN_CHUNK):
            yield Reply("raw", b"".join([RECORD.pack(uid, size) for uid, size in sizes[start:start + IN_CHUNK]]))

    @verb(callers=READERS, name="lock")
    async def lock_maildrop(self, user: UserName, holder: Word, seconds: Seconds = 0) -> float:
        """Have a maildrop for oneself, or longer; answers for how many seconds. The holder is any word of the session."""
        return self._lock(await self._account(user), holder, seconds)

    def _lock(self, account: str, holder: str, seconds: float) -> float:
        longest = self.settings.mailbox.lock
        seconds = min(seconds or longest, longest)
        try:
            self.maildrops.lock(account, holder, seconds, self.loop.time())
        except InUse:
            raise IpcError("4.2.1", "the maildrop is in use") from None
        return seconds

    @verb(callers=READERS, name="unlock")
    async def unlock_maildrop(self, user: UserName, holder: Word) -> None:
        """Give a maildrop back."""
        self.maildrops.unlock(await self._account(user), holder)

    @verb(callers=READERS)
    async def blob(self, user: UserName, number: Number, *more: Number) -> list:
        """Tell where messages lie, for readers on this machine: path ; offset ; length ; prefix of each. It is prefix, then octets of the file.

        A small one is prefix alone, without a path. One that does not exist is an error when it is alone; among others its prefix is empty too.
        """
        account = await self._account(user)
        if not more:
            return self._place(self._message(account, number))
        with refusals():
            found = {message.uid: message for message in self.mailboxes.messages(account, uidset.ranges({number, *more}))}
        return [word for each in (number, *more) for word in (self._place(found[each]) if each in found else ("", 0, 0, b""))]

    def _place(self, message: Message) -> list:
        if message.content is not None:
            return ["", 0, 0, message.prefix + message.content]
        return [*self.blobs.place(message.blob, message.length), message.prefix]

    @verb(callers=READERS, remember=True)
    async def expunge(self, user: UserName, *uids: Text) -> int:
        """Delete messages of an INBOX, given as `3` or `1:4,9`; those that are gone already are no error. Answers how many went."""
        account = await self._account(user)
        with refusals():
            ranges = uids_of(uids)
        return len(await self._expunge(account, ranges))

    @verb(callers=READERS)
    async def usage(self, user: UserName) -> tuple[int, int, int, int]:
        """Tell what an account holds: mailboxes ; messages ; octets ; quota in octets (0: none)."""
        account = await self._known(user)
        with refusals():
            return (*self.mailboxes.usage(account.address), account.quota)

    @verb(callers=OWNERS)
    async def folders(self, user: UserName) -> AsyncIterator[Reply]:
        """List mailboxes: `folder: name ; messages ; unseen ; octets ; uidvalidity ; uidnext ; special use` for each, then ok."""
        account = await self._account(user)
        with refusals():
            boxes = self.mailboxes.account(account).mailboxes()
        yield Reply("ok", len(boxes))
        for box in boxes:
            yield Reply("folder", box.name, box.messages, box.unseen, box.octets, box.uidvalidity, box.uidnext, box.special_use)
        yield Reply("ok")

    # -- mailboxes ---------------------------------------------------------------------------------------------------------

    @verb(callers=OWNERS, remember=True)
    async def create(self, user: UserName, mailbox: Text) -> None:
        """Make a mailbox, with those above it; levels are separated by `/`."""
        await self._change(user, lambda account: self.mailboxes.create(account, mailbox))

    @verb(callers=OWNERS, remember=True)
    async def rename(self, user: UserName, mailbox: Text, to: Text) -> None:
        """Rename a mailbox, with all below it; INBOX gives its messages away and stays."""
        await self._change(user, lambda account: self.filing.rename(account, mailbox, to))

    @verb(callers=OWNERS, remember=True)
    async def remove(self, user: UserName, mailbox: Text) -> None:
        """Remove a mailbox and its messages, not those below it."""
        await self._change(user, lambda account: self.mailboxes.remove(account, mailbox))

    # -- the operator ------------------------------------------------------------------------------------------------------

    @verb(remember=True)
    async def undelete(self, user: UserName, seconds: Seconds, mailbox: Text = INBOX) -> int:
        """Bring back what was deleted in the last seconds, as far as it is kept; answers how many messages. A removed mailbox comes back too."""
        return len(await self._change(user, lambda account: self.mailboxes.undelete(account, seconds, mailbox)))

    @verb
    async def rebuild(self, user: UserName) -> int:
        """Count an account's mailboxes anew and derive again all that is derived from its messages; answers of how many, which goes on behind."""
        account = await self._change(user, lambda account: (self.records.account(account).rebuild(), account)[1])
        self.derivation.wanted.set()
        with refusals():
            await self.indexing.forget(account)
            messages = self.mailboxes.usage(account).messages
        self.log.info("rebuilding", account=account, messages=messages)
        return messages

    @verb
    async def forget(self, user: UserName) -> None:
        """Remove all mail of an account that was removed; an error while there is such an account."""
        try:
            await self.ask("auth", "verify", user)
        except IpcError as error:
            if error.status != "5.1.1":
                raise
        else:
            raise IpcError("5.5.0", f"there is an account {user}; remove it first")
        with refusals():
            await self.turn.run(lambda: self.mailboxes.forget(user))
        self.log.info("forgotten", account=user)

    @verb
    def accounts(self, after: Text = "") -> list[str]:
        """List accounts that have mail here, in order, the first 1000 behind `after`."""
        return [name for name in self.records.accounts() if name > after][:1000]

    @verb
    async def purge(self) -> int:
        """Let go at once of what is due: old deleted messages, delivery records, contents without a message; answers how many contents."""
        with refusals():
            total = self.mailboxes.purge()
            while self.mailboxes.overdue():
                await asyncio.sleep(0)
                total += self.mailboxes.purge()
        return total

    @verb
    async def audit(self, contents: Flag = False) -> dict:
        """Count everything anew, as JSON: accounts, mailboxes, messages, octets; mailboxes with wrong counters, messages whose content is
        missing (with contents: or not as it was, for which all of it is read), contents that no message names."""
        return (await self._books(contents)).told()

    @verb
    async def mend(self, contents: Flag = False) -> dict:
        """Make anew what is derived and was lost or is wrong: counters, what was computed of messages, indexes of their texts; and let go of
        contents that no message names. Answers how many of each, as JSON."""
        books = await self._books(contents)
        with refusals():
            done = await self.turn.run(lambda: self.auditor.mend(books))
            done |= {"derived": await self.derivation.complete(), "texts": await self.indexing.mend()}
        self.log.info("mended", **done)
        return done

    @verb(callers="smtpin")
    def full(self, after: Text = "") -> list[str]:
        """List accounts that have no room for more mail, in order, the first 1000 behind `after`; the topic `full` tells that there are others."""
        return sorted(name for name in self.quotas.full if name > after)[:1000]

    def check_topic(self, topic: str) -> None:
        if topic != FULL and ("@" not in topic or len(topic) > 320):
            raise IpcError("5.5.4", "the topics of mailbox are accounts, as full addresses, and full")

    def alert(self, topic: str) -> None:
        """Tell who watches an account, not too often; and look whether it is full now."""
        self.pace.say(topic)
        self.quotas.look(topic)

    def heard(self, topic: str) -> None:
        """Mail came or went on another node."""
        super().heard(topic)
        self.quotas.look(topic)

    def _accounts_changed(self) -> None:
        self.recipients.doubt()
        self.quotas.look_at_all()

    async def _books(self, contents: bool) -> Books:
        books = Books()
        with refusals():
            for _ in self.auditor.look(books, contents):
                await asyncio.sleep(0)
        return books

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _read(self, work) -> asyncio.Future:
        return self.loop.run_in_executor(self.readers, work)

    async def _known(self, user: str):
        return await self.recipients.find(user)

    async def _account(self, user: str) -> str:
        """The account's full address; raises IpcError 5.1.1."""
        return (await self.recipients.find(user)).address

    def _message(self, account: str, number: int) -> Message:
        with refusals():
            return self.mailboxes.message(account, number)

    async def _change(self, user: str, work):
        account = await self._account(user)
        with refusals():
            result = await self.turn.run(lambda: work(account))
        self.alert(account)
        return result

    async def _expunge(self, account: str, uids: list[tuple[int, int]]) -> list[int]:
        with refusals():
            gone = await self.turn.run(lambda: self.mailboxes.expunge(account, uids))
        if gone:
            self.counters["expunged"] += len(gone)
            self.log.info("expunged", account=account, messages=len(gone))
            self.alert(account)
        return gone

    async def _store(self, account: str, recipient: str, chunks: AsyncIterator[bytes]) -> int:
        ends, incoming, head = LineEnds(), self.mailboxes.stowage.open(), b""
        try:
            async for chunk in chunks:
                chunk = ends.feed(chunk)
                if len(head) < HEAD:
                    head += chunk
                incoming.write(chunk)
            incoming.write(ends.end())
            blob = await self.loop.run_in_executor(self.thread, self._keep, incoming)
        finally:
            incoming.abort()
        try:
            result = await self.turn.run(lambda: self.mailboxes.append(account, recipient, blob, head))
        finally:
            self.mailboxes.stowage.release([blob])
        self.counters["stored"] += 1
        self.log.info("stored", to=account, mailbox=result.mailbox, uid=result.uid, size=blob.length)
        self.alert(account)
        return result.uid

    def _keep(self, incoming) -> Blob:
        blob = incoming.finish()
        try:
            self.mailboxes.stowage.sync()
        except OSError:
            self.mailboxes.stowage.release([blob])
            raise
        return blob

    async def _purge(self) -> None:
        while True:
            await asyncio.sleep(PURGE)
            while self._watched(self.mailboxes.purge):
                await asyncio.sleep(GOING)

    async def _sweep(self) -> None:
        """Look through one part of the blob store at a time: all of it in a day."""
        for part in chain.from_iterable(iter(lambda: range(self.blobs.parts), None)):
            await asyncio.sleep(SWEEP)
            try:
                await self._sweep_part(part)
            except Exception as error:          # the next part may be looked through
                self.log.exception("cannot tidy up", error)

    async def _sweep_part(self, part: int) -> None:
        before = time.time() - self.settings.mailbox.blob_grace
        stale = await self.loop.run_in_executor(self.readers, self.blobs.stale, part, before)
        for some in _slices(stale, 500):
            self._watched(lambda: self.mailboxes.unnamed(some))
            await asyncio.sleep(0)
        if self.cluster is not None:
            await self.loop.run_in_executor(self.readers, self.blobs.trim, self.settings.storage.cache)

    def _watched(self, work) -> bool:
        """Let contents go; whether more is due at once."""
        try:
            if gone := work():
                self.counters["contents_removed"] += gone
            return self.mailboxes.overdue()
        except Exception as error:              # whatever it is, the next time comes
            self.log.exception("cannot tidy up", error)
            return False


def _folder(path: Path) -> Path:
    """A folder of our own; what lies there for long was left by a program that ended."""
    path.mkdir(mode=0o770, parents=True, exist_ok=True)        # less the umask
    for leftover in path.iterdir():
        if leftover.stat().st_mtime < time.time() - LEFT:
            leftover.unlink()
    return path


def _times(options) -> Keep:
    return Keep(int(options.undelete), int(options.remember), int(options.blob_grace))


def _slices(items: list, size: int) -> Iterator[list]:
    return (items[start:start + size] for start in range(0, len(items), size))
