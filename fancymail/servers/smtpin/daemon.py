"""The daemon that takes mail in: its ports, its certificates, what its sessions share.

Speaks `slot` and `push` to queue, `resolve`, `may-send` and `sasl` to auth, and nothing else to anybody. Started as fm-smtpin or
by the supervisor. Restarting it loses no message that got 250, restarting the others costs its clients a delay.
"""

from __future__ import annotations

import ipaddress
import resource
import ssl

from fancymail.protocol.smtp.content import ContentLimits
from fancymail.protocol.smtp.options import Deadlines, Options
from fancymail.protocol.smtp.reply import Reply
from fancymail.servers.connection import Connection
from fancymail.servers.daemon import Daemon
from fancymail.servers.injection import Injection
from fancymail.servers.listener import RESERVED, Caps, Listener, Network, inside
from fancymail.servers.smtpin.directory import Directory
from fancymail.servers.smtpin.session import SmtpSession
from fancymail.servers.smtpin.slots import Outbox, SlotPool
from fancymail.servers.smtpin.transaction import QUEUES
from fancymail.servers.sockets import unix_path
from fancymail.servers.tls import Certificates


class SmtpInServer(Injection, Daemon):
    """Takes mail from other servers, users and local programs, and puts it into the queues."""

    name = "smtpin"

    async def started(self) -> None:
        """Open the ports; slots and answers are asked for while the first client says hello."""
        settings = self.settings.smtpin
        self.directory = Directory(self.ask, (settings.verdict_lifetime, settings.refusal_lifetime))
        self.pools = {queue: SlotPool(self.ask, queue, settings.slots_ahead) for queue in QUEUES.values()}
        self.outboxes = {queue: Outbox(self.ask, queue, pool.forget) for queue, pool in self.pools.items()}
        self.subscribe_to("auth", "accounts", self.directory.forget)
        self.certificates = self._load_certificates(self.settings)
        self._apply(self.settings)
        self.caps = Caps(min(settings.connections, _room(settings.slots_ahead)), settings.connections_per_address)
        self.listeners: list[Listener] = []
        self._listen("smtp", settings.listen_smtp)
        self._listen("submission", settings.listen_submission)
        if self.certificates is not None:
            self._listen("submissions", settings.listen_submissions, implicit_tls=True)
        self._listen("lmtp", settings.listen_lmtp)
        for pool in self.pools.values():
            pool.fill()
        self.metrics.gauges["sessions"] = lambda: self.caps.sessions

    async def stopping(self) -> None:
        """Let sessions end between two messages."""
        for listener in self.listeners:
            listener.stop()
        for listener in self.listeners:
            await listener.drain(self.settings.smtpin.drain)

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
        self.directory.lifetimes = (settings.smtpin.verdict_lifetime, settings.smtpin.refusal_lifetime)
        for pool in self.pools.values():
            pool.ahead = settings.smtpin.slots_ahead
        self.caps.per_address = settings.smtpin.connections_per_address
        self._apply(settings)

    @property
    def full(self) -> bool:
        """Whether the queue has no room for mail."""
        return any(pool.full for pool in self.pools.values())

    def may_relay(self, peer: str) -> bool:
        """Whether the operator lets an address relay without a login."""
        return inside(peer, self.relays)

    def _apply(self, settings) -> None:
        """Work out what sessions are given."""
        self.relays: tuple[Network, ...] = tuple(ipaddress.ip_network(one, strict=False) for one in settings.smtpin.relay_networks)
        tls = self.certificates is not None
        mechanisms = settings.smtpin.mechanisms
        self.options = {
            "smtp": self._options(settings, "transfer", tls, mechanisms if settings.smtpin.auth_on_smtp else ()),
            "submission": self._options(settings, "submission", tls, mechanisms, auth_required=True),
            "submissions": self._options(settings, "submission", False, mechanisms, auth_required=True),
            "lmtp": self._options(settings, "lmtp", False, ()),
        }

    def _options(self, settings, mode: str, tls: bool, mechanisms: tuple[str, ...], auth_required: bool = False) -> Options:
        own = settings.smtpin
        return Options(
            host=settings.server.hostname, mode=mode, banner=own.banner, tls=tls, mechanisms=mechanisms,
            auth_in_plain=own.auth_without_tls, auth_required=auth_required, sync=own.strict_pipelining and mode == "transfer",
            recipients=own.recipients, messages=own.messages, errors=own.errors, junk=own.junk, logins=own.login_failures,
            content=ContentLimits(own.message_size, own.header_size, own.header_fields, own.line_length),
            deadlines=Deadlines(greeting=own.greet_delay if mode == "transfer" else 0.0, hello=own.hello_timeout,
                                command=own.command_timeout, auth=own.auth_timeout, content=own.content_timeout))

    def _listen(self, port: str, addresses: tuple[str, ...], implicit_tls: bool = False) -> None:
        host = self.settings.server.hostname
        listener = Listener(
            f"smtpin {port}", lambda connection: self._session(port, connection), log=self.log, caps=self.caps, counters=self.counters,
            certificates=self.certificates, implicit_tls=implicit_tls, trusted=self.settings.smtpin.proxies,
            refusal=Reply(421, "4.7.0", f"{host} Too many connections, try again later").octets,
            failure=Reply(421, "4.3.0", f"{host} Internal error, try again later").octets)
        self.listeners.append(listener)
        for address in addresses:
            mode = self.settings.smtpin.lmtp_mode if unix_path(address) is not None else None
            listener.open(address, self.paths.state, mode)

    def _session(self, port: str, connection: Connection) -> SmtpSession:
        return SmtpSession(self, connection, self.options[port])

    def _load_certificates(self, settings) -> Certificates | None:
        """Without a certificate mail still comes in, in plain text, as it would to a server that never had one."""
        try:
            return Certificates(settings.tls, self.paths.state)
        except (OSError, ssl.SSLError, ValueError) as error:
            self.log.warning("no TLS", error=error)
            return None


def _room(slots_ahead: int) -> int:
    """How many sessions the process's descriptors are good for: a session has its socket, and two slots at most."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(16, (limit - RESERVED - 4 * slots_ahead) // 3)
