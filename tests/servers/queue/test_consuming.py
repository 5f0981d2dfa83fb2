"""`consume`, `leave` and `finish` over fm-queue's doors: what is handed out reaches somebody, or is ready again."""

from __future__ import annotations

import asyncio
import json
import os

import zmq

from fancymail.core.taken import read_many
from fancymail.ipc.client import Client
from fancymail.ipc.security import KeyRing
from fancymail.storage.ports.queue import State
from tests.servers.queue.test_queue import pushed, refused, text
from tests.servers_kit import operator


async def consumed(door, *words, timeout: float = 20.0) -> list[str]:
    return [path for path, _ in read_many(await door.call("consume", *words, timeout=timeout))]


async def waits(daemon) -> None:
    """Until somebody's consume has arrived."""
    async with asyncio.timeout(10):
        while not daemon.waiting._there:
            await asyncio.sleep(0.001)


def state(daemon, path: str) -> tuple[State, int]:
    entry = daemon.manager.index.find(os.path.basename(path))
    return entry.state, entry.attempts


async def test_many_are_told_in_one_parameter(door):
    paths = [await pushed(door) for _ in range(5)]
    frame, = await door.call("consume", "incoming", 4, 0)
    told = read_many([frame])
    assert [path for path, _ in told] == paths[:4]
    assert [(taken.attempts, taken.pending, taken.size) for _, taken in told] == [(1, [0, 1], 18)] * 4
    assert await consumed(door, "incoming", 4, 0) == paths[4:]
    assert await door.call("consume", "incoming", 4, 0) == []


async def test_the_next_message_is_given_to_who_waits(door, daemon, tmp_path):
    with operator(tmp_path, "queue") as other:
        waiting = asyncio.create_task(consumed(other, "incoming", 4, 60))
        await waits(daemon)
        path = await pushed(door)
        assert await waiting == [path] and state(daemon, path) == (State.LEASED, 1)


async def test_a_message_that_is_due_again_is_given_to_who_waits(door, daemon, tmp_path):
    path = await pushed(door)
    assert await consumed(door, "incoming", 1, 0) == [path]
    with operator(tmp_path, "queue") as other:
        waiting = asyncio.create_task(consumed(other, "incoming", 1, 60))
        await waits(daemon)
        await door.call("defer", "incoming", path, "0.05")
        assert await waiting == [path]


async def test_what_is_done_is_said_with_the_next_question(door, daemon):
    paths = [await pushed(door) for _ in range(2)]
    assert await consumed(door, "incoming", 9, 0) == paths
    assert await consumed(door, "incoming", 9, 0.01, json.dumps(paths[:1])) == []
    assert [os.path.exists(path) for path in paths] == [False, True]
    assert "JSON list" in await refused(door, "consume", "incoming", 9, 0, "x")


async def test_whoever_asks_again_waits_no_more(door, daemon, tmp_path):
    with operator(tmp_path, "queue") as other:
        first = asyncio.create_task(consumed(other, "incoming", 1, 60))
        await waits(daemon)
        assert await consumed(door, "incoming", 1, 0.01) == [] and await first == []


async def test_who_leaves_right_behind_a_question_waits_no_more(daemon, door):
    """Both arrive together: what is handed out after that would be for somebody who has stopped."""
    context, keys = zmq.Context(), KeyRing(daemon.paths.keys)
    client = Client(context, daemon.paths.endpoints("queue")[1], keys=keys, role="smtpout", server_key=keys.public("queue"))
    try:
        await client.call("ping")
        for _ in range(5):
            asked = client.call("consume", "outgoing", 4, 60, timeout=60)
            await client.call("leave", "outgoing")
            async with asyncio.timeout(10):
                assert await asked == []
        path = await pushed(door, "outgoing")
        assert state(daemon, path) == (State.READY, 0)
    finally:
        client.close()
        context.destroy(0)


async def test_what_is_handed_to_somebody_who_died_is_ready_again(door, daemon, tmp_path):
    context = zmq.Context()
    gone = context.socket(zmq.DEALER)
    gone.connect(daemon.paths.endpoints("queue")[0])
    gone.send_multipart([b"", b"t" * 16, b"consume", b"incoming", b"9", b"60"])
    await waits(daemon)
    gone.close(0)
    context.destroy(0)
    paths = [await pushed(door) for _ in range(3)]
    async with asyncio.timeout(10):
        while {state(daemon, path)[0] for path in paths} != {State.READY} or daemon.waiting._there:
            await asyncio.sleep(0.001)
    assert {state(daemon, path) for path in paths} == {(State.READY, 0)} and len(daemon.manager.leases) == 0
    assert await consumed(door, "incoming", 9, 0) == paths


async def test_the_same_question_said_again_hears_the_same_answer(door, daemon, tmp_path):
    path = await pushed(door)
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(daemon.paths.endpoints("queue")[0])
    answers = []
    for _ in range(2):
        socket.send_multipart([b"", b"t" * 16, b"consume", b"incoming", b"9", b"60"])
        async with asyncio.timeout(10):
            while not socket.poll(0):
                await asyncio.sleep(0.001)
        answers.append(socket.recv_multipart())
    assert answers[0] == answers[1] and [told for told, _ in read_many(answers[0][3:])] == [path]
    assert state(daemon, path) == (State.LEASED, 1)
    socket.close(0)
    context.destroy(0)


async def test_finish_is_durable_when_it_is_answered(door, daemon, monkeypatch):
    paths = [await pushed(door) for _ in range(3)]
    await consumed(door, "incoming", 3, 0)
    syncs, sync = [], daemon.spool.sync
    monkeypatch.setattr(daemon.spool, "sync", lambda slots: (syncs.append(daemon.manager.index.known(map(os.path.basename, paths))), sync(slots)))
    assert await text(door, "finish", "incoming", json.dumps(paths[:2]), json.dumps(paths[2:])) == []
    assert syncs and syncs[-1] == set() and not any(map(os.path.exists, paths))
    assert await text(door, "finish", "incoming", json.dumps(paths)) == []
    for bad in ("x", '[1]', '["/etc/passwd"]'):
        assert "5.5.4" in await refused(door, "finish", "incoming", bad)
