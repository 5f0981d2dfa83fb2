"""fm-smtpin alive inside a test: real listener, real engine, real slot files; auth and queue are in-process fakes.

The fakes speak the verbs of docs/ipc.md. Each can be made to fail: `auth.down = "4.4.1"` answers every question so,
`queue.refuse = "4.3.1"` likewise, `hold()` keeps answers back until `release()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import struct
from base64 import b64decode, b64encode
from pathlib import Path

from fancymail.ipc.message import IpcError, encode_value
from fancymail.servers.smtpin import SmtpInServer
from fancymail.storage.slots import SlotError, is_slot_id, read_slot
from tests.servers.doors.lines import make_certificate
from tests.servers_kit import running

HOST = "mail.us.test"
PASSWORD = "correct horse"


class FakeAuth:
    """us.test is ours: alice, bob, postmaster live there; team is both of them, away is an alias to v@x.test."""

    def __init__(self) -> None:
        self.down = ""
        self.asked: list[tuple] = []
        self.routes = {name: [f"local:{name}@us.test"] for name in ("alice", "bob", "postmaster")}
        self.routes["team"] = ["local:alice@us.test", "local:bob@us.test"]
        self.routes["away"] = ["remote:v@x.test"]
        self.routes["mixed"] = ["local:bob@us.test", "remote:v@x.test"]
        self.scram: set[str] = set()

    def answer(self, verb: str, *params) -> list:
        """The parameters of ok."""
        self.asked.append((verb, *params))
        if self.down:
            raise IpcError(self.down, "auth is away")
        return getattr(self, verb.replace("-", "_"))(*params)

    def subscribe(self, topic: str, callback: str) -> list:
        return []

    def resolve(self, address: str) -> list:
        local, _, domain = address.rpartition("@")
        if domain != "us.test":
            raise IpcError("5.1.2", "not a domain of ours")
        if local.lower() not in self.routes:
            raise IpcError("5.1.1", "no such user")
        return self.routes[local.lower()]

    def may_send(self, account: str, address: str) -> list:
        if address.lower() != account:
            raise IpcError("5.7.1", "not an address of this account")
        return []

    def sasl(self, session: str, mechanism: str, response: bytes, address: str, tls: bool, binding: bytes) -> list:
        """PLAIN is real; SCRAM is a challenge, then success with proof, whatever was answered."""
        if response == b"*":
            self.scram.discard(session)
            return []
        if mechanism.startswith("SCRAM"):
            if session in self.scram:
                self.scram.discard(session)
                return ["alice@us.test", b64encode(b"v=proof")]
            self.scram.add(session)
            return ["challenge", b64encode(b"r=nonce")]
        _, user, password = b64decode(response).split(b"\0")
        if password.decode() != PASSWORD or user.decode() not in ("alice", "bob", "alice@us.test", "bob@us.test"):
            raise IpcError("5.7.8", "authentication failed")
        return [user.decode().partition("@")[0] + "@us.test", b""]


class FakeMailbox:
    """Knows whose mailbox is full."""

    def __init__(self) -> None:
        self.full: list[str] = []

    def answer(self, verb: str, *params) -> list:
        """The parameters of ok."""
        return [account for account in self.full if account > params[0].decode()] if verb == "full" else []


class FakeQueue:
    """Hands out slots below `folder`, takes whole ones over; `messages` are (queue, envelope, content) in the order of their entry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refuse, self.refused = "", 0
        self.refuse_slots = ""
        self.messages: list[tuple] = []
        self.pushes: list[int] = []
        self.out: dict[str, str] = {}
        self._numbers = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)

    def answer(self, verb: str, *params) -> list:
        """The parameters of ok."""
        if verb == "slot":
            return self.slot(*params)
        if verb == "push":
            return self.push(*params)
        if verb == "enter":
            return self.push(params[0], *[path for frame in params[1:] for path, _ in json.loads(frame)])
        if verb == "recover":
            return [0]
        raise IpcError("5.5.1", f"unknown verb {verb}")

    def slot(self, queue: str, count: int = 1) -> list:
        if self.refuse_slots:
            raise IpcError(self.refuse_slots, "no slots")
        return [self._allocate(queue) for _ in range(count)]

    def _allocate(self, queue: str) -> str:
        digits, number = "", next(self._numbers)
        for _ in range(26):
            number, digit = divmod(number, 32)
            digits = "abcdefghijklmnopqrstuvwxyz234567"[digit] + digits
        assert is_slot_id(digits)
        path = str(self.folder / digits)
        open(path, "xb").close()
        self.out[path] = queue
        return path

    def push(self, queue: str, *paths: str) -> list:
        if self.refuse:
            self.refused += 1
            raise IpcError(self.refuse, "the queue refuses")
        self.pushes.append(len(paths))
        for path in paths:
            if self.out.get(path) != queue:
                raise IpcError("5.5.4", "unknown slot")
        for path in paths:
            del self.out[path]
            try:
                with read_slot(path) as slot:
                    slot.verify()
                    self.messages.append((queue, slot.envelope, slot.read()))
            except (SlotError, OSError) as error:
                raise IpcError("5.6.0", str(error)) from None
            os.unlink(path)
        return []


class Other:
    """Another daemon: keeps questions until the test answers them."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.futures: list[asyncio.Future] = []
        self.overloaded = False

    def ask(self, name: str, *question, timeout: float) -> asyncio.Future:
        if self.overloaded:
            raise IpcError("4.4.5", "too many requests wait")
        self.asked.append((name, *question))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    def answer(self, *params: bytes) -> None:
        self.futures.pop(0).set_result(list(params))

    def answer_all(self) -> None:
        while self.futures:
            self.answer()

    def fail(self, status: str) -> None:
        self.futures.pop(0).set_exception(IpcError(status, "no"))


class Silent:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict]] = []

    def info(self, event: str, **facts) -> None:
        self.lines.append((event, facts))

    warning = error = info


class Server(SmtpInServer):
    """fm-smtpin whose questions are answered here."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.auth, self.mailbox = FakeAuth(), FakeMailbox()
        self.queue = FakeQueue(self.paths.state / "slots")
        self.held: list | None = None

    async def started(self) -> None:
        await super().started()
        self.outbox.pace = 0.0                       # so that a message is in the queue when its 250 is read

    def ask(self, name: str, verb: str, *params, timeout: float | None = None) -> asyncio.Future:
        future = self.loop.create_future()
        if self.held is None:
            self.loop.call_soon(self._answer, future, name, verb, params)
        else:
            self.held.append((future, name, verb, params))
        return future

    def hold(self) -> None:
        """Keep answers back."""
        self.held = []

    def release(self) -> None:
        """Answer what was held, and from now on at once."""
        held, self.held = self.held, None
        for question in held:
            self._answer(*question)

    def _answer(self, future, name: str, verb: str, params: tuple) -> None:
        if future.done():
            return
        try:
            future.set_result([encode_value(value) for value in getattr(self, name).answer(verb, *params)])
        except IpcError as error:
            future.set_exception(error)

    @property
    def ports(self) -> dict[str, int]:
        """Port -> number, by what the settings call them."""
        return {listener.name.split()[1]: next(iter(listener._doors.values())) for listener in self.listeners}


class Talk:
    """A client of octets and lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        """One reply, all its lines; "" when the server closed."""
        lines = []
        while True:
            try:
                line = await asyncio.wait_for(self.reader.readline(), 10)
            except ConnectionError:
                line = b""
            if not line:
                return "".join(lines)
            lines.append(line.decode())
            if line[3:4] != b"-":
                return "".join(lines)

    async def replies(self, count: int) -> list[str]:
        """Several replies."""
        return [await self.reply() for _ in range(count)]

    def send(self, data: bytes | str) -> None:
        """Octets as they are."""
        self.writer.write(data.encode() if isinstance(data, str) else data)

    async def say(self, line: str) -> str:
        """One command and its reply."""
        self.send(line + "\r\n")
        return await self.reply()

    async def hello(self, verb: str = "EHLO") -> str:
        """Greeting and hello."""
        assert (await self.reply()).startswith("220 ")
        reply = await self.say(f"{verb} client.test")
        assert reply.startswith("250"), reply
        return reply

    async def bring(self, content: str | bytes, sender: str = "s@x.test", *recipients: str) -> str:
        """One message in pipelined groups; the reply to its end."""
        to = "".join(f"RCPT TO:<{address}>\r\n" for address in recipients or ("bob@us.test",))
        self.send(f"MAIL FROM:<{sender}>\r\n{to}DATA\r\n")
        replies = await self.replies(2 + max(len(recipients), 1))
        assert replies[-1].startswith("354"), replies
        self.send(content)
        self.send("\r\n.\r\n")
        return await self.reply()

    async def ended(self) -> bytes:
        """What still came until the server closed."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionError:
            return b""

    async def start_tls(self, context) -> None:
        """Upgrade, after a 220."""
        await self.writer.start_tls(context, server_hostname="127.0.0.1")

    def vanish(self) -> None:
        """Hang up with a reset: unlike an end, it says that no answer is wanted any more."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


@contextlib.asynccontextmanager
async def smtpin(folder: Path, **options):
    """A running server. Options are those of [smtpin]; all four ports are open on loopback."""
    make_certificate(folder, HOST)
    settings = {"listen-smtp": ["127.0.0.1:0"], "listen-submission": ["127.0.0.1:0"], "listen-submissions": ["127.0.0.1:0"],
                "listen-lmtp": ["127.0.0.1:0"]} | {name.replace("_", "-"): value for name, value in options.items()}
    tables = {"server": {"hostname": HOST, "default-domain": "us.test"}, "smtpin": settings,
              "tls": {"certificate": str(folder / "cert.pem"), "key": str(folder / "cert.key")}}
    async with running(Server, folder / "state", tables) as server:
        yield server


@contextlib.asynccontextmanager
async def connected(server: Server, port: str = "smtp", ssl=None):
    """A client of one of its ports."""
    options = {"ssl": ssl, "server_hostname": "127.0.0.1"} if ssl else {}
    talk = Talk(*await asyncio.open_connection("127.0.0.1", server.ports[port], **options))
    try:
        yield talk
    finally:
        talk.close()


@contextlib.asynccontextmanager
async def several(server: Server, count: int, port: str = "smtp"):
    """Many clients at once."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(server, port)) for _ in range(count)]


async def until(condition) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def canary(server: Server) -> None:
    """The server still takes honest mail."""
    before = len(server.queue.messages)
    async with connected(server) as talk:
        await talk.hello()
        assert (await talk.bring("Subject: canary\r\n\r\nsings")).startswith("250 2.0.0 ")
    assert len(server.queue.messages) == before + 1
    queue, envelope, content = server.queue.messages.pop()
    assert queue == "incoming" and content.endswith(b"Subject: canary\r\n\r\nsings\r\n")
    assert not server.counters["broken"]
