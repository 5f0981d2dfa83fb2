"""The daemon by which users read their mail where it is: its ports, its certificates, what its sessions share.

Speaks `auth` and `sasl` to fm-auth; every change is a verb of fm-mailbox, every read goes through the reader: the shards themselves where
they lie on this machine, else verbs. Several processes of it share the ports. It writes nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from fancymail.base.settings import Settings
from fancymail.ipc.message import IpcError
from fancymail.mail.address import parse_mailbox
from fancymail.mail.uidset import Ranges
from fancymail.protocol.imap.options import EXTENSIONS, Limits, Options
from fancymail.protocol.imap.server import ImapServer
from fancymail.servers.connection import Connection
from fancymail.servers.daemon import Daemon
from fancymail.servers.imap.images import Images
from fancymail.servers.imap.readers import open_reader
from fancymail.servers.imap.session import ImapSession
from fancymail.servers.listener import Caps, Listener
from fancymail.servers.mailstore import PATIENCE, MailStore, uid_frames
from fancymail.servers.tls import Certificates

REFUSAL = b"* BYE [UNAVAILABLE] too many connections, try again later\r\n"
FAILURE = b"* BYE [SERVERBUG] internal error, try again later\r\n"
OAUTH = {"OAUTHBEARER", "XOAUTH2"}


class ImapDaemon(Daemon):
    """Lets users read their mail (IMAP)."""

    name = "imap"

    async def started(self) -> None:
        """Open the ports."""
        settings = self.settings.imap
        self.accounts: dict[str, set[ImapSession]] = {}         # those that are logged in
        self.certificates = self._load_certificates(self.settings)
        self._serial: int | None = None
        self._options = options_of(self.settings, self.certificates is not None)
        self.store, self.reader = MailStore(self.ask), open_reader(self)
        self.threads = ThreadPoolExecutor(2, "scan")
        self.images = Images(self.reader, self.spawn, settings.images)
        self.caps = Caps(settings.connections, settings.connections_per_address)
        self.metrics.gauges["sessions"] = lambda: self.caps.sessions
        self.metrics.gauges["mailboxes"] = lambda: len(self.images)
        self.listeners = [self._listen("imap", settings.listen_imap, False)]
        if self.certificates is not None:
            self.listeners.append(self._listen("imaps", settings.listen_imaps, True))
        self.subscribe_to("auth", "accounts", self._accounts_changed)

    async def stopping(self) -> None:
        """Tell every client, between two commands."""
        for listener in self.listeners:
            listener.stop()
        for listener in self.listeners:
            await listener.drain(self.settings.imap.drain)
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.reader.close()

    def reloaded(self, settings) -> None:
        """Take new settings for the sessions to come; ports stay as they are until a restart."""
        if self.certificates is None:
            self.certificates = self._load_certificates(settings)
            for listener in self.listeners:
                listener.certificates = self.certificates
        else:
            try:
                self.certificates.reload(settings.tls, self.paths.state)
            except (OSError, ssl.SSLError, ValueError) as error:
                self.log.error("certificates kept", error=error)
        self._options = options_of(settings, self.certificates is not None)
        self.images.keep = settings.imap.images
        self.caps.per_address = settings.imap.connections_per_address

    # -- connections -------------------------------------------------------------------------------------------------

    def _listen(self, kind: str, addresses: tuple[str, ...], implicit_tls: bool) -> Listener:
        listener = Listener(kind, self._session, log=self.log, caps=self.caps, counters=self.counters, certificates=self.certificates,
                            implicit_tls=implicit_tls, refusal=REFUSAL, failure=FAILURE, trusted=self.settings.imap.proxies)
        for address in addresses:
            listener.open(address, self.paths.state)
        return listener

    def _session(self, connection: Connection) -> ImapSession:
        tls, own = connection.tls, self.settings.imap
        plaintext = own.plaintext_login == "always" or own.plaintext_login == "loopback" and connection.loopback
        options = replace(self._options, plaintext=True) if plaintext else self._options
        return ImapSession(self, connection, ImapServer(options, tls is not None, tls is not None and bool(tls.server_end_point)))

    def _load_certificates(self, settings) -> Certificates | None:
        """Without a certificate only our own host can log in (or whoever the settings allow), in plain text."""
        try:
            return Certificates(settings.tls, self.paths.state, alpn=("imap",))
        except (OSError, ssl.SSLError, ValueError) as error:
            self.log.warning("no TLS", error=error)
            return None

    # -- what sessions share -----------------------------------------------------------------------------------------

    def tell(self, name: str, verb: str, *params) -> None:
        """Say a verb whose answer makes no difference."""
        try:
            self.ask(name, verb, *params).add_done_callback(lambda done: done.cancelled() or done.exception())
        except IpcError:
            pass                        # too much waits already; exchanges end by themselves

    async def beside(self, work: Callable[[], Any]) -> Any:
        """Do what would keep the loop from others in a thread."""
        return await self.loop.run_in_executor(self.threads, work)

    async def derive(self, account: str, mailbox: int, uids: Ranges) -> None:
        """Have fm-mailbox derive what a message lacks."""
        await self.ask("mailbox", "derive", account, mailbox, *uid_frames(uids), timeout=PATIENCE)

    def entered(self, session: ImapSession) -> None:
        """A session is logged in: news of its account are wanted."""
        self.counters["logins"] += 1
        account, sessions = session.account, self.accounts.setdefault(session.account, set())
        if not sessions:
            self.subscribe_to("mailbox", account, lambda: self.changed(account))
        sessions.add(session)

    def left(self, session: ImapSession) -> None:
        """A session is over."""
        sessions = self.accounts.get(session.account)
        if sessions is None:
            return
        sessions.discard(session)
        if not sessions:
            del self.accounts[session.account]
            self.unsubscribe_from("mailbox", session.account)

    def changed(self, account: str) -> None:
        """Something became of an account's mailboxes."""
        self.images.changed(account)
        for session in self.accounts.get(account, ()):
            session.account_changed()

    def _accounts_changed(self) -> None:
        self.spawn(self._end_changed(), "accounts")

    async def _end_changed(self) -> None:
        """End the sessions of accounts that were changed or removed: a new password locks out who knew the old one."""
        try:
            words = await self.ask("auth", "changes", self._serial or 0)
        except IpcError:
            return                      # the next alert, or the poll, asks again
        first, self._serial = self._serial is None, int(words[0])
        changed = {word.decode() for word in words[1:]}
        if first or not changed:
            return                      # what was before our first look is no change to any session of ours
        for account in list(self.accounts):
            if "*" in changed or parse_mailbox(account).key in changed:
                for session in list(self.accounts[account]):
                    self.log.info("session ended", account=account, reason="the account was changed")
                    session.end("the account was changed, log in again")


def options_of(settings: Settings, starttls: bool) -> Options:
    """What connections are told and bound by."""
    own = settings.imap
    mechanisms = tuple(name for name in own.mechanisms if name not in OAUTH or settings.auth.oauth)
    extensions = frozenset(EXTENSIONS) - ({"COMPRESS=DEFLATE"} if not own.compress else set())
    limits = Limits(append=own.append_limit, errors=own.errors, login_failures=own.login_failures)
    return Options(banner=own.banner, mechanisms=mechanisms, starttls=starttls, extensions=extensions, message_limit=own.message_limit,
                   limits=limits, login_timeout=own.login_timeout, idle=own.idle)
