"""Rows whose file a crash took before they went themselves: they have ended, and the books say so."""

from __future__ import annotations

import os

import pytest

from fancymail.core.queue_audit import QueueAudit
from fancymail.core.remains import settle_remains
from fancymail.storage.ports.queue import State

from .test_queue import House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path / "queues")
    yield house
    house.close()


async def test_what_has_no_file_has_ended_in_whatever_state_it_waits(house):
    paths = [await house.pushed() for _ in range(6)]
    ids = [os.path.basename(path) for path in paths]
    house.take(1)
    for id, state in zip(ids[1:], (State.DEFERRED, State.HELD, State.READY)):
        house.queue.change(house.index.find(id), state)
    for path in paths[:5]:
        os.unlink(path)
    assert await settle_remains(house.queue, ["incoming", "outgoing"]) == 5
    books = (await QueueAudit(house.queue).books())["incoming"]
    assert (books.accepted, books.ended["removed"], books.ended["lost"], books.difference, books.missing) == (6, 5, 0, 0, [])
    assert house.take(9) == paths[5:]


async def test_what_was_being_put_aside_is_found_there(house):
    path = await house.pushed()
    id = os.path.basename(path)
    house.take(1)
    house.spool.move(id, "incoming", "dead")
    assert await settle_remains(house.queue, ["incoming"]) == 1
    assert house.index.find(id).state is State.DEAD


async def test_nothing_happens_to_what_is_whole(house):
    paths = [await house.pushed() for _ in range(250)]
    assert await settle_remains(house.queue, ["incoming"]) == 0
    assert len(house.take(300)) == len(paths)
