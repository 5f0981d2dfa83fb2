"""The moment at which a session turns to TLS, attacked by timing, in every protocol and in both directions; odd TLS on every port.

What a man in the middle says in plain text must never be taken for the client's (or the host's) own words inside TLS, whenever it arrives.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.attacks.canary import sing
from tests.servers.imap import kit as imap_kit
from tests.servers.pop3 import kit as pop3_kit
from tests.servers.smtpin.kit import smtpin
from tests.servers.smtpout import test_destination
from tests.servers.smtpout.fakemx import CLOSE, HANG, FakeMx, certificate

STARTS = {"smtp": (b"STARTTLS\r\n", b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<bob@us.test>\r\n"), "pop3": (b"STLS\r\n", b"USER alice\r\nPASS x\r\n"),
          "imap": (b"a STARTTLS\r\n", b"b LOGIN alice x\r\n")}
TIMINGS = ["in one segment", "octet by octet", "behind the command", "behind the reply", "with the hello", "half a line before, half behind"]


class Door:
    """One port of a protocol."""

    def __init__(self, protocol: str, port: int, counters, context: ssl.SSLContext) -> None:
        self.protocol, self.port, self.counters, self.context = protocol, port, counters, context


def trusting(path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(path))
    context.check_hostname = False
    return context


@pytest.fixture(params=STARTS)
async def door(request, tmp_path):
    """A live daemon of each protocol; at the end an honest client turns to TLS and is heard."""
    async with AsyncExitStack() as stack:
        if request.param == "smtp":
            server = await stack.enter_async_context(smtpin(tmp_path, strict_pipelining=False))
            found = Door("smtp", server.ports["smtp"], server.counters, trusting(tmp_path / "cert.pem"))
        else:
            imap = request.param == "imap"
            suite = await (imap_kit.start(tmp_path, stack) if imap else stack.enter_async_context(pop3_kit.started(tmp_path)))
            daemon = suite.imap if imap else suite.pop3
            found = Door(request.param, suite.port, daemon.counters, trusting(suite.state / "tls" / "cert.pem"))
            if imap:
                stack.push_async_callback(imap_kit.stop, suite)
        yield found
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        await greeted(found, reader, writer)
        writer.write(STARTS[found.protocol][0])
        await reader.readline()
        await writer.start_tls(found.context)
        writer.write({"smtp": b"EHLO c\r\n", "pop3": b"CAPA\r\n", "imap": b"c NOOP\r\n"}[found.protocol])
        assert (await asyncio.wait_for(reader.readline(), 5))[:3] in (b"250", b"+OK", b"c O")
        writer.close()


async def greeted(door: Door, reader, writer) -> None:
    await reader.readline()
    if door.protocol == "smtp":
        writer.write(b"EHLO c\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass


@pytest.mark.parametrize("timing", TIMINGS)
async def test_words_in_plain_text_are_never_heard_inside_tls(door, timing):
    start, injected = STARTS[door.protocol]
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    await greeted(door, reader, writer)
    if timing == "in one segment":
        writer.write(start + injected)
    elif timing == "octet by octet":
        for at in range(len(start + injected)):
            writer.write((start + injected)[at:at + 1])
            await asyncio.sleep(0)
    elif timing == "half a line before, half behind":
        writer.write(start + injected[:9])
    else:
        writer.write(start)
        if timing == "behind the command":
            await asyncio.sleep(0)
        else:
            await reader.readline()
        if timing != "with the hello":
            writer.write(injected)
    heard = b""
    if timing == "with the hello":
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = door.context.wrap_bio(incoming, outgoing, server_hostname="mail.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        writer.write(injected + outgoing.read())
    writer.write_eof()
    try:
        heard = await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        pass
    # whatever came back: no word of it answers what was injected (250 for MAIL, +OK for USER, b OK/NO for LOGIN)
    assert b"250 2.1.0" not in heard and b"250 2.1.5" not in heard and b"+OK send" not in heard and b"b OK" not in heard and b"b NO" not in heard
    assert not door.counters["logins"] and not door.counters["logins_failed"] and not door.counters["accepted"]
    writer.close()


@pytest.mark.parametrize("hello", [
    b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff" + bytes(65_000), b"\x16\x03\x01\x00\x01\x01" * 5000,
    b"\x14\x03\x03\x00\x01\x01" * 100,
    b"\x17\x03\x03\x40\x00" + bytes(16_384), b"\x15\x03\x03\x00\x02\x02\x28", b"\x80\x2e\x01\x03\x01", b"GET / HTTP/1.1\r\n\r\n", bytes(100),
    b"\x16"],
    ids=["short", "huge", "crumbs", "ciphers before all", "data before all", "an alert", "SSL 2", "HTTP", "zeros", "one octet"])
async def test_garbage_where_a_handshake_should_be(door, hello):
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    await greeted(door, reader, writer)
    writer.write(STARTS[door.protocol][0])
    await reader.readline()
    try:
        writer.write(hello)
        writer.write_eof()
        heard = await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        heard = b""
    assert len(heard) < 100                             # a TLS alert at most
    writer.close()


STRONG = [0xC02B, 0xC02F, 0xC02C, 0xC030]          # ECDHE with AES-GCM
OFFERS = {                                          # version, suites (IANA's numbers): what no OpenSSL of today would even ask for
    "SSL 3": (0x0300, STRONG), "TLS 1.0": (0x0301, [0xC009, 0xC013, 0x002F]), "TLS 1.1": (0x0302, [0xC009, 0xC013, 0x002F]),
    "no key": (0x0303, [0x0018, 0x001B, 0x0034, 0x003A, 0x006C, 0xC018, 0xC019]), "no cipher": (0x0303, [0x0001, 0x0002, 0x003B, 0xC006, 0xC010]),
    "export": (0x0303, [0x0003, 0x0006, 0x0008, 0x000E, 0x0014, 0x0017, 0x0019]), "RC4": (0x0303, [0x0004, 0x0005, 0xC007, 0xC011]),
    "3DES": (0x0303, [0x000A, 0x0016, 0xC008, 0xC012]), "nothing": (0x0303, []), "TLS 1.2": (0x0303, STRONG)}


def hello(version: int, suites: list[int]) -> bytes:
    """A ClientHello, octet by octet (RFC 5246 7.4.1.2), with the curves and signatures that everybody has."""
    def sized(octets: bytes, length: int = 2) -> bytes:
        return len(octets).to_bytes(length, "big") + octets
    extensions = b"".join(kind.to_bytes(2, "big") + sized(value) for kind, value in (
        (10, sized(bytes.fromhex("001d00170018"))), (11, b"\1\0"), (13, sized(bytes.fromhex("0403050306030804080508060401050106010201")))))
    offered = b"".join(suite.to_bytes(2, "big") for suite in suites)
    body = version.to_bytes(2, "big") + bytes(32) + b"\0" + sized(offered) + b"\1\0" + sized(extensions)
    return b"\x16" + min(version, 0x0301).to_bytes(2, "big") + sized(b"\1" + sized(body, 3))


@pytest.mark.parametrize("offer", OFFERS)
async def test_old_versions_and_weak_ciphers(door, offer):
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    await greeted(door, reader, writer)
    writer.write(STARTS[door.protocol][0])
    await reader.readline()
    writer.write(hello(*OFFERS[offer]))
    try:
        answer = await asyncio.wait_for(reader.read(1), 5)
    except ConnectionError:
        answer = b""
    # 22 would be its own hello: only the last offer gets that, which shows that the hellos are no nonsense
    assert answer == b"\x16" if offer == "TLS 1.2" else answer in (b"\x15", b"")
    writer.transport.abort()


@pytest.mark.parametrize("name", ["x" * 63 + ".test", "a.b.c.d.e.f.g", "xn--nxasmq6b.test", "_.test", "etc.passwd", "127.0.0.1"])
async def test_names_that_clients_ask_for_open_no_file(door, name):
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    await greeted(door, reader, writer)
    writer.write(STARTS[door.protocol][0])
    await reader.readline()
    await writer.start_tls(door.context, server_hostname=name)          # the default certificate
    assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
    writer.close()


async def test_starttls_again_inside_of_tls(door):
    start = STARTS[door.protocol][0]
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    await greeted(door, reader, writer)
    writer.write(start)
    await reader.readline()
    await writer.start_tls(door.context)
    if door.protocol == "smtp":
        writer.write(b"EHLO c\r\n")
        while (line := await reader.readline())[3:4] == b"-":
            assert b"STARTTLS" not in line
    writer.write(start)
    assert (await reader.readline())[:5] in (b"503 5", b"-ERR ", b"a BAD")
    writer.close()


# outbound: a next hop, or who sits before it

@asynccontextmanager
async def sending(host: FakeMx, **options):
    """A sender to a hostile host; afterwards an honest one gets mail from it, by TLS."""
    async with test_destination.sending(host, **options) as sender:
        yield sender
        await sing("sender", _sends(sender))


async def _sends(sender: test_destination.Sender) -> None:
    with tempfile.TemporaryDirectory() as folder:
        context, _ = certificate(Path(folder))
    async with FakeMx(tls=context) as honest:
        sender.destinations.hops.targets = [test_destination.Target("mx.canary.test", honest.host, honest.port)]
        assert (await sender.send("c@canary.test", domain="canary.test"))["c@canary.test"].startswith("delivered")
        assert honest.messages[0].tls


@pytest.mark.parametrize("reply", ["220 go\r\n250 2.1.0 ok", "220 go\r\n220 go", "220-go\r\n250 x", "220 go\r\n554 no",
                                   "220 go\r\n" * 500 + "220 go"])
async def test_plain_text_behind_a_hosts_220(tmp_path, reply):
    """Nothing that was said before TLS counts, and where TLS is required no mail goes in clear."""
    context, _ = certificate(tmp_path)
    async with FakeMx({"STARTTLS": reply}, tls=context) as mx, sending(mx, tls="require") as sender:
        assert (await sender.send())["b@x.test"].startswith("deferred")
        assert not mx.messages and not any(line.startswith("MAIL") for line in mx.commands)


@pytest.mark.parametrize("extensions, reply", [
    (("PIPELINING",), None), (("STARTTLSX",), None), (("STARTTLS",), "454 4.7.0 not now"), (("STARTTLS",), "501 what"),
    (("STARTTLS",), "220 go" + CLOSE),
    (("STARTTLS",), "220 go\r\n\x15\x03\x01\x00\x02\x02\x28" + CLOSE), (("STARTTLS",), "421 4.3.2 going"), (("STARTTLS",), "2" * 5000)])
async def test_a_host_that_takes_encryption_away(extensions, reply):
    async with FakeMx({"STARTTLS": reply} if reply else {}, extensions) as mx, sending(mx, tls="require") as sender:
        assert (await sender.send())["b@x.test"].startswith("deferred")
        assert not mx.messages and not any(line.startswith(("MAIL", "AUTH")) for line in mx.commands)


async def test_a_handshake_that_never_ends():
    async with FakeMx({"STARTTLS": "220 go\r\n" + HANG}, ("STARTTLS",)) as mx, sending(mx, tls="require", command_timeout=0.3) as sender:
        assert (await sender.send())["b@x.test"].startswith("deferred") and not any(line.startswith("MAIL") for line in mx.commands)
