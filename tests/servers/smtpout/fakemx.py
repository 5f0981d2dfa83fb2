"""A host that takes mail, on a loopback port, as good or as bad as a test wants it.

    async with FakeMx(replies={"RCPT TO:<bad@": "550 5.1.1 no"}) as mx: ... mx.port, mx.messages, mx.commands
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field

HANG, CLOSE = "HANG", "CLOSE"
EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 50000000", "ENHANCEDSTATUSCODES")


@dataclass
class Taken:
    """A message that was taken."""

    mail: str
    recipients: list[str] = field(default_factory=list)
    content: bytes = b""
    tls: bool = False
    connection: int = 0


class FakeMx:
    """Answers each command by the longest prefix in `replies`, else kindly. A value may be a list: one for each time."""

    def __init__(self, replies: dict | None = None, extensions: tuple[str, ...] = EXTENSIONS, greeting: str = "220 mx.test ESMTP",
                 tls: ssl.SSLContext | None = None, implicit: bool = False, host: str = "127.0.0.1", room: int = 1000,
                 full: str = "421 4.7.0 too many connections from you\r\n") -> None:
        self.replies, self.extensions, self.greeting = dict(replies or {}), extensions, greeting
        self.tls, self.implicit, self.host, self.room, self.full = tls, implicit, host, room, full
        self.messages: list[Taken] = []
        self.commands: list[str] = []
        self.connections = 0
        self.open = self.most = 0
        self.arrived = asyncio.Event()
        self.tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> FakeMx:
        self.server = await asyncio.start_server(
            self._serve, self.host, 0, ssl=self.tls if self.implicit else None, limit=2 ** 20)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        self.connections += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await _Talk(self, reader, writer, self.connections).run()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError, TimeoutError):
            pass                       # a test's end cancels us; asyncio's streams would complain about that
        finally:
            self.open -= 1
            self.tasks.discard(asyncio.current_task())
            writer.transport.abort()

    def answer(self, command: str, kindly: str) -> str:
        matching = [prefix for prefix in self.replies if command.upper().startswith(prefix.upper())]
        if not matching:
            return kindly
        value = self.replies[max(matching, key=len)]
        if isinstance(value, list):
            value = value.pop(0) if value else kindly
        return value

    async def starttls(self, talk: _Talk) -> None:
        await talk.say(self.answer("STARTTLS", "220 2.0.0 go"))
        await talk.writer.drain()
        await talk.writer.start_tls(self.tls)
        talk.secured = True

    async def wait_for(self, count: int) -> None:
        while len(self.messages) < count:
            self.arrived.clear()
            async with asyncio.timeout(10):
                await self.arrived.wait()


class _Talk:
    def __init__(self, mx: FakeMx, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.mx, self.reader, self.writer, self.number = mx, reader, writer, number
        self.secured = mx.implicit
        self.message: Taken | None = None

    async def run(self) -> None:
        if self.mx.open > self.mx.room:
            return await self.say(self.mx.full + CLOSE)
        await self.say(self.mx.greeting)
        while line := await self.reader.readline():
            command = line.decode("utf-8", "replace").rstrip("\r\n")
            self.mx.commands.append(command)
            verb = re.split(r"[ :]", command.upper())[0]
            await getattr(self, f"_{verb.lower()}", self._other)(command)
            if verb == "QUIT":
                return

    async def say(self, reply: str) -> None:
        if reply.endswith(HANG):
            self.writer.write(reply.removesuffix(HANG).encode())
            await asyncio.Event().wait()
        if reply.endswith(CLOSE):
            self.writer.write(reply.removesuffix(CLOSE).encode())
            raise ConnectionAbortedError
        self.writer.write(reply.encode() + b"\r\n")

    async def _other(self, command: str) -> None:
        await self.say(self.mx.answer(command, "250 2.0.0 ok"))

    async def _ehlo(self, command: str) -> None:
        offered = list(self.mx.extensions)
        if self.mx.tls and not self.secured:
            offered.append("STARTTLS")
        lines = ["mx.test", *offered]
        kindly = "\r\n".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)
        await self.say(self.mx.answer(command, kindly))

    async def _starttls(self, command: str) -> None:
        await self.mx.starttls(self)

    async def _mail(self, command: str) -> None:
        self.message = Taken(command, tls=self.secured, connection=self.number)
        await self.say(self.mx.answer(command, "250 2.1.0 ok"))

    async def _rcpt(self, command: str) -> None:
        reply = self.mx.answer(command, "250 2.1.5 ok")
        if reply.startswith("25"):
            self.message.recipients.append(command)
        await self.say(reply)

    async def _data(self, command: str) -> None:
        reply = self.mx.answer(command, "354 go" if self.message and self.message.recipients else "554 5.5.1 no recipients")
        await self.say(reply)
        if not reply.startswith("354"):
            return
        content = bytearray()
        while (line := await self.reader.readline()) != b".\r\n":
            if not line:
                raise ConnectionResetError
            content += line[1:] if line[:1] == b"." else line
        await self._take(bytes(content))

    async def _bdat(self, command: str) -> None:
        content = await self.reader.readexactly(int(command.split()[1]))
        await self._take(content)

    async def _take(self, content: bytes) -> None:
        reply = self.mx.answer("CONTENT", "250 2.6.0 taken")
        if reply.startswith("250"):
            self.message.content = content
            self.mx.messages.append(self.message)
            self.mx.arrived.set()
        await self.say(reply)


def certificate(folder, name: str = "mx.test") -> tuple[ssl.SSLContext, str]:
    """A server's context with a self-signed certificate for `name`, and the path of the PEM that proves it."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    pem = folder / f"{name}.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, str(pem)
