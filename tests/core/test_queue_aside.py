"""Messages that nobody can handle: those that kill their consumers, and those that a consumer rejects, go to dead/ or corrupt/."""

from __future__ import annotations

import os

import pytest

from fancymail.storage.ports.queue import State
from fancymail.storage.ports.spool import Told
from tests.core.test_queue import House, failing, refusal


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path / "queues")
    yield house
    house.close()


async def test_three_deaths_put_a_message_aside(house):
    path, neighbour = await house.pushed(), await house.pushed()
    for _ in range(3):
        assert path in house.take(2)
        house.queue.done("incoming", neighbour)
        house.later(101)
    await house.queue.intake.durable()
    dead = path.replace("/incoming/", "/dead/")
    assert house.take() == [] and house.state(path) is State.DEAD and os.path.exists(dead) and "dead" in house.alerts
    assert house.queue.path(house.index.find(os.path.basename(path))) == dead


async def test_a_message_that_kills_its_consumer_alone_is_put_aside(house):
    path = await house.pushed()
    for _ in range(3):
        assert house.take(1) == [path]
        assert house.queue.resume("incoming", "mailbox") == 1
    await house.queue.intake.durable()
    assert house.take() == [] and house.state(path) is State.DEAD


async def test_the_row_of_a_message_that_kills_is_on_the_disk_before_its_file_moves(house, monkeypatch):
    path = house.written()
    written = house.spool.whole("incoming", os.path.basename(path))
    house.queue.enter("incoming", [(path, Told(written.size, written.sha256, "a" * 26, "alice@example.test", ["r0@example.test"], 1))])
    monkeypatch.setattr(house.spool, "sync", failing)
    for _ in range(3):
        house.take()
        house.queue.resume("incoming", "mailbox")
    with refusal("4.3.0"):
        await house.queue.intake.durable()
    assert house.state(path) is State.LEASED and os.path.exists(path)
    monkeypatch.undo()
    house.later(11)                             # it is tried again
    await house.queue.intake.durable()
    assert house.state(path) is State.DEAD and os.path.exists(path.replace("incoming", "dead")) and len(house.queue.leases) == 0


async def test_changed_content_goes_to_corrupt(house):
    path = await house.pushed()
    house.take()
    with open(path, "r+b") as file:
        file.seek(70)
        file.write(b"X")
    await house.queue.reject("incoming", path, "hash differs")
    assert house.state(path) is State.CORRUPT and os.path.exists(path.replace("incoming", "corrupt")) and "corrupt" in house.alerts
    await house.queue.reject("incoming", path, "again")


async def test_a_whole_message_that_is_rejected_goes_to_dead(house):
    path = await house.pushed()
    house.take()
    await house.queue.reject("incoming", path, "has no envelope")
    assert house.state(path) is State.DEAD and "has no envelope" in house.index.find(os.path.basename(path)).reason
    house.queue.done("incoming", path)
    assert not os.path.exists(path.replace("incoming", "dead"))


async def test_the_row_of_a_rejected_message_is_on_the_disk_before_its_file_moves(house, monkeypatch):
    path = house.written()
    written = house.spool.whole("incoming", os.path.basename(path))
    house.queue.enter("incoming", [(path, Told(written.size, written.sha256, "a" * 26, "alice@example.test", ["r0@example.test"], 1))])
    house.take()
    steps = []
    for name in ("sync", "move"):
        monkeypatch.setattr(house.spool, name, lambda *given, name=name, step=getattr(house.spool, name): (steps.append(name), step(*given))[1])
    await house.queue.reject("incoming", path, "has no envelope")
    assert steps == ["sync", "move", "sync"] and house.state(path) is State.DEAD


async def test_a_crash_between_moving_and_writing_it_down_loses_nothing(house):
    path = await house.pushed()
    os.rename(path, path.replace("incoming", "dead"))
    assert house.take() == [] and house.state(path) is State.DEAD
