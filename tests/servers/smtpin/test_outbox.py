"""Finished slots: durable together, answered, then entered; what happens when the disk or the queue refuses."""

from __future__ import annotations

import json
import os
import threading

import pytest

import fancymail.servers.smtpin.outbox as outbox_module
from fancymail.ipc.packing import pack
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.smtpin.outbox import Finished, Outbox
from fancymail.storage.ports.spool import Told
from fancymail.storage.slots import write_slot
from tests.servers.smtpin.kit import Other, Silent, until


class House:
    """An outbox over a folder, a queue that answers when told, and a disk that can be held or broken."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.queue, self.log, self.heard = folder, Other(), Silent(), []
        self.gate, self.error, self.synced = threading.Semaphore(1000), None, []
        self.outbox = Outbox(self.queue.ask, os.open(folder, os.O_RDONLY), self.log)
        self.outbox.pace = 0.0
        monkeypatch.setattr(self.outbox._syncer, "everything", lambda: self.sync("all"))
        monkeypatch.setattr("fancymail.storage.sync._sync_file", lambda path, directory: self.sync(path))

    def sync(self, what):
        self.gate.acquire()
        self.synced.append(what)
        if self.error:
            raise self.error

    def finish(self, number, queue="incoming"):
        path = str(self.folder / f"{number:026d}")
        info = write_slot(path, Envelope("a" * 26, "", [Recipient("bob@example.test")]), b"content")
        told = Told(info.content_length, info.sha256, "a" * 26, "", ["bob@example.test"], 1)
        self.outbox.add(Finished(queue, path, told, lambda error: self.heard.append((number, error))))
        return path


def entered(words: bytes) -> list[str]:
    """The file names in a parameter of `enter`."""
    return [path for path, _ in json.loads(words)]


@pytest.fixture
async def house(tmp_path, monkeypatch):
    house = House(tmp_path, monkeypatch)
    yield house
    house.queue.answer_all()
    await house.outbox.stop(0.0)


async def test_two_are_synced_by_themselves_and_more_together(house):
    paths = [house.finish(number) for number in range(2)]
    await until(lambda: len(house.heard) == 2)
    assert house.synced == paths
    for number in range(2, 5):
        house.finish(number)
    await until(lambda: len(house.heard) == 5)
    assert house.synced[2:] == ["all"] and all(error is None for _, error in house.heard)


async def test_nobody_hears_of_it_before_it_is_durable(house):
    for _ in range(1000):
        house.gate.acquire()
    house.finish(1)
    await until(lambda: house.outbox._commit.batches == 1)
    assert not house.heard and not house.queue.asked
    house.gate.release()
    await until(lambda: house.queue.asked)
    assert house.heard == [(1, None)]
    house.gate.release(999)


async def test_the_queue_hears_of_all_together_that_came_while_it_took_the_last_ones(house):
    paths = [house.finish(number) for number in range(3)] + [house.finish(9, "outgoing")]
    await until(lambda: len(house.queue.asked) == 2)
    (_, verb, queue, words), other = house.queue.asked
    assert (verb, queue, entered(words)) == ("enter", "incoming", paths[:3]) and (other[2], entered(other[3])) == ("outgoing", paths[3:])
    assert json.loads(words)[0][1][0] == 7 and house.outbox.waiting == 4
    later = [house.finish(number) for number in (20, 21)]
    await until(lambda: len(house.heard) == 6)
    assert len(house.queue.asked) == 2
    house.queue.answer()
    await until(lambda: len(house.queue.asked) == 3)
    assert entered(house.queue.asked[2][3]) == later
    house.queue.answer_all()
    await until(lambda: house.outbox.waiting == 0)


async def test_a_queue_that_is_quick_is_told_of_many_together_all_the_same(house):
    house.outbox.pace = 3600.0
    house.finish(1)
    await until(lambda: len(house.queue.asked) == 1)
    house.queue.answer()
    later = [house.finish(number) for number in (2, 3, 4)]
    await until(lambda: len(house.heard) == 4)                  # answered as ever: what is durable waits for no queue
    await until(lambda: house.outbox.waiting == 3 and house.outbox._timers)
    assert len(house.queue.asked) == 1
    stopping = house.outbox._loop.create_task(house.outbox.stop(10.0))
    await until(lambda: len(house.queue.asked) == 2)
    assert entered(house.queue.asked[1][3]) == later
    house.queue.answer()
    await stopping
    house.outbox.stop = _nothing


async def test_a_parameter_is_never_longer_than_may_be(house, monkeypatch):
    monkeypatch.setattr(outbox_module, "pack", lambda items: pack(items, 250))
    paths = [house.finish(number) for number in range(5)]
    await until(lambda: house.queue.asked)
    house.queue.answer_all()
    await until(lambda: house.outbox.waiting == 0)
    frames = [frame for asked in house.queue.asked for frame in asked[3:]]
    assert [path for frame in frames for path in entered(frame)] == paths and len(frames) == 5


async def test_what_the_queue_could_not_take_is_told_again(house, monkeypatch):
    monkeypatch.setattr(outbox_module, "AGAIN", 0.0)
    path = house.finish(1)
    await until(lambda: house.queue.asked)
    house.queue.fail("4.4.1")
    await until(lambda: len(house.queue.asked) == 2)
    assert entered(house.queue.asked[1][3]) == [path] and house.log.lines[0][0] == "not entered"
    assert house.heard == [(1, None)]                           # it is durable, and that is what was promised


async def test_a_failed_sync_burns_its_slots_and_no_others(house):
    house.error = OSError(5, "EIO")
    path = house.finish(1)
    await until(lambda: house.heard)
    assert house.heard[0][1].status == "4.3.0" and not os.path.exists(path) and not house.queue.asked
    house.error = None
    house.finish(2)
    await until(lambda: len(house.heard) == 2)
    assert house.heard[1] == (2, None) and house.log.lines[0][0] == "sync failed"


async def test_a_stop_waits_for_the_disk_and_for_the_queue(house):
    house.finish(1)
    stopping = house.outbox._loop.create_task(house.outbox.stop(10.0))
    await until(lambda: house.queue.asked)
    assert not stopping.done()
    house.queue.answer()
    await stopping
    assert house.heard == [(1, None)] and house.outbox.waiting == 0
    house.outbox.stop = _nothing


async def _nothing(seconds):
    """It is stopped already."""
