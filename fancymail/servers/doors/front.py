"""A daemon that clients connect to: its doors, its certificates, the end of sessions whose account was changed.

Base of fm-smtpin, fm-pop3 and fm-imap beside Daemon. It knows no protocol: what a session is, says and decides is the subclass's.
Without a certificate the doors for implicit TLS send everybody away and nothing offers STARTTLS; the rest goes on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable

from fancymail.ipc.message import IpcError
from fancymail.mail.address import parse_mailbox
from fancymail.servers.doors.connection import Connection, Session
from fancymail.servers.doors.listener import Caps, Listener
from fancymail.servers.doors.tls import Certificates
from fancymail.servers.running.daemon import Daemon
from fancymail.servers.running.sockets import unix_path


class Front(Daemon):
    """Doors and what they share. `alpn`: protocols offered within TLS; `refusal` and `failure`: see Listener."""

    alpn: tuple[str, ...] = ()
    refusal = failure = b""

    def prepare_doors(self, total: int, per_address: int) -> None:
        """Load the certificates, count sessions: to be called before `open_door`."""
        self.certificates = self._load_certificates(self.settings)
        self.caps = Caps(total, per_address)
        self.listeners: list[Listener] = []
        self.metrics.gauges["sessions"] = lambda: self.caps.sessions

    def open_door(self, name: str, addresses: Iterable[str], make_session: Callable[[Connection], Session], proxies: Iterable[str],
                  implicit_tls: bool = False, mode: int | None = None) -> None:
        """Listen at addresses; `mode` is for the file of a unix socket."""
        listener = Listener(name, make_session, log=self.log, caps=self.caps, counters=self.counters, certificates=self.certificates,
                            implicit_tls=implicit_tls, refusal=self.refusal, failure=self.failure, trusted=proxies)
        self.listeners.append(listener)
        for address in addresses:
            listener.open(address, self.paths.state, mode if unix_path(address) is not None else None)

    async def close_doors(self, seconds: float) -> None:
        """Let nobody in any more, and sessions end where they may; all within `seconds`."""
        for listener in self.listeners:
            listener.stop()
        await asyncio.gather(*[listener.drain(seconds) for listener in self.listeners])

    def renew_doors(self, settings, total: int, per_address: int, proxies: Iterable[str]) -> None:
        """Take new certificates, caps and balancers for the sessions to come; ports stay as they are until a restart."""
        if self.certificates is None:
            self.certificates = self._load_certificates(settings)
            for listener in self.listeners:
                listener.certificates = self.certificates
        else:
            try:
                self.certificates.reload(settings.tls, self.paths.state)
            except (OSError, ssl.SSLError, ValueError) as error:
                self.log.error("certificates kept", error=error)
        self.caps.allow(total, per_address)
        for listener in self.listeners:
            listener.trust(proxies)

    def _load_certificates(self, settings) -> Certificates | None:
        try:
            return Certificates(settings.tls, self.paths.state, alpn=self.alpn)
        except (OSError, ssl.SSLError, ValueError) as error:
            self.log.warning("no TLS", error=error)
            return None

    def tell(self, name: str, verb: str, *params) -> None:
        """Say a verb whose answer makes no difference."""
        try:
            self.ask(name, verb, *params).add_done_callback(lambda done: done.cancelled() or done.exception())
        except IpcError:
            pass                        # too much waits already; locks and exchanges end by themselves

    # -- accounts that change ----------------------------------------------------------------------------------------

    def present(self) -> Iterable[str]:
        """The accounts that are logged in."""
        return ()

    def end_sessions(self, account: str) -> None:
        """End the sessions of an account that was changed or removed."""

    def watch_accounts(self) -> None:
        """From now on a new password locks out who knew the old one."""
        self._serial: int | None = None
        self.subscribe_to("auth", "accounts", lambda: self.spawn(self._find_changed(), "accounts"))

    async def _find_changed(self) -> None:
        try:
            words = await self.ask("auth", "changes", self._serial or 0)
        except IpcError:
            return                      # the next alert, or the poll, asks again
        first, self._serial = self._serial is None, int(words[0])
        changed = {word.decode() for word in words[1:]}
        if first or not changed:
            return                      # what was before our first look is no change to any session of ours
        for account in set(self.present()):
            if "*" in changed or parse_mailbox(account).key in changed:
                self.log.info("sessions ended", account=account, reason="the account was changed")
                self.end_sessions(account)
