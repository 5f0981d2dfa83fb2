"""The daemon by which users fetch their mail: its ports, its certificates, what its sessions share.

Speaks `auth` and `sasl` to fm-auth; `lock`, `unlock` and `expunge` to fm-mailbox; it reads the mailboxes themselves where they lie on
this machine, else by verbs, and writes nothing. Started as fm-pop3 or by the supervisor. A restart of the others costs clients a delay.
"""

from __future__ import annotations

from collections import OrderedDict

from fancymail.base.settings import Paths
from fancymail.core.maildrop import Snapshots
from fancymail.protocol.pop3.events import Options
from fancymail.protocol.pop3.server import Pop3Server
from fancymail.protocol.sasl import OAUTH
from fancymail.servers.asking.nearest import open_reader
from fancymail.servers.containment.reach import Reach
from fancymail.servers.doors.connection import Connection
from fancymail.servers.doors.front import Front
from fancymail.servers.pop3.session import Pop3Session

REMEMBERED = 100_000            # last logins that a login delay looks at


class Pop3Daemon(Front):
    """Lets users fetch their mail (POP3)."""

    name, alpn = "pop3", ("pop3",)
    refusal = b"-ERR [SYS/TEMP] too many connections, try again later\r\n"
    failure = b"-ERR [SYS/TEMP] internal error, try again later\r\n"

    @classmethod
    def reach(cls, settings, paths: Paths) -> Reach:
        """The mailboxes, which it reads in place, and certificates."""
        return Reach(shares=(paths.mail,), reads=(paths.blobs,), certificates=True)

    async def started(self) -> None:
        """Open the ports."""
        settings = self.settings.pop3
        self.sessions: set[Pop3Session] = set()         # those that are logged in
        self.reader = open_reader(self)
        self.snapshots = Snapshots(settings.snapshots)
        self._logins: OrderedDict[str, float] = OrderedDict()
        self.prepare_doors(settings.connections, settings.connections_per_address)
        self.open_door("pop3", settings.listen_pop3, self._session, settings.proxies)
        self.open_door("pop3s", settings.listen_pop3s, self._session, settings.proxies, implicit_tls=True)
        self.watch_accounts()
        self._renewal = self.loop.call_later(settings.lock / 3, self._renew_locks)

    async def stopping(self) -> None:
        """Let sessions end between two commands; what they marked stays undeleted, as for any lost connection."""
        self._renewal.cancel()
        await self.close_doors(self.settings.pop3.drain)
        self.reader.close()

    def reloaded(self, settings) -> None:
        """Take new settings for the sessions to come; ports stay as they are until a restart."""
        self.renew_doors(settings, settings.pop3.connections, settings.pop3.connections_per_address, settings.pop3.proxies)

    # -- connections -------------------------------------------------------------------------------------------------

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

    # -- what sessions share -----------------------------------------------------------------------------------------

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

    def present(self) -> list[str]:
        """The accounts that are logged in."""
        return [session.account for session in self.sessions]

    def end_sessions(self, account: str) -> None:
        """End the sessions of an account, between two commands."""
        for session in [session for session in self.sessions if session.account == account]:
            session.connection.drain()
