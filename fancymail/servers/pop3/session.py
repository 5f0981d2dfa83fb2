"""What fm-pop3 decides for one client: who it is, whether the maildrop is free, what is sent, what is deleted.

Made by servers/pop3/daemon.py for each connection; driven by servers/doors/connection.py with the events of Pop3Server. It asks fm-auth
who may log in, fm-mailbox for the maildrop and for deletions; messages it reads. Nothing is deleted but by QUIT: whatever ends a session
otherwise deletes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from fancymail.core.maildrop import RECORD, Maildrop, Snapshot
from fancymail.ipc.message import IpcError
from fancymail.mail import uidset
from fancymail.mail.mailbox import INBOX
from fancymail.protocol.pop3.events import Login, Retrieve, SaslCancelled, SaslStep, Update
from fancymail.protocol.pop3.server import Pop3Server
from fancymail.servers.doors.connection import Connection, Session
from fancymail.servers.doors.eager import begin
from fancymail.servers.pop3.letters import Letters
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.ports.reader import BoxReader, MailboxGone

if TYPE_CHECKING:
    from fancymail.servers.pop3.daemon import Pop3Daemon

AUTH_PATIENCE = 30.0            # seconds for a login: password checks may queue
PATIENCE = (2.0, 3.0, 5.0)      # seconds for each attempt to take a maildrop
SET_LENGTH = 4000               # UIDs in one parameter of `expunge`, so that it stays a short text


class Pop3Session(Session):
    """One client. `account` is empty until it is logged in."""

    def __init__(self, daemon: Pop3Daemon, connection: Connection, engine: Pop3Server) -> None:
        self.daemon, self.connection, self.engine = daemon, connection, engine
        self.account = ""
        self.holder = ""                        # our word for the lock of the maildrop
        self.maildrop: Maildrop | None = None
        self.box: BoxReader | None = None
        self.letters: Letters | None = None
        self._exchange = ""                     # the word of the SASL exchange under way
        self._proved = ""                       # who SCRAM has proved, while the client has not heard our own proof yet
        self._gone = False

    def handle(self, event) -> Awaitable | None:
        """Decide about one event."""
        return _HANDLERS[type(event)](self, event)

    def closed(self) -> None:
        """The client is gone: the maildrop is free again, and nothing is deleted."""
        self._gone = True
        self.daemon.sessions.discard(self)
        if self._exchange:
            self._cancel_exchange()
        if self.letters is not None:
            self.letters.forget()
        self._unlock()

    def drain(self) -> None:
        """The daemon goes away: end when no command is under way."""
        self.engine.leave()

    # -- logging in --------------------------------------------------------------------------------------------------

    async def _login(self, event: Login) -> None:
        try:
            words = await self.daemon.ask("auth", "auth", event.user, event.password, self.connection.peer, timeout=AUTH_PATIENCE)
        except IpcError as error:
            self._refuse(error, "password")
            return
        await self._enter(words[0].decode(), "password")

    async def _sasl_step(self, event: SaslStep) -> None:
        """Ferry one SASL message, base64 as it is, to auth and its answer back."""
        if self._proved:
            await self._finish_exchange(event)
            return
        self._exchange = self._exchange or secrets.token_hex(16)
        tls = self.connection.tls
        response = b"" if event.response is None else event.response or b"="
        try:
            words = await self.daemon.ask("auth", "sasl", self._exchange, event.mechanism, response, self.connection.peer,
                                          tls is not None, tls.server_end_point if tls else b"", timeout=AUTH_PATIENCE)
        except IpcError as error:
            self._exchange = ""
            self._refuse(error, event.mechanism)
            return
        if words[0] == b"challenge":
            self.engine.challenge(words[1] if len(words) > 1 else b"")
            return
        self._exchange = ""
        account, proof = words[0].decode(), words[1] if len(words) > 1 else b""
        if proof:                               # RFC 5034 4: what comes with the success is one more challenge
            self._proved = account
            self.engine.challenge(proof)
        else:
            await self._enter(account, event.mechanism)

    async def _finish_exchange(self, event: SaslStep) -> None:
        account, self._proved = self._proved, ""
        if event.response:
            self.engine.refused("the last answer of this exchange is empty", "AUTH")
        else:
            await self._enter(account, event.mechanism)

    def _sasl_cancelled(self, event: SaslCancelled) -> None:
        self._proved = ""
        self._cancel_exchange(event.mechanism)

    def _cancel_exchange(self, mechanism: str = "PLAIN") -> None:
        exchange, self._exchange = self._exchange, ""
        if exchange:
            self.daemon.tell("auth", "sasl", exchange, mechanism, b"*", self.connection.peer)

    def _refuse(self, error: IpcError, how: str) -> None:
        """Say why a login failed, in RFC 3206's codes: AUTH only when the credentials are what is wrong."""
        self.daemon.counters["logins_failed"] += 1
        self.daemon.log.info("login refused", client=self.connection.peer, how=how, status=error.status, reason=error.text)
        if error.temporary:
            self.engine.refused("the login cannot be checked now, try again later", "SYS/TEMP", counts=error.status != "4.4.1")
        elif error.status == "5.7.11":
            self.engine.refused("this login needs TLS", "AUTH")
        elif error.status.startswith("5.5"):
            self.engine.refused("this login cannot be read", "AUTH")
        else:
            self.engine.refused("wrong user name or password", "AUTH")

    async def _enter(self, account: str, how: str) -> None:
        """The user is who it says: take the maildrop and its snapshot."""
        if self.daemon.too_early(account):
            self.engine.refused("minimum time between mail checks violation", "LOGIN-DELAY", counts=False)     # RFC 2449 8.1.1
            return
        self.account, self.holder = account, f"pop3-{secrets.token_hex(12)}"
        try:
            snapshot = await self._snapshot(account)
        except IpcError as error:
            self._cannot_enter(error)
            return
        if self._gone:                          # the client left while we asked: closed() had nothing to free yet
            self._unlock()
            return
        self.daemon.entered(self)
        self.maildrop = Maildrop(snapshot)
        self.letters = Letters(self.connection, self.engine, self.maildrop, self.box)
        self.daemon.log.info("login", account=account, client=self.connection.peer, how=how, messages=self.maildrop.count,
                             tls=self.connection.tls.version if self.connection.tls else "no")
        self.engine.logged_in(self.maildrop)

    def _cannot_enter(self, error: IpcError) -> None:
        in_use = error.status == "4.2.1"
        if in_use:
            self.holder = ""                    # the lock is somebody else's
        self._unlock()
        self.daemon.log.info("maildrop refused", account=self.account, client=self.connection.peer, status=error.status, reason=error.text)
        self.account = ""
        if in_use:
            self.engine.refused("another session has this maildrop", "IN-USE", counts=False)
        elif error.temporary:
            self.engine.refused("the maildrop cannot be opened now, try again later", "SYS/TEMP", counts=False)
        else:
            self.engine.refused("the maildrop cannot be opened", "SYS/PERM", counts=False)

    async def _snapshot(self, account: str) -> Snapshot:
        """Take the maildrop. Saying it again with the same holder does no harm, so a fm-mailbox that restarts costs a delay."""
        for patience in PATIENCE[:-1]:
            try:
                return await self._take(account, patience)
            except IpcError as error:
                if error.status != "4.4.1":
                    raise
        return await self._take(account, PATIENCE[-1])

    async def _take(self, account: str, patience: float) -> Snapshot:
        """Lock the maildrop, then look what is in it, unless it is as we know it. Raises IpcError."""
        daemon = self.daemon
        await daemon.ask("mailbox", "lock", account, self.holder, daemon.settings.pop3.lock, timeout=patience)
        with _READING:
            box = await daemon.reader.mailbox(account, INBOX)
            if box is None:                     # nobody has looked yet: fm-mailbox makes the default folders
                await daemon.peer("mailbox").rows("list", account, timeout=patience)
                box = await daemon.reader.mailbox(account, INBOX)
            if box is None:
                raise IpcError("4.3.0", "there is no INBOX")
            self.box = daemon.reader.open(account, box.id)
            known = daemon.snapshots.find(account)
            if known is not None and (known.uidvalidity, known.modseq) == (box.uidvalidity, box.highestmodseq):
                return known
            # What changes behind our look at the mailbox is in the snapshot, or not: the next login sees another modseq in any case.
            rows = await self.box.columns(("size",), [(1, uidset.LARGEST)])
        return daemon.snapshots.share(account, box.uidvalidity, b"".join([RECORD.pack(*row) for row in rows]), box.highestmodseq)

    def _unlock(self) -> None:
        """Free the maildrop; if nobody hears of it, the lock ends by itself."""
        holder, self.holder = self.holder, ""
        if holder:
            self.daemon.tell("mailbox", "unlock", self.account, holder)

    # -- the maildrop ------------------------------------------------------------------------------------------------

    def _retrieve(self, event: Retrieve) -> Awaitable | None:
        self.daemon.counters["retrieved"] += 1
        return begin(self._watch(event))

    async def _watch(self, event: Retrieve) -> None:
        try:
            with _READING:
                await self.letters.send(event)
        except ConnectionError:
            raise
        except (IpcError, OSError) as error:
            if self.engine.sending:             # the client has a part of it: only the end of the connection says that more is missing
                raise
            self._cannot_send(event, error)

    def _cannot_send(self, event: Retrieve, error: Exception) -> None:
        self.daemon.log.error("cannot send", account=self.account, uid=event.uid, error=error)
        gone = isinstance(error, IpcError) and not error.temporary
        self.engine.failed("the message is gone" if gone else "the message cannot be read now", "SYS/PERM" if gone else "SYS/TEMP")

    def _update(self, event: Update) -> Awaitable | None:
        self.daemon.log.info("session", account=self.account, deleted=len(event.uids))
        if event.uids:
            return self._expunge(event.uids)
        self._unlock()
        self.engine.updated()
        return None

    async def _expunge(self, uids: list[int]) -> None:
        """Have the marked messages deleted. Saying it twice does no harm, so a lost answer is asked for again."""
        sets = [uidset.text(uidset.ranges(uids[start:start + SET_LENGTH])) for start in range(0, len(uids), SET_LENGTH)]
        complete = True
        for one in sets:
            try:
                await self.daemon.ask("mailbox", "expunge", self.account, one)
            except IpcError as error:
                complete = False
                self.daemon.log.error("cannot delete", account=self.account, status=error.status, reason=error.text)
                break
        self.daemon.counters["deleted"] += len(uids) if complete else 0
        self._unlock()
        self.engine.updated(complete)


class _Reading:
    """`with _READING:` what a reader cannot give is an IpcError as from a verb: gone for good, or not to be read now."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, MailboxGone):
            raise IpcError("5.2.0", "the mailbox is gone") from error
        if isinstance(error, StoreFailed):
            raise IpcError("4.3.0", f"the mailbox cannot be read: {error}") from error
        if isinstance(error, KeyError):
            raise IpcError("4.3.0", f"a content is lost: {error}") from error


_READING = _Reading()


_HANDLERS = {Login: Pop3Session._login, SaslStep: Pop3Session._sasl_step, SaslCancelled: Pop3Session._sasl_cancelled,
             Retrieve: Pop3Session._retrieve, Update: Pop3Session._update}
