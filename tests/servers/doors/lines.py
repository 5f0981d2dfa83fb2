"""A protocol of lines for the listener's tests: it echoes, waits, fails, speaks TLS and sends files on request."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fancymail.protocol.engine import Engine
from fancymail.servers.doors.connection import Session


class LineEngine(Engine):
    """An event per line; STARTTLS asks for TLS; QUIT closes."""

    def __init__(self, deadline: float | None = 30.0) -> None:
        super().__init__()
        self.out.append(b"hello\r\n")
        self.arm(deadline)

    def next_event(self):
        if self.busy or self.closing or self.want_tls:
            return None
        end = self.inbox.find(b"\n")
        if end < 0:
            return None
        line = bytes(self.inbox[:end]).rstrip(b"\r")
        del self.inbox[:end + 1]
        self.arm(self.deadline)
        if line == b"STARTTLS":
            if self.inbox:
                self.out.append(b"no\r\n")
                self.closing = True
            else:
                self.out.append(b"go\r\n")
                self.want_tls = True
            return None
        if line == b"QUIT":
            self.out.append(b"bye\r\n")
            self.closing = True
            return None
        return line

    def expire(self) -> None:
        self.out.append(b"too slow\r\n")
        self.closing = True


class LineSession(Session):
    """echo | wait (until `gate` is set) | boom | late-boom | big N | file N | info."""

    def __init__(self, connection, deadline=30.0) -> None:
        self.connection = connection
        self.engine = LineEngine(deadline)
        self.gate = asyncio.Event()
        self.gone = 0
        self.path = None

    def handle(self, event):
        word, _, rest = event.partition(b" ")
        if word == b"wait":
            return self.wait(event)
        if word == b"boom":
            raise RuntimeError("a bug")
        if word == b"late-boom":
            return self.late()
        if word == b"file":
            return self.file(int(rest))
        if word == b"big":
            event = b"x" * int(rest)
        if word == b"info":
            tls = self.connection.tls
            event = b"%s %s" % (self.connection.peer.encode(), tls.sni.encode() if tls else b"plain")
        self.engine.out.append(event + b"\r\n")

    async def wait(self, event):
        await self.gate.wait()
        self.engine.out.append(event + b"\r\n")

    async def late(self):
        await asyncio.sleep(0)
        raise RuntimeError("a late bug")

    async def file(self, length):
        with open(self.path, "rb") as content:
            await self.connection.send_file(content.fileno(), 3, length, lambda chunk: chunk.upper())
        self.engine.out.append(b".\r\n")

    def drain(self):
        self.engine.out.append(b"going\r\n")
        self.engine.closing = True

    def closed(self):
        self.gone += 1


def make_certificate(folder, *names: str, stem: str = "cert", algorithm=hashes.SHA256()):
    """Write STEM.pem and STEM.key for the names; return the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime(2026, 1, 1)
    alternatives = [x509.DNSName(name) for name in names] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now)
                   .not_valid_after(now + datetime.timedelta(days=3650))
                   .add_extension(x509.SubjectAlternativeName(alternatives), critical=False).sign(key, algorithm))
    (folder / f"{stem}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{stem}.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return certificate
