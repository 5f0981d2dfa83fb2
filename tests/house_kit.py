"""A whole mail server inside a test: auth, queue, mailbox, smtpin and smtpout on the test's own loop, for one domain.

    async with House(folder, "us.test") as house: await house.send_to({"x.test": port}); ... house.talk() ... house.quiet()

For tests in which mail goes through everything, or from one server of ours to another. Domains that `send_to` names are reached at
ports of loopback; nothing else is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.queue.daemon import QueueServer
from fancymail.servers.smtpin import SmtpInServer
from fancymail.servers.smtpout import SmtpOutServer
from fancymail.storage.slots import write_slot
from tests.servers.smtpin.kit import Talk
from tests.servers_kit import operator, running

PATIENCE = 30


class House:
    """One domain and its daemons; `auth`, `queue` and `mailbox` are operator's doors. Options are those of [smtpout]."""

    def __init__(self, state: Path, domain: str, **smtpout) -> None:
        self.state, self.domain = state, domain
        self.smtpout = {"command-timeout": 3.0, "connect-timeout": 2.0, "final-timeout": 3.0, "tls": "never"}
        self.smtpout |= {name.replace("_", "-"): value for name, value in smtpout.items()}
        self.tables = {"server": {"hostname": f"mail.{domain}", "default-domain": domain}, "log": {"console": "never"},
                       "auth": {"argon2-memory": 8, "argon2-passes": 1}, "ipc": {"poll-interval": 0.2},
                       "smtpin": {f"listen-{port}": [] for port in ("submission", "submissions", "lmtp")} | {"listen-smtp": ["127.0.0.1:0"]}}
        self.stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> House:
        await self.stack.__aenter__()
        self.daemons = {daemon.name: await self.stack.enter_async_context(running(daemon, self.state, self.tables))
                        for daemon in (AuthServer, QueueServer, MailboxServer, SmtpInServer)}
        self.auth, self.queue, self.mailbox = (self.stack.enter_context(operator(self.state, name)) for name in ("auth", "queue", "mailbox"))
        await self.auth.call("domain-add", self.domain)
        return self

    async def __aexit__(self, *exc) -> None:
        await self.stack.__aexit__(*exc)

    @property
    def port(self) -> int:
        """Where it takes mail."""
        return next(iter(self.daemons["smtpin"].listeners[0]._doors.values()))

    async def send_to(self, ways: dict[str, int]) -> None:
        """Start sending: to these domains, at these ports of loopback."""
        transports = {domain: {"host": "127.0.0.1", "port": port, "tls": "never"} for domain, port in ways.items()}
        tables = self.tables | {"smtpout": self.smtpout | {"transports": transports, "nameservers": ["127.0.0.1:9"]}}
        self.daemons["smtpout"] = await self.stack.enter_async_context(running(SmtpOutServer, self.state, tables))

    async def account(self, *addresses: str) -> None:
        for address in addresses:
            await self.auth.call("account-add", address)

    async def alias(self, address: str, *targets: str) -> None:
        await self.auth.call("alias-add", address, *targets)

    def counter(self, daemon: str, name: str) -> int:
        return self.daemons[daemon].counters[name]

    @contextlib.asynccontextmanager
    async def talk(self):
        """A client that has said hello."""
        talk = Talk(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            await talk.hello()
            yield talk
        finally:
            talk.close()

    async def bring(self, content: bytes | str, sender: str, *recipients: str) -> str:
        """Bring one message as another server would; the reply to its end."""
        async with self.talk() as talk:
            return await talk.bring(content, sender, *recipients)

    async def push(self, queue: str, sender: str, recipients: Sequence[Recipient | str], content: bytes, **facts) -> None:
        """Put a message into a queue past smtpin."""
        path = (await self.queue.call("slot", queue))[0].decode()
        people = [each if isinstance(each, Recipient) else Recipient(each) for each in recipients]
        write_slot(path, Envelope(path.rpartition("/")[2], sender, people, received=1e9, **facts), content)
        await self.queue.call("push", queue, path)

    async def waiting(self) -> int:
        """How many messages its queues hold."""
        _, rows = await self.queue.rows("queues")
        return sum(int(number) for row in rows for number in row.params[1:5])

    async def quiet(self) -> None:
        """Return when its queues are empty, and have heard of all that smtpin has said 250 to."""
        async with asyncio.timeout(PATIENCE):
            while self.daemons["smtpin"].outbox.waiting or await self.waiting():
                await asyncio.sleep(0.01)

    async def inbox(self, user: str) -> list[bytes]:
        """All messages in somebody's INBOX."""
        _, rows = await self.mailbox.rows("list", user)
        return [(await self.mailbox.read_raw("retr", user, int(row.params[0])))[1] for row in rows]
