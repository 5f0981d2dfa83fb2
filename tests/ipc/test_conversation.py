"""A small daemon, asked in every way that docs/ipc.md allows, and in many that it does not."""

from __future__ import annotations

import asyncio
import os

import pytest
import zmq
import zmq.asyncio

from fancymail.base.settings.paths import Paths
from fancymail.ipc.client import Client
from fancymail.ipc.message import IpcError, Reply
from fancymail.ipc.raw import RawInbox
from fancymail.ipc.security import KeyRing
from fancymail.ipc.sync import SyncClient
from fancymail.ipc.verb import Caller, Count, Octets, RawStream, Text, verb
from fancymail.servers.running.daemon import AlreadyRunning, Daemon
from tests.servers_kit import operator, running


class Echo(Daemon):
    """Says back what it is told."""

    name = "queue"
    done = 0

    @verb(callers="smtpin")
    def echo(self, text: Text, times: Count = 1, *more: Text) -> list[str]:
        """Say the text, several times."""
        return [text] * times + list(more)

    @verb(callers="smtpin", remember=True)
    def count(self) -> int:
        """Count how often this was really done."""
        self.done += 1
        return self.done

    @verb(callers="smtpin", remember=True)
    async def slow(self, number: Count) -> int:
        """Answer when released."""
        self.done += 1
        await self.release.wait()
        return number

    @verb
    def secret(self) -> str:
        """Only for the operator."""
        return "s"

    @verb(callers="smtpin", operator=False)
    def who(self, *, caller: Caller) -> str:
        """Say who asks; not even the operator may."""
        return caller.role

    @verb
    def broken(self) -> None:
        """Fail."""
        raise RuntimeError("bug")

    @verb
    async def list(self, user: Text):
        """Answer in several messages."""
        yield Reply("ok", 2)
        yield Reply("mailinfo", 1, 120)
        yield Reply("mailinfo", 2, 300)
        yield Reply("ok")

    @verb
    async def store(self, user: Text, length: Octets, raw: RawStream):
        """Receive raw octets."""
        if user == "nobody":
            raise IpcError("5.1.1", "no such user")
        yield Reply("ok")
        data = b"".join([chunk async for chunk in raw.read(length)])
        yield Reply("ok", len(data), data[-3:])

    @verb
    async def retr(self, length: Octets):
        """Send raw octets."""
        yield Reply("ok", length)
        while length > 0:
            part = min(length, 32768)
            yield Reply("raw", b"x" * part)
            length -= part

    async def started(self):
        self.release = asyncio.Event()


@pytest.fixture
async def echo(tmp_path):
    async with running(Echo, tmp_path) as daemon:
        yield daemon


@pytest.fixture
async def door(echo, tmp_path):
    with operator(tmp_path, "queue") as client:
        yield client


async def raises(awaitable, status: str) -> str:
    with pytest.raises(IpcError) as caught:
        await awaitable
    assert caught.value.status == status
    return caught.value.text


async def test_a_verb_is_answered(door):
    assert await door.call("echo", "grüß", 2, "x") == ["grüß".encode(), "grüß".encode(), b"x"]
    assert await door.call("ping") == [b"queue"]


@pytest.mark.parametrize("turns", range(6))
async def test_who_gives_up_in_the_moment_of_an_answer_gives_up(tmp_path, turns):
    """However near both come to each other in the loop: whoever is cancelled once and goes on is never cancelled again."""
    with operator(tmp_path, "queue") as nobody:
        asking = asyncio.create_task(nobody.rows("list"))
        await asyncio.sleep(0)
        request, = nobody.requests.values()
        request.answers.put_nowait(Reply("ok", b"2"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        assert await asyncio.wait([asking], timeout=5) == ({asking}, set())
        assert asking.cancelled()


async def test_a_plain_req_socket_works(echo, tmp_path):
    socket = zmq.asyncio.Context.instance().socket(zmq.REQ)
    socket.connect(echo.paths.endpoints("queue")[0])
    for tag in (b"", b"t1"):
        await socket.send_multipart([tag, b"echo", b"hello"])
        assert await socket.recv_multipart() == [tag, b"ok", b"hello"]
    socket.close(0)


async def test_parameters_are_validated_before_the_method_runs(door):
    assert "missing" in await raises(door.call("echo"), "5.5.4")
    assert "times" in await raises(door.call("echo", "a", "1_0"), "5.5.4")
    await raises(door.call("echo", "a", "0"), "5.5.4")
    await raises(door.call("echo", "a", "٣"), "5.5.4")
    await raises(door.call("echo", b"\xff\xfe"), "5.5.4")
    assert "too many" in await raises(door.call("secret", "x"), "5.5.4")
    assert "knows no verb" in await raises(door.call("fly"), "5.5.1")


async def test_what_is_too_large_is_an_error_on_either_side(door):
    """Silence would be the alternative: a socket drops whoever sends more than it takes."""
    with pytest.raises(IpcError, match="5.3.4 this does not fit"):
        door.call("echo", "x" * 70_000)
    assert "does not fit" in await raises(door.call("echo", "x", 1000, *["y"] * 30), "5.3.4")
    assert await door.call("echo", "x") == [b"x"]


def test_tools_hear_at_once_what_cannot_be_said(tmp_path):
    with SyncClient(f"ipc://{tmp_path}/nobody.ipc") as client:
        for params in (["x"] * 1100, ["x" * 70_000]):
            with pytest.raises(IpcError, match="5.3.4 this does not fit"):
                client.call("echo", *params)
        with pytest.raises(IpcError, match="5.5.4 .* not UTF-8"):
            client.call("echo", os.fsdecode(b"\xff"))


async def test_a_request_that_finds_no_room_is_said_no_more(tmp_path, monkeypatch):
    """Who was told 4.4.5 asks again; the first must not be said by itself once there is room."""
    monkeypatch.setattr("fancymail.ipc.client.MOST_WAITING", 0)
    monkeypatch.setattr("fancymail.ipc.client.Wire.send", lambda wire, frames: False)
    with operator(tmp_path, "queue") as client:
        with pytest.raises(IpcError, match="4.4.5"):
            client.call("echo", "x")
        with pytest.raises(IpcError, match="4.4.5"):
            await client.rows("list", "x")
        assert not client.requests


async def test_a_bug_is_an_answer_not_a_death(door, echo):
    assert await raises(door.call("broken"), "4.3.0") == "internal error"
    assert await door.call("ping") == [b"queue"]
    assert echo.server.counters["failures"] == 1


async def test_an_answer_of_several_messages(door):
    first, rows = await door.rows("list", "john")
    assert first == [b"2"]
    assert [(row.verb, row.params) for row in rows] == [("mailinfo", (b"1", b"120")), ("mailinfo", (b"2", b"300"))]


@pytest.mark.parametrize("length", [0, 1, 32768, 32769, 5_000_000])
async def test_raw_octets_go_both_ways(door, length):
    assert (await door.read_raw("retr", length))[1] == b"x" * length
    content = os.urandom(length)
    assert await door.write_raw("store", "john", length, content=content) == [b"%d" % length, content[-3:]]


async def test_a_refused_store_reads_no_octets(door):
    await raises(door.write_raw("store", "nobody", 3, content=b"abc"), "5.1.1")
    assert await door.call("ping") == [b"queue"]


async def test_more_raw_octets_than_announced_is_an_error(door):
    await raises(door.write_raw("store", "john", 2, content=b"abc"), "5.5.4")


async def test_a_raw_inbox_that_nobody_reads_is_bounded():
    inbox = RawInbox()
    for _ in range(1000):
        inbox.feed(b"x" * 65536)
    assert inbox.waiting <= 8 * 1024 * 1024
    with pytest.raises(IpcError):
        async for _ in inbox.read(10**9):
            pass


async def test_many_requests_at_once(door):
    answers = await asyncio.gather(*[door.call("echo", str(number)) for number in range(5000)])
    assert [int(answer[0]) for answer in answers] == list(range(5000))


def client_of(echo, role: str) -> Client:
    return Client(echo.context, echo.paths.endpoints("queue")[1], keys=echo.keys, role=role, server_key=echo.keys.public("queue"))


async def test_the_key_tells_the_role(echo):
    client = client_of(echo, "smtpin")
    assert await client.call("who") == [b"smtpin"]
    assert await client.call("echo", "a") == [b"a"]
    assert "may not" in await raises(client.call("secret"), "5.7.1")
    client.close()
    client = client_of(echo, "pop3")
    await raises(client.call("who"), "5.7.1")
    await raises(client.call("echo", "a"), "5.7.1")
    client.close()


async def test_the_operator_may_not_say_what_is_not_his(door):
    await raises(door.call("who"), "5.7.1")


async def test_grants_extend_a_role(tmp_path):
    async with running(Echo, tmp_path, {"ipc": {"grants": {"pop3": ["queue.echo"]}}}) as echo:
        client = client_of(echo, "pop3")
        assert await client.call("echo", "a") == [b"a"]
        await raises(client.call("secret"), "5.7.1")
        client.close()


async def test_an_unknown_key_and_a_plain_peer_are_refused_at_the_daemons_door(echo, tmp_path):
    stranger = KeyRing(tmp_path / "stranger")
    stranger.create()
    for keys, server_key in ((stranger, echo.keys.public("queue")), (stranger, b"")):
        client = Client(echo.context, echo.paths.endpoints("queue")[1], keys=keys, role="smtpin", server_key=server_key)
        await raises(client.call("ping", timeout=0.5), "4.4.1")
        client.close()
    assert echo.gatekeeper.refused >= 1


async def test_an_identity_taken_over_keeps_no_role(echo):
    """A peer may choose its routing id; the role must come from its own handshake each time."""
    for role, allowed in (("smtpin", True), ("pop3", False)):
        assert (await _answer_to_chosen_identity(echo, role) == b"ok") is allowed


async def _answer_to_chosen_identity(echo, role: str) -> bytes:
    for _ in range(50):      # the ROUTER ignores a second peer of that name until it noticed that the first has gone
        socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, b"chosen")
        echo.keys.join(socket, role, echo.keys.public("queue"))
        socket.connect(echo.paths.endpoints("queue")[1])
        try:
            await socket.send_multipart([b"", b"t", b"echo", b"a"])
            if await socket.poll(200):
                return (await socket.recv_multipart())[2]
        finally:
            socket.close(0)
    raise AssertionError("no answer")


async def test_the_same_request_is_done_once(echo):
    """A tag of 16 octets is unique: said again, its answer is repeated; short tags are asked anew."""
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    socket.connect(echo.paths.endpoints("queue")[0])
    for tag, expected in ((b"u" * 16, [b"1", b"1"]), (b"t", [b"2", b"3"])):
        for value in expected:
            await socket.send_multipart([b"", tag, b"count"])
            assert await socket.recv_multipart() == [b"", tag, b"ok", value]
    for _ in range(2):
        await socket.send_multipart([b"", b"v" * 16, b"slow", b"7"])
    await socket.send_multipart([b"", b"p", b"ping"])
    assert (await socket.recv_multipart())[1] == b"p"
    assert echo.done == 4
    echo.release.set()
    assert await socket.recv_multipart() == [b"", b"v" * 16, b"ok", b"7"]
    socket.close(0)


async def test_malformed_messages_are_dropped_and_counted(echo, door):
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    socket.connect(echo.paths.endpoints("queue")[0])
    for frames in ([b""], [b"", b""], [b"x", b"t", b"ping"], [b"ping"], [b"", b"t"], [b""] * 5000, [b"", b"t", b"raw", b"abc"]):
        await socket.send_multipart(frames)
    for verb_name in (b"", b"\xff", b"ok", b"error", b"a" * 60000, b"ping; ping", b"__init__", b"serve", b"stop"):
        await socket.send_multipart([b"", b"t", verb_name])
    await socket.send_multipart([b"", b"end", b"ping"])
    while (await socket.recv_multipart())[1] != b"end":
        pass
    assert echo.server.counters["malformed"] >= 6
    await socket.send_multipart([b"", b"t", b"echo", b"x" * 10_000_000])       # over MAXMSGSIZE: cut, not answered
    assert await door.call("ping") == [b"queue"]
    socket.close(0)


async def test_a_second_daemon_refuses_to_start(echo, tmp_path):
    with pytest.raises(AlreadyRunning):
        async with running(Echo, tmp_path):
            pass


async def test_requests_survive_a_restart(tmp_path):
    async with running(Echo, tmp_path) as first:
        client = Client(first.context.__class__(), Paths(tmp_path).endpoints("queue")[0], name="queue")
        assert await client.call("ping") == [b"queue"]
    waiting = client.call("echo", "later")
    async with running(Echo, tmp_path):
        assert await waiting == [b"later"]
    await raises(client.call("ping", timeout=0.3), "4.4.1")
    client.close()


async def test_alerts(echo, door, tmp_path):
    context = zmq.asyncio.Context.instance()
    socket = context.socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    callback = f"socket://127.0.0.1:{port}"
    await door.call("subscribe", "incoming", callback)
    echo.alert("incoming")
    echo.alert("incoming")
    echo.alert("other")
    assert await socket.recv_multipart() == [b"", b"alert", b"incoming"]
    await socket.send_multipart([b"", b"ok"])
    await door.call("unsubscribe", "incoming", callback)
    await raises(door.call("unsuscribe", "incoming", callback), "5.5.4")
    echo.alert("incoming")
    assert not await socket.poll(50)
    socket.close(0)


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6")
async def test_addresses_of_ipv6(tmp_path):
    """As a callback, as a door beyond this machine, and as a peer's address."""
    context = zmq.asyncio.Context.instance()
    socket, free = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    for one in (socket, free):
        one.setsockopt(zmq.IPV6, 1)
    callback = f"tcp://[::1]:{socket.bind_to_random_port('tcp://[::1]')}"
    endpoint = f"tcp://[::1]:{free.bind_to_random_port('tcp://[::1]')}"
    free.close(0)
    async with running(Echo, tmp_path, {"ipc": {"listen": {"queue": endpoint}, "peers": {"queue": endpoint}}}) as echo:
        assert await echo.ask("queue", "ping", timeout=2) == [b"queue"]
        with operator(tmp_path, "queue") as door:
            await door.call("subscribe", "incoming", callback)
        echo.alert("incoming")
        assert await socket.poll(2000) and await socket.recv_multipart() == [b"", b"", b"alert", b"incoming"]
    socket.close(0)


@pytest.mark.parametrize("callback", ["tcp://192.0.2.1:99", "tcp://127.0.0.1:0", "tcp://127.0.0.1", "http://x", "socket://a b:1", ""])
async def test_callbacks_that_are_refused(door, callback):
    with pytest.raises(IpcError) as caught:
        await door.call("subscribe", "incoming", callback)
    assert caught.value.status in ("5.5.4", "5.7.1")


@pytest.mark.parametrize("key", ["~" * 40, "#" * 40, "\u00e9" * 40])
async def test_a_callback_whose_key_is_none_is_refused(door, echo, key):
    await raises(door.call("subscribe", "incoming", "tcp://127.0.0.1:14001", key), "5.5.4")
    assert not echo.callbacks.wires and not echo.server.counters["failures"]


async def test_a_subscription_that_is_refused_holds_no_connection(door, echo, monkeypatch):
    monkeypatch.setattr("fancymail.ipc.alerts.MOST_TOPICS", 1)
    await door.call("subscribe", "incoming", "tcp://127.0.0.1:14001")
    await raises(door.call("subscribe", "outgoing", "tcp://127.0.0.1:14002"), "4.5.3")
    assert list(echo.callbacks.wires) == ["tcp://127.0.0.1:14001"]


async def test_a_subscriber_that_never_reads_costs_nothing(echo, door):
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    await door.call("subscribe", "incoming", f"socket://127.0.0.1:{port}")
    socket.close(0)
    for _ in range(6000):      # a peer that is just closing still swallows some
        echo.alert("incoming")
        echo.callbacks._tell()
    assert echo.callbacks.topics == {}


async def test_help_tells_the_verbs(door):
    first, rows = await door.rows("help", "echo")
    assert first == [b"1"]
    assert rows[0].params[0] == b"echo: text ; [times] ; more..."
    assert rows[0].params[2] == b"operator smtpin"
    assert len((await door.rows("help"))[1]) >= 12


async def test_stats_and_metrics(door):
    assert b'"daemon":"queue"' in (await door.call("stats"))[0]
    assert b"fancymail" in (await door.call("metrics"))[0]


async def test_a_broken_configuration_changes_nothing(echo, door, tmp_path):
    (tmp_path / "fancymail.toml").write_text("[ipc]\ndeadlin = 3\n")
    text = await raises(door.call("reload"), "5.3.5")
    assert "deadline" in text
    (tmp_path / "fancymail.toml").write_text("[ipc]\ndeadline = 3\n")
    await door.call("reload")
    assert echo.settings.ipc.deadline == 3


async def test_who_is_operator_no_more_is_told_so_at_a_reload(echo, door, tmp_path):
    def role() -> str | None:
        return echo.gatekeeper._role(b"1.0", b"1", b"operator", b"localhost:4711:4711:0", b"", b"NULL")
    for operators, expected in (("[4711]", "operator"), ("[]", None)):
        (tmp_path / "fancymail.toml").write_text(f"[ipc]\noperators = {operators}\n")
        await door.call("reload")
        assert role() == expected


@pytest.mark.parametrize("octets", [b"~" * 40, b"#" * 40, b"\xff" * 40])
async def test_a_damaged_key_is_nobodys_and_holds_up_nobody(echo, door, octets):
    folder = echo.keys.folder / "allow"
    folder.mkdir()
    (folder / "archiver.pub").write_bytes(octets)
    await door.call("reload")
    assert "archiver" not in echo.gatekeeper.allowed.values() and "smtpin" in echo.gatekeeper.allowed.values()
