"""fm-imap beside real fm-auth, fm-queue and fm-mailbox, all on the test's own loop, and clients that keep every response word for word."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack

from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.imap import ImapDaemon
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.queue.daemon import QueueServer
from tests.servers.doors.lines import make_certificate
from tests.servers_kit import operator, running

PASSWORD = "correct horse"
TABLES = {
    "server": {"default-domain": "example.test", "hostname": "mail.example.test"}, "log": {"console": "never"},
    "auth": {"failure-delay": 0.0, "argon2-memory": 64, "argon2-passes": 1, "scram-iterations": 4096},
    "imap": {"listen-imap": ["127.0.0.1:0"], "listen-imaps": ["127.0.0.1:0"], "drain": 0.2, "push": 0.0},
}
LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
PATIENCE = 10


class Client:
    """One session. `ask` sends a command and returns all that came for it, the tagged response (without its tag) last."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer, self.count = reader, writer, 0

    def send(self, data: bytes | str) -> None:
        """Send octets as they are."""
        self.writer.write(data if isinstance(data, bytes) else data.encode())

    async def response(self) -> bytes:
        """The next response, literals included, without its last CRLF."""
        found = b""
        while True:
            line = await asyncio.wait_for(self.reader.readline(), PATIENCE)
            if not line.endswith(b"\r\n"):
                raise EOFError(found + line)
            found += line
            literal = LITERAL.search(line)
            if literal is None:
                return found[:-2]
            found += await self.reader.readexactly(int(literal[1]))

    def start(self, command: str | bytes) -> bytes:
        """Send a command under the next tag; return the tag."""
        self.count += 1
        tag = b"t%d" % self.count
        self.send(tag + b" " + (command if isinstance(command, bytes) else command.encode()) + b"\r\n")
        return tag

    async def finish(self, tag: bytes) -> list[bytes]:
        """All responses up to the tagged one."""
        found = []
        while True:
            response = await self.response()
            if response.startswith(tag + b" "):
                return [*found, response[len(tag) + 1:]]
            found.append(response)

    async def ask(self, command: str | bytes) -> list[bytes]:
        """Say a command."""
        return await self.finish(self.start(command))

    async def ok(self, command: str | bytes) -> list[bytes]:
        """Say a command that has to succeed; return the untagged responses."""
        *untagged, tagged = await self.ask(command)
        assert tagged.startswith(b"OK"), (command, tagged)
        return untagged

    async def append(self, mailbox: str, content: bytes, flags: str = "") -> bytes:
        """APPEND with a literal that needs no go-ahead; return the tagged response."""
        return (await self.ask(b"APPEND %b (%b) {%d+}\r\n%b" % (mailbox.encode(), flags.encode(), len(content), content)))[-1]

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


class Suite:
    """The daemons and what a test does with them."""

    def __init__(self, state, stack) -> None:
        self.state, self.stack, self.clients = state, stack, []

    async def open(self, **own) -> None:
        """Start fm-imap with settings of its own."""
        tables = TABLES | {"imap": TABLES["imap"] | own}
        self.closing = await AsyncExitStack().__aenter__()
        self.imap: ImapDaemon = await self.closing.enter_async_context(running(ImapDaemon, self.state, tables))

    async def beside(self) -> Suite:
        """One more process of fm-imap, as far as a test can have it: with doors, images and readers of its own."""
        other = Suite(self.state, self.stack)
        other.clients = self.clients
        other.imap = await self.closing.enter_async_context(running(ImapDaemon, self.state, TABLES, instance="imap-2"))
        return other

    async def restart(self, **own) -> None:
        """Start it anew with other settings."""
        await self.closing.aclose()
        await self.open(**own)

    @property
    def port(self) -> int:
        return next(iter(self.imap.listeners[0]._doors.values()))

    async def connect(self, port: int = 0, **more) -> Client:
        """A session that has heard the greeting."""
        client = Client(*await asyncio.open_connection("127.0.0.1", port or self.port, limit=1 << 26, **more))
        self.clients.append(client)
        client.greeting = await client.response()
        return client

    async def login(self, user: str = "alice@example.test", password: str = PASSWORD) -> Client:
        """A session that is logged in."""
        client = await self.connect()
        await client.ok(f'LOGIN {user} "{password}"')
        return client

    async def deliver(self, content: bytes, user: str = "alice@example.test") -> None:
        """Have a message arrive."""
        await self.mailbox.write_raw("store", user, user, len(content), content=content)


async def start(tmp_path, stack: AsyncExitStack, **own) -> Suite:
    """Start all daemons, with accounts alice and bob."""
    (tmp_path / "tls").mkdir()
    make_certificate(tmp_path / "tls", "mail.example.test")
    (tmp_path / "tls" / "cert.key").rename(tmp_path / "tls" / "key.pem")
    suite = Suite(tmp_path, stack)
    suite.auth_daemon = await stack.enter_async_context(running(AuthServer, tmp_path, TABLES))
    await stack.enter_async_context(running(QueueServer, tmp_path, TABLES))
    suite.mailbox_daemon = await stack.enter_async_context(running(MailboxServer, tmp_path, TABLES))
    suite.auth, suite.mailbox = (stack.enter_context(operator(tmp_path, name)) for name in ("auth", "mailbox"))
    await suite.auth.call("domain-add", "example.test")
    for name in ("alice", "bob"):
        await suite.auth.call("account-add", f"{name}@example.test", PASSWORD)
    await suite.open(**own)
    return suite


async def stop(suite: Suite) -> None:
    """Hang all clients up, end fm-imap; the stack ends the others."""
    for client in suite.clients:
        client.close()
    await suite.closing.aclose()
