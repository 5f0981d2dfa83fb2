"""The daemon by which users read their mail where it is: its ports, and what its sessions share.

Speaks `auth` and `sasl` to fm-auth; every change is a verb of fm-mailbox, every read goes through the reader: the shards themselves where
they lie on this machine, else verbs. Several processes of it share the ports. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from fancymail.base.settings import Paths, Settings
from fancymail.core.imap.orders import SHARE
from fancymail.mail.kept import most_kept, octets_kept
from fancymail.protocol.imap.memory import MOST as MEMORY
from fancymail.protocol.imap.options import EXTENSIONS, MEMORIES, Limits, Options
from fancymail.protocol.imap.server import ImapServer
from fancymail.servers.asking.nearest import open_reader
from fancymail.servers.asking.store import MailStore
from fancymail.servers.containment.reach import Reach
from fancymail.servers.doors.connection import Connection
from fancymail.servers.doors.front import Front
from fancymail.servers.imap.audience import Audience
from fancymail.servers.imap.images import Images
from fancymail.servers.imap.session import ImapSession

OAUTH = {"OAUTHBEARER", "XOAUTH2"}


class ImapDaemon(Front):
    """Lets users read their mail (IMAP)."""

    name = "imap"
    alpn = ("imap",)
    refusal = b"* BYE [UNAVAILABLE] too many connections, try again later\r\n"
    failure = b"* BYE [SERVERBUG] internal error, try again later\r\n"

    @classmethod
    def reach(cls, settings, paths: Paths) -> Reach:
        """The mailboxes, which it reads in place, the folder for what clients bring, and certificates."""
        return Reach(shares=(paths.mail,), reads=(paths.blobs,), keeps=(paths.mail / "incoming",), certificates=True)

    async def started(self) -> None:
        """Open the ports."""
        settings = self.settings.imap
        self.incoming = self.paths.mail / "incoming"            # for what clients bring
        self.sessions: dict[str, set[ImapSession]] = {}         # account -> who is logged in as it
        self.threads = ThreadPoolExecutor(2, "scan")
        self.store, self.reader = MailStore(self.ask), open_reader(self, run=self.beside)
        self.audience = Audience(lambda account: self.subscribe_to("mailbox", account, lambda: self._changed(account)),
                                 lambda account: self.unsubscribe_from("mailbox", account), settings.images)
        self.images = Images(self.reader, self.store, self.spawn, settings.images)
        self.metrics.gauges |= {"mailboxes": lambda: len(self.images), "image_octets": lambda: self.images.octets,
                                "kept_octets": self._kept, "kept_octets_most": lambda: most_kept() + SHARE.most + 2 * MEMORIES * MEMORY}
        self.prepare_doors(settings.connections, settings.connections_per_address)
        self._offer(self.settings)
        self.open_door("imap", settings.listen_imap, self._session, settings.proxies)
        self.open_door("imaps", settings.listen_imaps, self._session, settings.proxies, implicit_tls=True)
        self.watch_accounts()

    async def stopping(self) -> None:
        """Tell every client, between two commands."""
        await self.close_doors(self.settings.imap.drain)
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.reader.close()

    def reloaded(self, settings) -> None:
        """Take new settings for the sessions to come."""
        self.renew_doors(settings, settings.imap.connections, settings.imap.connections_per_address, settings.imap.proxies)
        self._offer(settings)
        self.images.keep = self.audience.keep = settings.imap.images

    def _offer(self, settings: Settings) -> None:
        self._options = options_of(settings, self.certificates is not None)
        self._plaintext = replace(self._options, plaintext=True)

    def _session(self, connection: Connection) -> ImapSession:
        tls, own = connection.tls, self.settings.imap
        plaintext = own.plaintext_login == "always" or own.plaintext_login == "loopback" and connection.loopback
        options = self._plaintext if plaintext else self._options
        return ImapSession(self, connection, ImapServer(options, tls is not None, tls is not None and bool(tls.server_end_point)))

    def _kept(self) -> int:
        """Octets of all that was worked out before."""
        memories = [memory for options in (self._options, self._plaintext) for memory in options.memories.values()]
        return octets_kept() + SHARE.octets + sum(memory.octets for memory in memories)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def beside(self, work: Callable[[], Any]) -> Any:
        """Do what would keep the loop from others in a thread."""
        return await self.loop.run_in_executor(self.threads, work)

    # -- sessions ----------------------------------------------------------------------------------------------------

    def entered(self, session: ImapSession) -> None:
        """A session is logged in."""
        self.counters["logins"] += 1
        self.sessions.setdefault(session.account, set()).add(session)
        self.listen(session.account, session)

    def left(self, session: ImapSession) -> None:
        """A session is over."""
        sessions = self.sessions.get(session.account, set())
        sessions.discard(session)
        if not sessions:
            self.sessions.pop(session.account, None)
        self.audience.discard(session)

    def listen(self, account: str, session: ImapSession) -> None:
        """A session wants news of an account's mailboxes."""
        self.audience.add(account, session)

    def _changed(self, account: str) -> None:
        """Something became of an account's mailboxes."""
        self.images.changed(account)
        for session in self.audience.of(account):
            session.account_changed()

    def present(self) -> Iterable[str]:
        return self.sessions

    def end_sessions(self, account: str) -> None:
        for session in list(self.sessions.get(account, ())):
            session.end("the account was changed, log in again")


def options_of(settings: Settings, starttls: bool) -> Options:
    """What connections are told and bound by."""
    own = settings.imap
    mechanisms = tuple(name for name in own.mechanisms if name not in OAUTH or settings.auth.oauth)
    extensions = frozenset(EXTENSIONS) - ({"COMPRESS=DEFLATE"} if not own.compress else set())
    limits = Limits(append=own.append_limit, errors=own.errors, login_failures=own.login_failures)
    limited = {"save_limit" if own.limit_saving_only else "message_limit": own.message_limit}
    return Options(banner=own.banner, mechanisms=mechanisms, starttls=starttls, extensions=extensions,
                   limits=limits, login_timeout=own.login_timeout, idle=own.idle, **limited)
