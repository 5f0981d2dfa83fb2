"""The operator's side of the queue: conditions, and that a walk through many messages lets others have their turn."""

from __future__ import annotations

import asyncio
import os

import pytest

from fancymail.base.settings.queue import Queue, QueueOptions
from fancymail.core.intake import Refusal
from fancymail.core.queue_desk import QueueDesk
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.ports.queue import State
from fancymail.storage.slots import write_slot

from .test_queue import House, failing, refusal


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path / "queues")
    house.desk = QueueDesk(house.queue)
    yield house
    house.close()


async def push(house, sender, recipient, size=10):
    path, = house.queue.slot("incoming")
    write_slot(path, Envelope("a" * 26, sender, [Recipient(recipient), Recipient("also@example.test")]), b"x" * size)
    await house.queue.push("incoming", path)
    return os.path.basename(path)


async def chosen(house, *words):
    return {entry.id async for entry in house.desk.chosen("incoming", *words)}


async def test_conditions(house):
    one = await push(house, "Alice@Example.test", "bob@Remote.example", 5)
    house.clock.now += 100
    two = await push(house, "", "eve@example.test", 5000)
    assert await chosen(house) == await chosen(house, "all") == {one, two}
    assert await chosen(house, "sender=*@example.test") == {one} and await chosen(house, "sender=") == {two}
    assert await chosen(house, "recipient=BOB@*") == {one} and await chosen(house, "recipient=also@*") == {one, two}
    assert await chosen(house, "older=99") == {one} and await chosen(house, "younger=99") == {two}
    assert await chosen(house, "larger=5") == {two} and await chosen(house, "larger=4", "older=99") == {one}
    house.queue.take("incoming", 1, "mailbox")
    assert await chosen(house, "state=leased") == {one} and await chosen(house, "state=ready") == {two}
    assert await chosen(house, one) == {one} and await chosen(house, one, house.spool.path("dead", two)) == {one, two}
    for bad in (("nothing",), ("older=",), ("older=٣",), ("state=",), ("=x",), (one, "all"), ("/etc/passwd",)):
        with pytest.raises(Refusal):
            await chosen(house, *bad)


async def test_hold_takes_the_lease_away_but_late_done_counts(house):
    id = await push(house, "a@example.test", "b@example.test")
    path = house.take()[0]
    assert await house.desk.hold("incoming", id) == 1 and len(house.queue.leases) == 0
    house.queue.defer("incoming", path, 10)
    assert house.state(path) is State.HELD
    house.queue.done("incoming", path)
    assert house.state(path) is None


async def test_release_and_retry_wake_consumers(house):
    id = await push(house, "a@example.test", "b@example.test")
    await house.desk.hold("incoming", "all")
    house.alerts.clear()
    assert await house.desk.retry("incoming", "all") == 0 and house.alerts == []
    assert await house.desk.release("incoming", "all") == 1 and house.alerts == ["incoming"]
    house.queue.defer("incoming", house.take()[0], 900)
    assert await house.desk.retry("incoming", id) == 1 and len(house.take()) == 1


async def test_a_dead_message_starts_afresh(house):
    id = await push(house, "a@example.test", "b@example.test")
    for _ in range(3):
        path = house.take()[0]
        house.later(101)
    await house.queue.intake.durable()
    assert house.state(path) is State.DEAD
    assert house.desk.show("incoming", id)["path"] == house.spool.path("dead", id)
    assert await house.desk.retry("incoming", "state=dead") == 1
    assert house.take() == [path] and house.index.find(id).deaths == 0


async def test_a_crash_between_bringing_back_and_writing_it_down_keeps_nobody(house):
    id = await push(house, "a@example.test", "b@example.test")
    path = house.take()[0]
    await house.queue.reject("incoming", path, "has no envelope")
    os.rename(house.spool.path("dead", id), path)
    assert await house.desk.retry("incoming", id) == 1 and house.take() == [path]


@pytest.mark.parametrize("verb", ["hold", "drop"])
async def test_what_the_operator_is_told_is_on_the_disk(house, monkeypatch, verb):
    id = await push(house, "a@example.test", "b@example.test")
    monkeypatch.setattr(house.spool, "sync", failing)
    with refusal("4.3.0"):
        await getattr(house.desk, verb)("incoming", id)
    assert os.path.exists(house.spool.path("incoming", id)) == (verb == "hold")      # gone it may be, and may come back: nothing else is promised


async def test_a_corrupt_message_is_not_brought_back(house):
    id = await push(house, "a@example.test", "b@example.test")
    path = house.take()[0]
    with open(path, "r+b") as file:
        file.seek(65)
        file.write(b"?")
    await house.queue.reject("incoming", path, "bad")
    assert await house.desk.retry("incoming", id) == 0 and house.state(path) is State.CORRUPT
    assert await house.desk.drop("incoming", id) == 1
    assert os.listdir(house.spool.path("corrupt", "")) == []


async def test_a_walk_through_many_lets_others_have_their_turn(house):
    for _ in range(700):
        await push(house, "a@example.test", "b@example.test")
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)
    task = asyncio.ensure_future(others())
    assert await house.desk.hold("incoming", "all") == 700
    assert await house.desk.release("incoming", "all") == 700
    assert await house.desk.drop("incoming", "all") == 700
    task.cancel()
    assert turns > 9 and house.index.totals() == {}


async def test_what_changes_during_a_walk_is_looked_at_again(house):
    ids = [await push(house, "a@example.test", "b@example.test") for _ in range(3)]
    entries = [entry async for entry in house.desk.chosen("incoming", "all")]
    house.queue.done("incoming", ids[0])
    house.take()
    assert await house.desk._change_some(entries, State.HELD, "x") == 1
    assert house.index.find(ids[1]).state is State.LEASED


async def test_a_queue_that_is_configured_no_more_can_be_emptied(house):
    id = await push(house, "a@example.test", "b@example.test")
    house.queue.options = house.queue.intake.options = Queue(queues={"outgoing": QueueOptions()})
    with pytest.raises(Refusal):
        house.queue.take("incoming", 1, "mailbox")
    assert house.desk.show("incoming", id)["state"] == "ready"
    assert house.desk.queues()[1][:2] == ("incoming", 1) and await house.desk.drop("incoming", "all") == 1


async def test_show_tells_who_holds_it(house):
    id = await push(house, "a@example.test", "b@example.test")
    assert house.desk.show("incoming", id)["lease"] is None
    house.take()
    shown = house.desk.show("incoming", house.spool.path("incoming", id))
    assert shown["lease"] == {"holder": "mailbox", "seconds": 100.0} and shown["envelope"]["sender"] == "a@example.test"
    with pytest.raises(Refusal):
        house.desk.show("outgoing", id)
