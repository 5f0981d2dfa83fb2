"""Attacks on the conversation itself: other uids, other keys, garbage on the socket, floods."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct

import pytest
import zmq
import zmq.asyncio

from fancymail.ipc.client import Client
from fancymail.ipc.message import IpcError
from fancymail.ipc.security import KeyRing
from fancymail.ipc.verb import Text, verb
from fancymail.servers.running.daemon import Daemon
from tests.servers_kit import operator, running


class Target(Daemon):
    """A daemon with one verb for smtpin."""

    name = "queue"

    @verb(callers="smtpin")
    def take(self, text: Text) -> str:
        """Say it back."""
        return text


@pytest.fixture
async def target(tmp_path):
    async with running(Target, tmp_path) as daemon:
        yield daemon


def path_of(target, door: int = 0) -> str:
    return target.paths.endpoints("queue")[door].removeprefix("ipc://")


GARBAGE = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "zeros": b"\0" * 4096,
    "half a greeting": b"\xff\0\0\0\0\0\0\0\0\x7f\x03",
    "ZMTP 1": b"\x01\0",
    "ZMTP 2": b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05\0\0",
    "greeting and a command of 2^63 octets": b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".ljust(64, b"\0") + b"\x06" + struct.pack(">Q", 2**63),
    "greeting and a frame of 8 GiB": b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".ljust(64, b"\0") + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x06DEALER"
    + b"\x02" + struct.pack(">Q", 8 << 30),
    "unknown mechanism": b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0FROB".ljust(64, b"\0"),
    "noise": bytes(range(256)) * 64,
}


@pytest.mark.parametrize("door", [0, 1], ids=["operator", "daemons"])
@pytest.mark.parametrize("octets", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_on_the_socket(target, door, octets):
    loop = asyncio.get_running_loop()
    peers = []
    for _ in range(5):
        peer = socket.socket(socket.AF_UNIX)
        peer.setblocking(False)
        await loop.sock_connect(peer, path_of(target, door))
        try:
            await loop.sock_sendall(peer, octets)
        except (BrokenPipeError, ConnectionResetError):
            pass
        peers.append(peer)
    with operator(target.paths.state, "queue") as canary:
        assert await canary.call("ping") == [b"queue"]
    for peer in peers:
        peer.close()


async def test_doors_are_closed_to_others(target):
    assert stat.S_IMODE(os.stat(target.paths.run).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(target.paths.keys).st_mode) == 0o700
    for key in target.paths.keys.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_another_uid_is_refused_even_inside(target):
    """Should the folder's mode ever fail: the uid that the kernel reports is asked too."""
    target.gatekeeper.uids = {b"54321"}
    with operator(target.paths.state, "queue") as stranger:
        with pytest.raises(IpcError) as caught:
            await stranger.call("ping", timeout=0.5)
        assert caught.value.status == "4.4.1"
    assert target.gatekeeper.refused >= 1
    target.gatekeeper.uids = {b"%d" % os.getuid()}


async def test_a_key_that_others_may_read_is_not_used(target):
    os.chmod(target.paths.keys / "queue.key", 0o644)
    with pytest.raises(PermissionError):
        target.keys.secret("queue")


async def test_a_withdrawn_key_is_refused(target):
    (target.paths.keys / "smtpin.pub").rename(target.paths.keys / "smtpin.old")
    target.gatekeeper.reload({}, ())
    public = (target.paths.keys / "smtpin.old").read_bytes().strip()
    (target.paths.keys / "smtpin.key").rename(target.paths.keys / "gone.key")
    keys = KeyRing(target.paths.keys)
    keys.public = lambda role: public if role == "gone" else KeyRing.public(keys, role)
    client = Client(target.context, target.paths.endpoints("queue")[1], keys=keys, role="gone", server_key=target.keys.public("queue"))
    with pytest.raises(IpcError):
        await client.call("take", "x", timeout=0.5)
    client.close()


async def test_a_flood_of_short_lived_peers(target):
    """Peers come and go; what is remembered of them is bounded and no answer goes astray."""
    context = zmq.asyncio.Context.instance()
    for _ in range(300):
        peer = context.socket(zmq.DEALER)
        peer.connect(target.paths.endpoints("queue")[0])
        await peer.send_multipart([b"", b"", b"ping"])
        assert await peer.recv_multipart() == [b"", b"", b"ok", b"queue"]
        peer.close(0)
    assert len(target.server.doors[0].peers) <= 65536


async def test_a_peer_that_asks_and_never_reads(target):
    """Its answers are dropped at the high-water mark; others are served meanwhile."""
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.setsockopt(zmq.RCVHWM, 1)
    peer.setsockopt(zmq.SNDHWM, 0)
    peer.connect(target.paths.endpoints("queue")[0])
    for number in range(20_000):
        peer.send_multipart([b"", b"t", b"take", b"x" * 1000])
    with operator(target.paths.state, "queue") as canary:
        for _ in range(50):
            assert await canary.call("ping") == [b"queue"]
    peer.close(0)
    context.destroy(0)


@pytest.mark.parametrize("frames", [
    [b"", b"t", b"take", b"\xff\xfe"], [b"", b"t", b"take"], [b"", b"t", b"take", b"a", b"b"], [b"", b"t", b"take\r\nping", b"a"],
    [b"", b"t", b"TAKE", b"a"],
    [b"", b"t", b"take", b"a\0b"], [b"", b"t", b"__class__"], [b"", b"t", b"started"], [b"", b"t" * 60000, b"take", b"a"],
    [b"", b"t", b"subscribe", b"x", b"file:///etc/passwd"], [b"", b"t", b"subscribe", b"../", b"ipc:///nowhere"],
    [b"", b"t", b"push", b"incoming", b"../../etc/passwd"],
], ids=lambda frames: repr(frames[2:])[:40])
async def test_hostile_messages_are_answered_or_dropped(target, frames):
    peer = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    peer.connect(target.paths.endpoints("queue")[0])
    await peer.send_multipart(frames)
    await peer.send_multipart([b"", b"end", b"ping"])
    answers = []
    while not answers or answers[-1][1] != b"end":
        answers.append(await peer.recv_multipart())
    assert all(answer[2] == b"error" or b"ipc:///nowhere" in frames for answer in answers[:-1])
    assert len(answers) == (1 if len(frames[1]) > 255 else 2)
    peer.close(0)


async def test_subscriptions_are_bounded(target):
    with operator(target.paths.state, "queue") as client:
        refused = 0
        for number in range(300):
            try:
                await client.call("subscribe", "incoming", f"ipc:///nowhere/{number}")
            except IpcError as error:
                assert error.status == "4.5.3"
                refused += 1
        assert refused == 300 - 256
