"""The daemon that takes mail in: its ports, its certificates, what its sessions share.

Speaks `slot`, `enter` and `recover` to queue (and `push`, for `inject`), `resolve`, `may-send` and `sasl` to auth, `full` to mailbox, and
nothing else to anybody. Started as fm-smtpin or by the supervisor. Restarting it loses no message that got 250, restarting the others costs
its clients a delay.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import resource
from contextlib import suppress

from fancymail.base.settings import Paths
from fancymail.ipc.message import IpcError
from fancymail.protocol.smtp.content import ContentLimits
from fancymail.protocol.smtp.options import Deadlines, Options
from fancymail.protocol.smtp.reply import Reply
from fancymail.servers.containment.reach import Reach
from fancymail.servers.doors.connection import Connection
from fancymail.servers.doors.front import Front
from fancymail.servers.doors.listener import RESERVED, Network, inside
from fancymail.servers.running.sockets import known, listening, unix_path
from fancymail.servers.smtpin.directory import Directory
from fancymail.servers.smtpin.injection import Injection
from fancymail.servers.smtpin.outbox import Outbox
from fancymail.servers.smtpin.pushing import Pushing
from fancymail.servers.smtpin.session import SmtpSession
from fancymail.servers.smtpin.slots import SlotPool
from fancymail.servers.smtpin.transaction import QUEUES


STOP = 2.0                           # seconds that the queue has at our end to take what it has not heard of
RECOVERY = 60.0                      # seconds that it may take to look through what the process before us was given


class SmtpInServer(Injection, Front):
    """Takes mail from other servers, users and local programs, and puts it into the queues."""

    name = "smtpin"

    @classmethod
    def reach(cls, settings, paths: Paths) -> Reach:
        """Slots to write into, whose names it was given, and certificates."""
        return Reach(fills=tuple(map(paths.queues.joinpath, QUEUES.values())), certificates=True)

    def prepare(self) -> None:
        """Open the folder of the queues, for the syncs: its names will be out of reach; so will be the mode of a socket that is root's."""
        self.folder = os.open(self.paths.queues, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for address in filter(known, filter(unix_path, self.settings.smtpin.listen_lmtp)):
            os.chmod(listening(address, self.paths.state).getsockname(), self.settings.smtpin.lmtp_mode)

    async def started(self) -> None:
        """Open the ports; slots and answers are asked for while the first client says hello."""
        settings = self.settings.smtpin
        self.directory = Directory(self.ask, (settings.verdict_lifetime, settings.refusal_lifetime))
        self.pools = {queue: SlotPool(self.ask, queue, settings.slots_ahead, self.settings.queue.orphan_age) for queue in QUEUES.values()}
        self.outbox = Outbox(self.ask, self.folder, self.log) if self.cluster is None else Pushing(self.ask)
        self.full_accounts: frozenset[str] = frozenset()
        self.subscribe_to("auth", "accounts", self.directory.forget)
        self.subscribe_to("mailbox", "full", lambda: self.spawn(self._ask_who_is_full(), "quotas"))
        self.spawn(self._ask_who_is_full(), "quotas")
        host = self.settings.server.hostname
        self.refusal = Reply(421, "4.7.0", f"{host} Too many connections, try again later").octets
        self.failure = Reply(421, "4.3.0", f"{host} Internal error, try again later").octets
        self.prepare_doors(_most(settings), settings.connections_per_address)
        self._apply(self.settings)
        self._listen("smtp", settings.listen_smtp)
        self._listen("submission", settings.listen_submission)
        self._listen("submissions", settings.listen_submissions, implicit_tls=True)
        self._listen("lmtp", settings.listen_lmtp, mode=settings.lmtp_mode)
        for pool in self.pools.values():
            self.spawn(self._recover(pool.queue), "recovery")
            pool.fill()

    async def stopping(self) -> None:
        """Let sessions end between two messages."""
        await self.close_doors(self.settings.smtpin.drain)
        await self.outbox.stop(STOP)

    def reloaded(self, settings) -> None:
        """Take new settings for the sessions to come; ports stay as they are until a restart."""
        self.renew_doors(settings, _most(settings.smtpin), settings.smtpin.connections_per_address, settings.smtpin.proxies)
        self.directory.lifetimes = (settings.smtpin.verdict_lifetime, settings.smtpin.refusal_lifetime)
        for pool in self.pools.values():
            pool.ahead, pool.lifetime = settings.smtpin.slots_ahead, settings.queue.orphan_age
        self._apply(settings)

    @property
    def full(self) -> bool:
        """Whether the queue has no room for mail."""
        return any(pool.full for pool in self.pools.values())

    def may_relay(self, peer: str) -> bool:
        """Whether the operator lets an address relay without a login."""
        return inside(peer, self.relays)

    async def _recover(self, queue: str) -> None:
        """What the process before us made durable, and answered, and could not tell the queue any more."""
        while True:
            with suppress(IpcError):
                found = int((await self.ask("queue", "recover", queue, timeout=RECOVERY))[0])
                if found:
                    self.log.info("recovered", queue=queue, messages=found)
                return
            await asyncio.sleep(1.0)

    async def _ask_who_is_full(self) -> None:
        """Learn which mailboxes are full. While fm-mailbox is away, the last word counts: what it cannot take it puts off."""
        accounts: list[bytes] = []
        with suppress(IpcError):
            while some := await self.ask("mailbox", "full", accounts[-1] if accounts else b""):
                accounts += some
            self.full_accounts = frozenset(account.decode() for account in accounts)

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

    def _listen(self, port: str, addresses: tuple[str, ...], **options) -> None:
        self.open_door(f"smtpin {port}", addresses, lambda connection: self._session(port, connection), self.settings.smtpin.proxies, **options)

    def _session(self, port: str, connection: Connection) -> SmtpSession:
        return SmtpSession(self, connection, self.options[port])


def _most(settings) -> int:
    """How many sessions there may be, and the process's descriptors are good for: a session has its socket, and two slots at most."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(settings.connections, max(16, (limit - RESERVED - 4 * settings.slots_ahead) // 3))
