"""fm-queue over its doors: every verb as it is said on the wire, by roles and by the operator."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading

import msgspec
import pytest
import zmq

from fancymail.ipc.client import Client
from fancymail.ipc.message import IpcError
from fancymail.ipc.security import KeyRing
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.results import RecipientResult, dump
from fancymail.servers.queue.daemon import QueueServer
from fancymail.storage.ports.spool import Told
from fancymail.storage.slots import write_slot
from tests.servers_kit import operator, running

ENVELOPE = Envelope("a" * 26, "alice@example.test", [Recipient("bob@example.test"), Recipient("eve@example.org")])


async def text(door, *request) -> list[str]:
    return [param.decode() for param in await door.call(*request)]


async def lines(door, *request) -> list[list[str]]:
    _, rows = await door.rows(*request, timeout=10)
    return [[reply.verb, *(value.decode() for value in reply.params)] for reply in rows]


async def refused(door, *request) -> str:
    with pytest.raises(IpcError) as caught:
        await door.call(*request)
    return f"{caught.value.text} ; {caught.value.status}"


async def pushed(door, queue="incoming", content=b"Subject: x\r\n\r\nhi\r\n", envelope=ENVELOPE) -> str:
    path, = await text(door, "slot", queue)
    write_slot(path, envelope, content)
    assert await door.call("push", queue, path) == []
    return path


async def test_a_client_that_knows_only_the_reference(door, tmp_path):
    path, = await text(door, "slot", "incoming")
    assert os.path.dirname(path) == f"{tmp_path}/queues/incoming" and not os.path.exists(path)
    with open(path, "wb") as file:
        file.write(b"any octets")
    assert await text(door, "push", "incoming", path) == []
    assert await text(door, "push", "incoming", path) == []
    assert await text(door, "pop", "incoming") == [path]
    assert await refused(door, "pop", "incoming") == "no message in queue incoming ; 4.0.0"
    os.unlink(path)
    assert "no message" in await refused(door, "pop", "incoming")
    assert (await lines(door, "queues"))[0] == ["queue", "incoming", "0", "0", "0", "0", "0", "0", "0"]


async def test_many_at_once(door):
    paths = await text(door, "slot", "incoming", 20)
    for path in paths:
        write_slot(path, ENVELOPE, b"x")
    await door.call("push", "incoming", *paths)
    taken = await text(door, "take", "incoming", 12)
    assert taken[::2] == paths[:12]
    told = msgspec.json.decode(taken[1])
    assert told["attempts"] == 1 and told["pending"] == [0, 1] and told["size"] == 1 and told["id"] in paths[0] and told["first"] > 1e9
    assert await text(door, "pop", "incoming", 100) == paths[12:]
    await door.call("done", "incoming", *paths)
    assert not any(map(os.path.exists, paths)) and await text(door, "take", "incoming", 5) == []


async def test_what_is_entered_while_the_disk_refuses_it_as_found_does_not_wait_for_an_hour(daemon, door, monkeypatch):
    await daemon.swept.wait()
    path, = await text(door, "slot", "incoming")
    write_slot(path, ENVELOPE, b"Subject: x\r\n\r\nhi\r\n")          # durable by its writer, who answered 250
    begun, told = threading.Event(), threading.Event()

    def refusing(slots):
        begun.set()
        told.wait(10)
        raise OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(daemon.spool, "sync", refusing)
    finding = asyncio.ensure_future(daemon.manager.recover("incoming"))
    await asyncio.get_running_loop().run_in_executor(None, begun.wait, 10)
    daemon.manager.enter("incoming", [(path, Told(20, b"", "a" * 26, "alice@example.test", ["bob@example.test"], 1))])    # it is known, it hears
    told.set()
    assert await finding == 0 and await text(door, "take", "incoming", 1) == []
    monkeypatch.undo()
    daemon.manager.tick()                                               # looks whether the disk works again
    assert path in (await text(door, "consume", "incoming", 1, 10))[0]


async def test_settling(door):
    path = await pushed(door, "outgoing")
    await door.call("take", "outgoing", 1)
    first = dump([RecipientResult(0, "delivered", "2.0.0", "ok", "mx.example.test")])
    assert await text(door, "result", "outgoing", path, first) == ["0"]
    assert await text(door, "renew", "outgoing", path, 30) == ["30.0"]
    await door.call("defer", "outgoing", path, 3600, "greylisted")
    shown = msgspec.json.decode((await text(door, "show", "outgoing", path))[0])
    assert shown["state"] == "deferred" and shown["pending"] == [1] and shown["reason"] == "greylisted"
    assert shown["results"][0]["remote"] == "mx.example.test" and shown["recipients"] == ["bob@example.test", "eve@example.org"]
    assert await text(door, "retry", "outgoing", path) == ["1"]
    assert (await text(door, "take", "outgoing", 1))[0] == path
    assert await text(door, "result", "outgoing", path, dump([RecipientResult(1, "failed", "5.1.1")])) == ["1"]
    assert not os.path.exists(path)
    assert "no message" in await refused(door, "show", "outgoing", path)


async def test_a_deferred_message_is_announced_when_it_is_due(door, daemon):
    path = await pushed(door)
    await door.call("take", "incoming", 1)
    alerts, due = [], asyncio.Event()
    daemon.manager.alert = lambda topic: (alerts.append(topic), due.set())
    await door.call("defer", "incoming", path, "0.05")
    await asyncio.wait_for(due.wait(), 5)
    assert alerts == ["incoming"] and (await text(door, "take", "incoming", 1))[0] == path


async def test_the_operator_steers(door):
    paths = [await pushed(door, envelope=Envelope("a" * 26, f"s{n}@example.test", [Recipient("bob@example.test")])) for n in range(4)]
    ids = [os.path.basename(path) for path in paths]
    assert await text(door, "hold", "incoming", "sender=S[01]@*") == ["2"]
    assert (await lines(door, "queues"))[0][:6] == ["queue", "incoming", "2", "0", "0", "2"]
    listed = await lines(door, "messages", "incoming", 100, "state=held")
    assert [line[:2] for line in listed] == [["message", id] for id in ids[:2]]
    assert listed[0][2:6] == ["held", "18", "s0@example.test", "bob@example.test"] and listed[0][9] == "held by the operator"
    assert len(await lines(door, "messages", "incoming", 3)) == 3
    assert await text(door, "pop", "incoming", 9) == paths[2:]
    assert await text(door, "release", "incoming", ids[0]) == ["1"]
    assert await text(door, "release", "incoming", ids[0]) == ["0"]
    assert await text(door, "drop", "incoming", "all") == ["4"]
    assert not any(map(os.path.exists, paths))


async def test_what_is_set_aside_comes_back(door, tmp_path):
    whole, broken = await pushed(door), await pushed(door)
    await door.call("take", "incoming", 2)
    with open(broken, "r+b") as file:
        file.seek(64)
        file.write(b"Z")
    for path in (whole, broken):
        await door.call("reject", "incoming", path, "cannot read it")
    assert (await lines(door, "queues"))[0][:8] == ["queue", "incoming", "0", "0", "0", "0", "1", "1"]
    assert os.listdir(tmp_path / "queues/dead") == [os.path.basename(whole)]
    assert os.listdir(tmp_path / "queues/corrupt") == [os.path.basename(broken)]
    assert await text(door, "retry", "incoming", "all") == ["1"]            # what was changed stays where it is
    assert await text(door, "pop", "incoming") == [whole]
    assert await text(door, "drop", "incoming", broken.replace("incoming", "corrupt")) == ["1"]
    assert os.listdir(tmp_path / "queues/corrupt") == []


@pytest.mark.parametrize("request_, answer", [
    (("slot", "nonesuch"), "no such queue: nonesuch ; 5.5.4"),
    (("slot", "../x"), "queue must be"),
    (("slot", "incoming", "0"), "count must be"),
    (("slot", "incoming", "10001"), "count must be"),
    (("push", "incoming"), "slot, is missing ; 5.5.4"),
    (("push", "incoming", "/etc/passwd"), "not a slot of queue incoming ; 5.5.4"),
    (("push", "incoming", "a" * 26), "there is no file"),
    (("take", "incoming"), "count, is missing"),
    (("done", "incoming", "x"), "not a slot"),
    (("result", "incoming", "a" * 26, "{"), "results must be JSON"),
    (("result", "incoming", "a" * 26, "[]"), "no message"),
    (("defer", "incoming", "a" * 26, "-1"), "seconds must be"),
    (("defer", "incoming", "a" * 26, "1"), "no message"),
    (("renew", "incoming", "a" * 26), "no message"),
    (("reject", "incoming", "a" * 26, "r"), "no message"),
    (("hold", "incoming"), "say which messages"),
    (("drop", "incoming"), "say which messages"),
    (("hold", "incoming", "colour=red"), "no condition 'colour'"),
    (("hold", "incoming", "state=odd"), "a state is one of ready"),
    (("hold", "incoming", "older=1_0"), "older needs a number"),
    (("hold", "incoming", "a" * 26, "older=1"), "either messages or conditions"),
    (("hold", "incoming", "nonsense"), "not a message"),
    (("show", "incoming", "all"), "no message"),
    (("subscribe", "nonesuch", "tcp://127.0.0.1:1"), "no such queue"),
])
async def test_bad_requests_are_refused_with_a_reason(door, request_, answer):
    assert answer in await refused(door, *request_)
    assert await text(door, "ping") == ["queue"]


async def test_roles(daemon, tmp_path):
    context, clients = zmq.Context(), {}
    for role in ("smtpin", "mailbox", "pop3"):
        keys = KeyRing(daemon.paths.keys)
        clients[role] = Client(context, daemon.paths.endpoints("queue")[1], keys=keys, role=role, server_key=keys.public("queue"))
    try:
        path = await pushed(clients["smtpin"])
        assert "may not say pop" in await refused(clients["smtpin"], "pop", "incoming")
        assert "may not say drop" in await refused(clients["mailbox"], "drop", "incoming", "all")
        assert "may not say slot" in await refused(clients["pop3"], "slot", "incoming")
        assert await text(clients["mailbox"], "pop", "incoming") == [path]
    finally:
        for client in clients.values():
            client.close()
        context.destroy(0)


async def test_everything_outlives_the_daemon(tmp_path):
    async with running(QueueServer, tmp_path):
        with operator(tmp_path, "queue") as door:
            ready, leased, deferred, held = [await pushed(door) for _ in range(4)]
            assert await text(door, "hold", "incoming", held) == ["1"]
            assert await text(door, "pop", "incoming", 1) == [ready]
            await door.call("defer", "incoming", ready, 0)
            assert (await text(door, "pop", "incoming", 3)).count(leased) == 1
            await door.call("defer", "incoming", deferred, 3600)
    async with running(QueueServer, tmp_path):
        with operator(tmp_path, "queue") as door:
            assert await text(door, "push", "incoming", held) == []
            states = {line[1]: line[2] for line in await lines(door, "messages", "incoming")}
            assert [states[os.path.basename(path)] for path in (leased, deferred, held)] == ["leased", "deferred", "held"]
            await door.call("done", "incoming", leased)


async def test_a_push_during_a_restart_gets_no_error(tmp_path):
    with contextlib.ExitStack() as stack:
        pushes = []
        for _ in range(3):
            async with running(QueueServer, tmp_path):
                door = stack.enter_context(operator(tmp_path, "queue"))
                path, = await text(door, "slot", "incoming")
                write_slot(path, ENVELOPE, b"x")
                pushes.append(asyncio.ensure_future(door.call("push", "incoming", path, timeout=20)))
        async with running(QueueServer, tmp_path):
            with operator(tmp_path, "queue") as door:
                assert await asyncio.gather(*pushes) == [[], [], []]
                assert len(await text(door, "pop", "incoming", 9)) == 3


async def test_a_reload_brings_new_queues(door, daemon, tmp_path):
    assert "no such queue" in await refused(door, "slot", "archive")
    (tmp_path / "fancymail.toml").write_text("[queue.queues.incoming]\n[queue.queues.outgoing]\n[queue.queues.archive]\nlease = 5\n")
    await door.call("reload")
    path = await pushed(door, "archive")
    assert await text(door, "pop", "archive") == [path]


async def test_stats_count(door):
    await pushed(door)
    stats = msgspec.json.decode((await text(door, "stats"))[0])
    assert stats["pushed"] == 1 and stats['messages{queue="incoming",state="ready"}'] == 1 and stats["batches"] >= 1


async def test_audit_and_mend(door, tmp_path):
    path, other = await pushed(door), await pushed(door)
    await door.call("done", "incoming", path)
    books = msgspec.json.decode((await text(door, "audit"))[0])["incoming"]
    assert (books["accepted"], books["delivered"], books["ready"], books["difference"], books["missing"]) == (2, 1, 1, 0, 0)
    os.unlink(other)
    assert msgspec.json.decode((await text(door, "audit"))[0])["incoming"]["missing_ids"] == [os.path.basename(other)]
    assert msgspec.json.decode((await text(door, "mend"))[0]) == {"miscounted": 0, "lost": 1, "adopted": 0, "tally": []}


def lose(folder):
    for path in folder.glob("index.db*"):
        path.unlink()


def damage(folder):
    (folder / "index.db").write_bytes(b"no database at all" * 1000)


@pytest.mark.parametrize("harm", [lose, damage])
async def test_a_lost_index_is_made_from_the_slots(tmp_path, harm):
    async with running(QueueServer, tmp_path):
        with operator(tmp_path, "queue") as door:
            paths = {await pushed(door) for _ in range(3)}
    harm(tmp_path / "queues")
    async with running(QueueServer, tmp_path):
        with operator(tmp_path, "queue") as door:
            assert set(await text(door, "pop", "incoming", 9)) == paths
    assert "index made anew from the slots messages=3" in (tmp_path / "log" / "fancymail.log").read_text()


async def test_mend_puts_a_damaged_index_aside(tmp_path):
    async with running(QueueServer, tmp_path) as daemon:
        with operator(tmp_path, "queue") as door:
            path = await pushed(door)
            daemon.index.copy_back()
            index = tmp_path / "queues" / "index.db"
            with open(index, "r+b") as file:
                file.seek(4096)
                file.write(bytes(range(256)) * 16 * (index.stat().st_size // 4096 - 1))
            assert msgspec.json.decode((await text(door, "mend"))[0])["damaged"]
        await asyncio.wait_for(daemon.ended.wait(), 10)
    async with running(QueueServer, tmp_path):
        with operator(tmp_path, "queue") as door:
            assert await text(door, "pop", "incoming", 9) == [path]
