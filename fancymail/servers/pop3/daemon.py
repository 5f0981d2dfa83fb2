"""The daemon by which users fetch their mail: its ports, its certificates, what its sessions share.

Speaks `auth` and `sasl` to fm-auth; `lock`, `unlock`, `maildrop`, `blob` and `expunge` to fm-mailbox; it reads messages from the
blob store itself and writes nothing. Started as fm-pop3 or by the supervisor. A restart of the others costs clients a delay.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict

from fancymail.core.maildrop import Snapshots
from fancymail.ipc.message import IpcError
from fancymail.mail.address import parse_mailbox
from fancymail.protocol.pop3.events import Options
from fancymail.protocol.pop3.server import Pop3Server
from fancymail.protocol.sasl import OAUTH
from fancymail.servers.connection import Connection
from fancymail.servers.daemon import Daemon
from fancymail.servers.listener import Caps, Listener
from fancymail.servers.pop3.session import Pop3Session
from fancymail.servers.tls import Certificates

REMEMBERED = 100_000            # last logins that a login delay looks at
REFUSAL = b"-ERR [SYS/TEMP] too many connections, try again later\r\n"
FAILURE = b"-ERR [SYS/TEMP] internal error, try again later\r\n"


class Pop3Daemon(Daemon):
    """Lets users fetch their mail (POP3)."""

    name = "pop3"

    async def started(self) -> None:
        """Open the ports."""
        settings = self.settings.pop3
        self.sessions: set[Pop3Session] = set()         # those that are logged in
        self.snapshots = Snapshots(settings.snapshots)
        self._logins: OrderedDict[str, float] = OrderedDict()
        self._serial: int | None = None
        self.certificates = self._load_certificates(self.settings)
        self.caps = Caps(settings.connections, settings.connections_per_address)
        self.metrics.gauges["sessions"] = lambda: self.caps.sessions
        self.listeners = [self._listen("pop3", settings.listen_pop3, False)]
        if self.certificates is not None:
            self.listeners.append(self._listen("pop3s", settings.listen_pop3s, True))
        self.subscribe_to("auth", "accounts", self._accounts_changed)
        self._renewal = self.loop.call_later(settings.lock / 3, self._renew_locks)

    async def stopping(self) -> None:
        """Let sessions end between two commands; what they marked stays undeleted, as for any lost connection."""
        self._renewal.cancel()
        await asyncio.gather(*[listener.drain(self.settings.pop3.drain) for listener in self.listeners])

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
        self.caps.per_address = settings.pop3.connections_per_address

    # -- connections -------------------------------------------------------------------------------------------------

    def _listen(self, kind: str, addresses: tuple[str, ...], implicit_tls: bool) -> Listener:
        listener = Listener(kind, self._session, log=self.log, caps=self.caps, counters=self.counters, certificates=self.certificates,
                            implicit_tls=implicit_tls, refusal=REFUSAL, failure=FAILURE, trusted=self.settings.pop3.proxies)
        for address in addresses:
            listener.open(address, self.paths.state)
        return listener

    def _session(self, connection: Connection) -> Pop3Session:
        tls = connection.tls
        engine = Pop3Server(self._options(connection), tls is not None, tls is not None and bool(tls.server_end_point))
        return Pop3Session(self, connection, engine)

    def _options(self, connection: Connection) -> Options:
        own = self.settings.pop3
        plaintext = own.plaintext_login == "always" or own.plaintext_login == "loopback" and connection.loopback
        mechanisms = tuple(name for name in own.mechanisms if name not in OAUTH or self.settings.auth.oauth)
        return Options(banner=own.banner, mechanisms=mechanisms, plaintext=plaintext, stls=self.certificates is not None,
                       login_failures=own.login_failures, login_delay=own.login_delay, errors=own.errors, idle=own.idle,
                       login_timeout=own.login_timeout)

    def _load_certificates(self, settings) -> Certificates | None:
        """Without a certificate only our own host can log in (or whoever the settings allow), in plain text."""
        try:
            return Certificates(settings.tls, self.paths.state, alpn=("pop3",))
        except (OSError, ssl.SSLError, ValueError) as error:
            self.log.warning("no TLS", error=error)
            return None

    # -- what sessions share -----------------------------------------------------------------------------------------

    def tell(self, name: str, verb: str, *params) -> None:
        """Say a verb whose answer makes no difference."""
        try:
            self.ask(name, verb, *params).add_done_callback(lambda done: done.cancelled() or done.exception())
        except IpcError:
            pass                        # too much waits already; locks and exchanges end by themselves

    def too_early(self, account: str) -> bool:
        """Whether the account logged in less than `login-delay` seconds ago (RFC 2449 6.5)."""
        delay = self.settings.pop3.login_delay
        return bool(delay) and self._logins.get(account, float("-inf")) + delay > self.loop.time()

    def entered(self, session: Pop3Session) -> None:
        """A session has its maildrop."""
        self.sessions.add(session)
        self.counters["logins"] += 1
        if self.settings.pop3.login_delay:
            self._logins[session.account] = self.loop.time()
            self._logins.move_to_end(session.account)
            if len(self._logins) > REMEMBERED:
                self._logins.popitem(last=False)

    def _renew_locks(self) -> None:
        """Hold on to the maildrops of all sessions; a restarted fm-mailbox learns of them in this way, too."""
        seconds = self.settings.pop3.lock
        self._renewal = self.loop.call_later(seconds / 3, self._renew_locks)
        for session in self.sessions:
            self.tell("mailbox", "lock", session.account, session.holder, seconds)

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
        for session in list(self.sessions):
            if "*" in changed or parse_mailbox(session.account).key in changed:
                self.log.info("session ended", account=session.account, reason="the account was changed")
                session.connection.drain()
