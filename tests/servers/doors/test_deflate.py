"""COMPRESS=DEFLATE on a connection: both ways, under TLS, in pieces, against bombs and garbage, and never around octets sent too early."""

from __future__ import annotations

import asyncio
import tracemalloc
import zlib

import pytest

from fancymail.base.log import Log
from fancymail.base.settings.log import Log as LogOptions
from fancymail.servers.doors.deflate import Deflate, DeflateError
from fancymail.servers.doors.listener import Listener
from tests.servers.doors.lines import LineSession


class DeflateSession(LineSession):
    """COMPRESS switches it on."""

    def handle(self, event):
        if event == b"COMPRESS":
            self.engine.want_deflate = True
        return super().handle(event)


@pytest.fixture
async def server(tmp_path):
    listener = Listener("lines", DeflateSession, log=Log("test", LogOptions(console="never"), tmp_path / "log", False))
    listener.port = listener.open("127.0.0.1:0")
    yield listener
    listener.close()


class Peer:
    """A client that compresses."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer
        self.out, self.inside = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
        self.plain = b""

    @classmethod
    async def compressing(cls, port: int) -> Peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readline() == b"hello\r\n"
        writer.write(b"COMPRESS\r\n")
        assert await reader.readline() == b"COMPRESS\r\n"
        return cls(reader, writer)

    def deflated(self, data: bytes) -> bytes:
        return self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH)

    async def line(self) -> bytes:
        while b"\n" not in self.plain:
            data = await self.reader.read(65536)
            assert data, "the server closed"
            self.plain += self.inside.decompress(data)
        line, _, self.plain = self.plain.partition(b"\n")
        return line.rstrip(b"\r")


async def test_both_ways(server):
    peer = await Peer.compressing(server.port)
    for word in (b"one", b"two", b"x" * 50_000):
        peer.writer.write(peer.deflated(word + b"\r\n"))
        assert await peer.line() == word


async def test_at_every_octet(server):
    peer = await Peer.compressing(server.port)
    for octet in peer.deflated(b"one\r\ntwo\r\n"):
        peer.writer.write(bytes([octet]))
        await peer.writer.drain()
    assert [await peer.line(), await peer.line()] == [b"one", b"two"]


async def test_what_waits_for_a_decision_stays_compressed(server):
    peer = await Peer.compressing(server.port)
    peer.writer.write(peer.deflated(b"wait\r\n"))
    while not (session := next(iter(server.connections)).session).engine.deadline_epoch > 2:
        await asyncio.sleep(0)
    peer.writer.write(peer.deflated(b"y" * 60_000 + b"\r\n" + b"z" * 3_000_000 + b"\r\n"))
    await peer.writer.drain()
    while not next(iter(server.connections))._deflate.waiting:
        await asyncio.sleep(0)
    assert len(session.engine.inbox) <= 200_000
    session.gate.set()
    assert await peer.line() == b"wait"
    assert await peer.line() == b"y" * 60_000
    assert await peer.line() == b"z" * 3_000_000


async def test_garbage_ends_the_connection(server):
    peer = await Peer.compressing(server.port)
    peer.writer.write(b"\xff" * 100)
    assert await peer.reader.read() == b""
    assert server.counters["deflate_broken"] == 1


async def test_octets_behind_the_command_end_it(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.write(b"COMPRESS\r\nincomplete")
    assert await reader.read() == b"COMPRESS\r\n"
    assert server.counters["deflate_broken"] == 1


def test_a_bomb_comes_in_pieces():
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(bytes(20_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    codec = Deflate()
    codec.receive(bomb)
    tracemalloc.start()
    total = 0
    while plain := codec.take():
        total += len(plain)
        assert len(plain) <= 32 * 1024
    assert total == 20_000_000 and tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_the_end_of_a_stream_is_an_error():
    codec, packer = Deflate(), zlib.compressobj(wbits=-15)
    codec.receive(packer.compress(b"x") + packer.flush())
    with pytest.raises(DeflateError):
        codec.take()
