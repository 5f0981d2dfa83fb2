"""The listener and its connections over real sockets on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fancymail.base.settings.tls import Certificate, Tls
from fancymail.servers.doors import channel
from fancymail.servers.doors import connection as connections
from fancymail.servers.doors.listener import Caps, Listener, identify
from fancymail.servers.doors.tls import Certificates
from tests.servers.doors.lines import LineSession, make_certificate


class FakeLog:
    """Keeps what was logged."""

    def __init__(self):
        self.events = []

    def info(self, event, **facts):
        self.events.append((event, facts))

    warning = error = debug = info

    def exception(self, event, error=None, **facts):
        self.events.append((event, facts | {"error": error}))


class House:
    """A listener on a free port, and every session that it made."""

    def __init__(self, tmp_path):
        self.tmp_path, self.sessions, self.open, self.log = tmp_path, [], [], FakeLog()

    def listen(self, address="127.0.0.1:0", deadline=30.0, **options) -> Listener:
        def make(connection):
            self.sessions.append(LineSession(connection, deadline))
            self.sessions[-1].path = self.tmp_path / "file"
            return self.sessions[-1]
        listener = Listener("lines", make, log=self.log, refusal=b"full\r\n", failure=b"sorry\r\n", **options)
        listener.test_port = listener.open(address, self.tmp_path)
        self.open.append(listener)
        return listener

    def certificates(self, **domains) -> Certificates:
        self.certificate = make_certificate(self.tmp_path, "mail.example.test")
        pairs = {}
        for stem, name in domains.items():
            make_certificate(self.tmp_path, name, stem=stem)
            pairs[name] = Certificate(certificate=f"{stem}.pem", key=f"{stem}.key")
        self.settings = Tls(certificate="cert.pem", key="cert.key", domains=pairs, handshake=1.0)
        return Certificates(self.settings, self.tmp_path)


@pytest.fixture
async def house(tmp_path):
    house = House(tmp_path)
    yield house
    for listener in house.open:
        listener.close()


async def dial(listener, **options):
    return await asyncio.open_connection("127.0.0.1", listener.test_port, **options)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_greets_echoes_and_closes(house):
    listener = house.listen()
    reader, writer = await dial(listener)
    writer.write(b"one\r\ntwo\r\nQUIT\r\nafter\r\n")
    assert await reader.read() == b"hello\r\none\r\ntwo\r\nbye\r\n"
    writer.close()
    while listener.connections:
        await asyncio.sleep(0)
    assert house.sessions[0].gone == 1


async def test_pipelined_commands_wait_for_a_decision_in_order(house):
    reader, writer = await dial(house.listen())
    writer.write(b"wait\r\nnext\r\n")
    assert await reader.readline() == b"hello\r\n"
    writer.write(b"more\r\n")
    house.sessions[0].gate.set()
    assert [await reader.readline() for _ in range(3)] == [b"wait\r\n", b"next\r\n", b"more\r\n"]
    writer.close()


async def test_reading_stops_while_a_decision_is_pending(house):
    listener = house.listen()
    reader, writer = await dial(listener)
    await reader.readline()
    writer.write(b"wait\r\n" + b"y" * 4_000_000)
    engine = house.sessions[0].engine
    while not engine.inbox:
        await asyncio.sleep(0)
    for _ in range(2000):
        await asyncio.sleep(0)
    assert len(engine.inbox) <= connections.INBOX_HIGH + channel.READ
    house.sessions[0].gate.set()
    assert await reader.readline() == b"wait\r\n"
    writer.write(b"\nQUIT\n")
    assert (await reader.read()).endswith(b"bye\r\n")
    writer.close()


async def test_half_close_is_answered_to_the_end(house):
    reader, writer = await dial(house.listen())
    writer.write(b"wait\r\nbig 3000000\r\n")
    writer.write_eof()
    assert await reader.readline() == b"hello\r\n"
    house.sessions[0].gate.set()
    assert len(await reader.read()) == len(b"wait\r\n") + 3_000_002
    writer.close()


async def test_peer_that_does_not_read_is_not_read_from_and_then_dropped(house, monkeypatch):
    monkeypatch.setattr(channel, "STALL", 0.05)
    listener = house.listen()
    reader, writer = await dial(listener)
    writer.transport.pause_reading()
    writer.write(b"big 200000\r\n" * 500)
    while listener.connections or not house.sessions:
        await asyncio.sleep(0)
    assert listener.counters["stalled"] == 1
    assert listener.caps.sessions == 0
    writer.close()


async def test_unsent_octets_are_bounded(house):
    listener = house.listen()
    reader, writer = await dial(listener)
    writer.transport.pause_reading()
    writer.write(b"big 100000\r\n" * 300)
    highest = 0
    for _ in range(300):
        await asyncio.sleep(0)
        highest = max([highest] + [connection._unsent for connection in listener.connections])
    assert 0 < highest <= channel.WRITE_HIGH + 100_002
    writer.transport.resume_reading()
    writer.write(b"QUIT\r\n")
    assert len(await reader.read()) == len(b"hello\r\nbye\r\n") + 300 * 100_002
    writer.close()


async def test_bug_ends_the_session_and_not_the_daemon(house):
    listener = house.listen()
    for command in (b"boom\r\n", b"late-boom\r\n"):
        reader, writer = await dial(listener)
        writer.write(b"fine\r\n" + command)
        assert await reader.read() == b"hello\r\nfine\r\nsorry\r\n"
        writer.close()
    assert listener.counters["broken"] == 2
    assert [type(facts["error"]) for event, facts in house.log.events if event == "session broken"] == [RuntimeError] * 2


async def test_bug_in_the_factory_is_survived(house):
    listener = house.listen()
    listener.make_session = lambda connection: 1 / 0
    reader, writer = await dial(listener)
    assert await reader.read() == b""
    assert listener.caps.sessions == 0
    writer.close()


async def test_deadline_speaks_the_protocol(house):
    listener = house.listen(deadline=0.03)
    reader, writer = await dial(listener)
    assert await reader.read() == b"hello\r\ntoo slow\r\n"
    assert listener.counters["expired"] == 1
    writer.close()


async def test_deadline_is_not_the_peers_while_we_decide(house):
    reader, writer = await dial(house.listen(deadline=0.03))
    writer.write(b"wait\r\n")
    await reader.readline()
    while not house.sessions:
        await asyncio.sleep(0)
    connection = house.sessions[0].connection
    while connection._due != channel.NEVER:          # it ran out, and we were the slow ones
        await asyncio.sleep(0)
    house.sessions[0].gate.set()
    assert await reader.readline() == b"wait\r\n"
    assert await reader.readline() == b"too slow\r\n"
    writer.close()


async def test_caps_in_all_and_per_address(house):
    listener = house.listen(caps=Caps(total=2))
    first, second = await dial(listener), await dial(listener)
    assert await first[0].readline() == await second[0].readline() == b"hello\r\n"
    reader, writer = await dial(listener)
    assert await reader.read() == b"full\r\n"
    assert listener.counters["refused"] == 1
    writer.close()
    first[1].write(b"QUIT\r\n")
    await first[0].read()
    reader, third = await dial(listener)
    assert await reader.readline() == b"hello\r\n"
    for writer in (first[1], second[1], third):
        writer.close()


async def test_cap_per_address_counts_behind_the_proxy(house):
    listener = house.listen(caps=Caps(total=100, per_address=1), trusted=["127.0.0.0/8"])
    header = b"PROXY TCP6 2001:db8::%d 2001:db8::ff 4000 25\r\n"
    one, two = await dial(listener), await dial(listener)
    one[1].write(header % 1 + b"info\r\n")
    assert [await one[0].readline() for _ in range(2)] == [b"hello\r\n", b"2001:db8::1 plain\r\n"]
    two[1].write(header % 2)                     # another address of the same /64
    assert await two[0].read() == b"full\r\n"
    one[1].close()
    two[1].close()


@pytest.mark.parametrize("header", [
    b"PROXY TCP6 ::ffff:192.0.2.%d ::ffff:192.0.2.1 4000 25\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + bytes(10) + b"\xff\xff\xc0\x00\x02%c" + bytes(10) + b"\xff\xff\xc0\x00\x02\x01\x0f\xa0\x00\x19"],
    ids=["version 1", "version 2"])
async def test_ipv4_clients_of_a_balancer_that_speaks_ipv6_are_told_apart(house, header):
    """A balancer that listens at [::] for both families names them as ::ffff:192.0.2.7, all of which are in one /64."""
    listener = house.listen(caps=Caps(total=100, per_address=1), trusted=["127.0.0.0/8"])
    one, two = await dial(listener), await dial(listener)
    for number, (reader, writer) in enumerate((one, two), 7):
        writer.write(header % number + b"info\r\n")
        assert [await reader.readline() for _ in range(2)] == [b"hello\r\n", b"192.0.2.%d plain\r\n" % number]
    one[1].close()
    two[1].close()


async def test_proxy_header_is_mandatory_there_and_octets_may_trickle(house):
    listener = house.listen(trusted=["127.0.0.1/32"])
    reader, writer = await dial(listener)
    writer.write(b"EHLO client\r\n")
    assert await reader.read() == b""
    assert listener.counters["proxy_failed"] == 1
    writer.close()
    reader, writer = await dial(listener)
    body = struct.pack("!4s4sHH", bytes([192, 0, 2, 7]), bytes([192, 0, 2, 1]), 4000, 25)
    for octet in b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H", len(body)) + body + b"info\r\n":
        writer.write(bytes([octet]))
        await asyncio.sleep(0)
    assert [await reader.readline() for _ in range(2)] == [b"hello\r\n", b"192.0.2.7 plain\r\n"]
    writer.close()


async def test_proxy_header_has_its_deadline(house, monkeypatch):
    monkeypatch.setattr(Listener, "PROXY_SECONDS", 0.02)
    listener = house.listen(trusted=["127.0.0.1/32"])
    reader, writer = await dial(listener)
    writer.write(b"PROXY ")
    assert await reader.read() == b""
    assert listener.counters["proxy_failed"] == 1
    writer.close()


async def test_implicit_tls_with_sni(house):
    certificates = house.certificates(other="imap.other.test", wild="*.wild.test")
    listener = house.listen(certificates=certificates, implicit_tls=True)
    for asked, served in (("mail.example.test", "mail.example.test"), ("IMAP.other.test", "imap.other.test"),
                          ("a.wild.test", "*.wild.test"), ("a.b.wild.test", "mail.example.test")):
        context = ssl.create_default_context()
        context.load_verify_locations(house.tmp_path / {
            "mail.example.test": "cert.pem", "imap.other.test": "other.pem", "*.wild.test": "wild.pem"}[served])
        context.check_hostname = served != "mail.example.test"
        reader, writer = await dial(listener, ssl=context, server_hostname=asked)
        assert await reader.readline() == b"hello\r\n"
        writer.write(b"info\r\nbig 100000\r\nQUIT\r\n")
        answer = await reader.read()
        assert answer.startswith(b"127.0.0.1 " + asked.encode())
        assert len(answer.split(b"\r\n")[1]) == 100_000
        writer.close()
    assert listener.counters["handshakes"] == 4


async def test_channel_binding_is_the_hash_of_our_certificate(house):
    listener = house.listen(certificates=house.certificates(), implicit_tls=True)
    reader, writer = await dial(listener, ssl=trusting())
    await reader.readline()
    expected = hashlib.sha256(house.certificate.public_bytes(Encoding.DER)).digest()
    assert house.sessions[0].connection.tls.server_end_point == expected
    assert house.sessions[0].connection.tls.version == "TLSv1.3"
    writer.close()


async def test_sni_that_is_no_name_gets_the_default_certificate(house):
    certificates = house.certificates(other="imap.other.test")
    for name in ("../../etc/passwd", "*", "x" * 255, "", ".", "*.", "127.0.0.1"):
        assert certificates.find(name) is certificates.default


async def test_starttls_then_tls(house):
    listener = house.listen(certificates=house.certificates())
    reader, writer = await dial(listener)
    await reader.readline()
    writer.write(b"STARTTLS\r\n")
    assert await reader.readline() == b"go\r\n"
    await writer.start_tls(trusting(), server_hostname="mail.example.test")
    writer.write(b"info\r\n")
    assert await reader.readline() == b"127.0.0.1 mail.example.test\r\n"
    writer.close()


async def test_plain_text_behind_starttls_is_refused(house):
    listener = house.listen(certificates=house.certificates())
    reader, writer = await dial(listener)
    await reader.readline()
    writer.write(b"STARTTLS\r\nINJECTED\r\n")
    assert await reader.read() == b"no\r\n"
    writer.close()
    assert house.sessions[0].engine.want_tls is False


async def test_engine_that_asks_for_tls_with_plain_text_in_hand_is_cut(house):
    listener = house.listen(certificates=house.certificates())
    reader, writer = await dial(listener)
    await reader.readline()
    house.sessions[0].handle = lambda event: house.sessions[0].connection.start_tls()
    house.sessions[0].engine.next_event = lambda: b"x" if not house.sessions[0].engine.want_tls else None
    writer.write(b"go\r\nINJECTED\r\n")
    assert await reader.read() == b""
    assert listener.counters["starttls_refused"] == 1
    writer.close()


async def test_client_hello_right_after_the_go_ahead(house):
    """A client that does not wait: the ClientHello in the next segment is the handshake's, not the engine's."""
    listener = house.listen(certificates=house.certificates())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting().wrap_bio(incoming, outgoing, server_hostname="mail.example.test")
    reader, writer = await dial(listener)
    await reader.readline()
    writer.write(b"STARTTLS\r\n")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    assert await reader.readline() == b"go\r\n"
    hello = outgoing.read()
    for octet in hello:                           # and it may trickle
        writer.write(bytes([octet]))
        await asyncio.sleep(0)
    incoming.write(await reader.read(65536))
    client.do_handshake()
    writer.write(outgoing.read())
    client.write(b"info\r\n")
    writer.write(outgoing.read())
    while True:
        try:
            assert client.read() == b"127.0.0.1 mail.example.test\r\n"
            break
        except ssl.SSLWantReadError:
            incoming.write(await reader.read(65536))
    writer.close()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"EHLO x\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 70000, b"\x80" * 10])
async def test_garbage_instead_of_a_handshake(house, garbage):
    listener = house.listen(certificates=house.certificates(), implicit_tls=True)
    reader, writer = await dial(listener)
    try:
        writer.write(garbage)
        writer.write_eof()
        await reader.read()
    except ConnectionError:
        pass
    while listener.connections:
        await asyncio.sleep(0)
    writer.close()
    reader, writer = await dial(listener, ssl=trusting())
    assert await reader.readline() == b"hello\r\n"
    writer.close()


async def test_handshake_has_its_deadline(house):
    listener = house.listen(certificates=house.certificates(), implicit_tls=True)
    listener.certificates.handshake = 0.03
    reader, writer = await dial(listener)
    writer.write(b"\x16")
    assert await reader.read() == b""
    assert listener.counters["handshakes_failed"] == 1
    writer.close()


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated")
async def test_old_versions_are_refused(house):
    listener = house.listen(certificates=house.certificates(), implicit_tls=True)
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await dial(listener, ssl=context)
    assert listener.counters["handshakes_failed"] == 1


async def test_certificates_reload_in_place_and_bad_ones_change_nothing(house):
    certificates = house.certificates()
    listener = house.listen(certificates=certificates, implicit_tls=True)
    before = certificates.default
    old = await dial(listener, ssl=trusting())
    (house.tmp_path / "bad.pem").write_text("not a certificate")
    with pytest.raises((ValueError, ssl.SSLError)):
        certificates.reload(Tls(certificate="bad.pem", key="cert.key"), house.tmp_path)
    assert certificates.default is before
    renewed = make_certificate(house.tmp_path, "mail.example.test")
    certificates.reload(house.settings, house.tmp_path)
    reader, writer = await dial(listener, ssl=trusting())
    seen = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert seen == renewed.public_bytes(Encoding.DER)
    old[1].write(b"QUIT\r\n")
    assert await old[0].read() == b"hello\r\nbye\r\n"
    old[1].close()
    writer.close()


def converse(port: int, words: bytes, tls: bool) -> bytes:
    """Say `words` and return all that is answered, from a blocking socket: uvloop's own TLS client may lose the end."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        talk = trusting().wrap_socket(sock, suppress_ragged_eofs=False) if tls else sock
        talk.sendall(words)
        with talk:
            return b"".join(iter(lambda: talk.recv(65536), b""))


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("length", [0, 1, 70_000, 5_000_000])
async def test_send_file_is_transformed_and_whole(house, tls, length):
    (house.tmp_path / "file").write_bytes(b"###" + b"abcdefghij" * (length // 10 + 1))
    listener = house.listen(**({"certificates": house.certificates(), "implicit_tls": True} if tls else {}))
    answer = await asyncio.to_thread(converse, listener.test_port, b"file %d\r\nafter\r\nQUIT\r\n" % length, tls)
    assert answer == b"hello\r\n" + (b"ABCDEFGHIJ" * (length // 10 + 1))[:length] + b".\r\nafter\r\nbye\r\n"


async def test_file_shorter_than_said_cuts_the_connection(house):
    (house.tmp_path / "file").write_bytes(b"###abc")
    listener = house.listen()
    reader, writer = await dial(listener)
    writer.write(b"file 10\r\n")
    assert await reader.read() == b"hello\r\nABC"
    assert listener.counters["broken"] == 1
    writer.close()


async def test_peer_that_leaves_while_a_file_is_sent(house):
    (house.tmp_path / "file").write_bytes(b"x" * 20_000_000)
    listener = house.listen()
    reader, writer = await dial(listener)
    writer.write(b"file 19000000\r\n")
    await reader.readexactly(100_000)
    writer.transport.abort()
    while listener.connections:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert listener.counters["broken"] == 0
    assert house.sessions[0].gone == 1


async def test_drain_lets_sessions_end_and_cuts_the_rest(house):
    listener = house.listen()
    idle, busy = await dial(listener), await dial(listener)
    busy[1].write(b"wait\r\n")
    await idle[0].readline()
    await busy[0].readline()
    while not any(connection._deciding for connection in listener.connections):
        await asyncio.sleep(0)
    await listener.drain(0.05)
    assert await idle[0].read() == b"going\r\n"
    with pytest.raises(OSError):
        await dial(listener)
    assert not listener.connections
    for writer in (idle[1], busy[1]):
        writer.close()


async def test_two_listeners_may_share_a_port(house):
    first = house.listen()
    first.close()
    first.test_port = first.open("127.0.0.1:0", reuse_port=True)
    other = Listener("lines", first.make_session, log=house.log)
    house.open.append(other)
    assert other.open(f"127.0.0.1:{first.test_port}", reuse_port=True) == first.test_port
    talks = [await dial(first) for _ in range(40)]
    for reader, _ in talks:
        assert await reader.readline() == b"hello\r\n"
    assert len(first.connections) + len(other.connections) == 40 and first.connections and other.connections
    for _, writer in talks:
        writer.close()


async def test_unix_socket_with_mode(house):
    listener = house.listen("unix:door.sock")
    listener.close()
    listener = house.listen(f"unix:{house.tmp_path}/two.sock")
    assert (house.tmp_path / "two.sock").stat().st_mode & 0o777 == 0o660
    reader, writer = await asyncio.open_unix_connection(str(house.tmp_path / "two.sock"))
    writer.write(b"info\r\n")
    assert [await reader.readline() for _ in range(2)] == [b"hello\r\n", b" plain\r\n"]
    assert house.sessions[0].connection.loopback
    writer.close()


async def test_descriptors_run_out(house, monkeypatch):
    """accept() fails with EMFILE: the one at the door is refused in words, and later ones are let in again."""
    import errno
    import os
    from fancymail.servers.doors import listener as module
    monkeypatch.setattr(module, "PAUSE", 0.01)
    listener = house.listen()
    door = next(iter(listener._doors))

    class Failing:
        def __init__(self):
            self.failures = 1

        def fileno(self):
            return door.fileno()

        def close(self):
            pass

        def accept(self):
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return door.accept()

    listener.loop.remove_reader(door.fileno())
    failing = Failing()
    listener._doors = {failing: listener.test_port}
    listener.loop.add_reader(door.fileno(), listener._accept, failing)
    reader, writer = await dial(listener)
    assert await reader.read() == b"full\r\n"
    writer.close()
    reader, writer = await dial(listener)
    assert await reader.readline() == b"hello\r\n"
    writer.close()
    listener.stop()
    door.close()


async def test_reset_during_everything_leaves_nothing(house):
    listener = house.listen(certificates=house.certificates())
    for early in (b"", b"STARTTLS\r\n", b"wait\r\n", b"big 1000000\r\n", b"part"):
        sock = socket.create_connection(("127.0.0.1", listener.test_port))
        sock.send(early or b"\r")
        while not listener.connections:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        while listener.connections:
            await asyncio.sleep(0)
    assert listener.caps.sessions == 0 and not listener.caps.addresses
    assert all(session.gone == 1 for session in house.sessions)


def test_addresses_are_counted_by_network():
    assert identify("192.0.2.1") == ("192.0.2.1", False)
    assert identify("2001:db8:1:2:3::4") == identify("2001:db8:1:2::5") == ("2001:db8:1:2::/64", False)
    assert identify("127.8.8.8")[1] and identify("::1")[1] and identify("")[1]
    assert identify("fe80::1%eth0") == ("fe80::/64", False)
