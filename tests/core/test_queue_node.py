"""The queue of one node: what the database did without being able to say so does not wait for a restart."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest

from fancymail.core.queue_desk import QueueDesk
from fancymail.core.queue_node import NodeQueue
from fancymail.storage.memory.queue import MemoryQueueIndex
from fancymail.storage.ports.queue import Entry, State
from fancymail.storage.spool import DiskSpool

from .test_queue import OPTIONS, House


EMPTY = sha256().digest()


class NodeSpool(DiskSpool):
    """A bucket that has all that is asked for, unless it was emptied: empty messages."""

    emptied = False

    def bring(self, queue, id, envelope, sha256) -> None:
        if self.emptied:
            raise KeyError(id)
        with open(self.path(queue, id), "wb"):
            """There it is."""

    def find(self, queue, id) -> str:
        return super().find(queue, id) or queue


class NodeIndex(MemoryQueueIndex):
    """What a database has besides."""

    def envelope(self, id: str) -> bytes:
        return b""


class NodeHouse(House):
    def restart(self) -> None:
        self.index, self.spool = NodeIndex(), NodeSpool(self.folder, OPTIONS.queues)
        self.queue = NodeQueue(self.index, self.spool, OPTIONS, self.thread, self.readers, alert=self.alerts.append,
                               monotonic=self.clock.monotonic, wall=self.clock.wall)
        self.queue.open()


@pytest.fixture
def house(tmp_path):
    house = NodeHouse(tmp_path / "queues")
    yield house
    house.close()


def left_over(house, number: int, **fields) -> str:
    """A message that came into our hands while the connection was lost: its row is ours, and nobody told us."""
    entry = Entry(id="a" * 25 + "abc"[number], queue="incoming", pushed=house.clock.wall(), size=7, sha256=EMPTY, bare=True, sender="",
                  recipients="", count=1, **fields)
    house.index.add([entry])
    return entry.id


def test_what_came_without_an_answer_is_found(house):
    ready, due = left_over(house, 0), left_over(house, 1, state=State.DEFERRED, due=house.clock.wall() - 1)
    assert house.take(9) == []
    house.queue.mend()
    assert house.alerts == ["incoming"]
    assert sorted(map(os.path.basename, house.take(9))) == [ready, due]
    assert house.queue.total("incoming", State.LEASED) == (2, 14)


@pytest.mark.parametrize("ends", [False, True])
def test_pushes_under_way_are_not_counted_twice(house, monkeypatch, ends):
    left_over(house, 0)
    totals, pushing = house.index.totals, house.queue.intake._pushing
    pushing["b" * 26] = None
    monkeypatch.setattr(house.index, "totals", lambda: (totals(), ends and pushing.clear())[0])
    house.queue.mend()
    assert house.queue.total("incoming", State.READY).messages == 0
    pushing.clear()
    house.queue.mend()
    assert house.queue.total("incoming", State.READY).messages == 1


async def test_a_content_that_came_back_into_the_bucket_can_be_tried_again(house):
    house.spool.emptied, id = True, left_over(house, 0)
    house.queue.mend()
    assert house.take(9) == [] and house.index.find(id).state is State.CORRUPT
    desk = QueueDesk(house.queue)
    assert await desk.retry("incoming", id) == 0
    house.spool.emptied = False
    assert await desk.retry("incoming", id) == 1
    assert [os.path.basename(path) for path in house.take(9)] == [id]
