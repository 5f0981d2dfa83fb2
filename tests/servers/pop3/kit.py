"""fm-pop3 beside real fm-auth and fm-mailbox, all on the test's own loop; clients are foreign ones in threads."""

from __future__ import annotations

import asyncio
import poplib
import socket
import ssl
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.pop3 import Pop3Daemon
from fancymail.servers.queue.daemon import QueueServer
from tests.servers.doors.lines import make_certificate
from tests.servers_kit import operator, running

PASSWORD = "correct horse"
TABLES = {
    "server": {"default-domain": "example.test", "hostname": "mail.example.test"}, "log": {"console": "never"},
    "auth": {"failure-delay": 0.0, "argon2-memory": 64, "argon2-passes": 1, "scram-iterations": 4096},
    "pop3": {"listen-pop3": ["127.0.0.1:0"], "listen-pop3s": ["127.0.0.1:0"], "drain": 0.2},
}


class Suite:
    """The daemons and what a test does with them."""

    def __init__(self, state, stack) -> None:
        self.state, self.stack = state, stack
        self.pop3: Pop3Daemon | None = None

    async def open(self, **own) -> None:
        """Start fm-pop3 with settings of its own."""
        tables = TABLES | {"pop3": TABLES["pop3"] | own}
        self.closing = await AsyncExitStack().__aenter__()
        self.pop3 = await self.closing.enter_async_context(running(Pop3Daemon, self.state, tables))

    async def restart(self, **own) -> None:
        await self.closing.aclose()
        await self.open(**own)

    @property
    def port(self) -> int:
        return next(iter(self.pop3.listeners[0]._doors.values()))

    @property
    def tls_port(self) -> int:
        return next(iter(self.pop3.listeners[1]._doors.values()))

    async def store(self, content: bytes, user: str = "alice@example.test") -> bytes:
        """Put a message into a mailbox; return what POP3 has to give for it."""
        await self.mailbox.write_raw("store", user, user, len(content), content=content)
        return f"Delivered-To: {user}\r\n".encode() + content

    async def client(self, work, *arguments):
        """Run a blocking client beside the daemons."""
        return await asyncio.to_thread(work, *arguments)

    def poplib(self, user: str = "alice@example.test", password: str = PASSWORD) -> poplib.POP3:
        client = poplib.POP3("127.0.0.1", self.port, timeout=10)
        client.user(user)
        client.pass_(password)
        return client

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.state / "tls" / "cert.pem")
        context.check_hostname = False
        return context

    def talk(self, words: bytes, end: bool = False) -> bytes:
        """Say everything at once and return all that is answered until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(words)
            if end:
                sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.fixture
async def suite(tmp_path):
    async with started(tmp_path) as suite:
        yield suite


@asynccontextmanager
async def started(tmp_path):
    """All daemons, with accounts alice and bob."""
    (tmp_path / "tls").mkdir()
    make_certificate(tmp_path / "tls", "mail.example.test")
    (tmp_path / "tls" / "cert.key").rename(tmp_path / "tls" / "key.pem")
    async with AsyncExitStack() as stack:
        suite = Suite(tmp_path, stack)
        suite.auth_daemon = await stack.enter_async_context(running(AuthServer, tmp_path, TABLES))
        await stack.enter_async_context(running(QueueServer, tmp_path, TABLES))
        suite.mailbox_daemon = await stack.enter_async_context(running(MailboxServer, tmp_path, TABLES))
        suite.auth, suite.mailbox = (stack.enter_context(operator(tmp_path, name)) for name in ("auth", "mailbox"))
        await suite.auth.call("domain-add", "example.test")
        for name in ("alice", "bob"):
            await suite.auth.call("account-add", f"{name}@example.test", PASSWORD)
        await suite.open()
        yield suite
        await suite.closing.aclose()
