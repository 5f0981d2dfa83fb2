"""Group commit: who arrives during a sync shares the next one; a failure reaches exactly its batch."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fancymail.core.commit import GroupCommit


class Disk:
    """A disk whose syncs wait until they are let go, and fail when told."""

    def __init__(self):
        self.written, self.synced, self.finished = [], [], []
        self.gate = threading.Semaphore(0)
        self.fail = None
        self.executor = ThreadPoolExecutor(1)
        self.commit = GroupCommit(self.sync, self.executor, write=self.written.append,
                                  finish=lambda items, error: self.finished.append((items, error)))

    def sync(self, items):
        self.gate.acquire()
        if self.fail:
            raise self.fail
        self.synced.append(items)

    async def under_way(self, count):
        while len(self.written) < count:
            await asyncio.sleep(0)


@pytest.fixture
def disk():
    disk = Disk()
    yield disk
    disk.executor.shutdown()


async def test_all_of_a_turn_and_all_during_a_sync(disk):
    first = [disk.commit.join(n) for n in range(3)]
    await disk.under_way(1)
    second = [disk.commit.join(n) for n in range(3, 5)] + [disk.commit.join()]
    assert disk.written == [[0, 1, 2]]
    disk.gate.release()
    await asyncio.gather(*first)
    assert not any(future.done() for future in second)
    disk.gate.release()
    await asyncio.gather(*second)
    assert disk.synced == [[0, 1, 2], [3, 4]] and disk.commit.largest == 3
    await disk.commit.idle()
    third = disk.commit.join()
    disk.gate.release()
    await third
    assert disk.written[-1] == [] and disk.commit.batches == 3


async def test_a_failure_reaches_its_batch_only(disk):
    disk.fail = OSError("no")
    bad = disk.commit.join(1)
    await disk.under_way(1)
    good = disk.commit.join(2)
    disk.gate.release()
    with pytest.raises(OSError):
        await bad
    disk.fail = None
    disk.gate.release()
    await good
    assert [error is None for _, error in disk.finished] == [False, True]


async def test_a_waiter_that_went_away_disturbs_nobody(disk):
    gone, stays = disk.commit.join(1), disk.commit.join(2)
    gone.cancel()
    disk.gate.release()
    await stays
    assert disk.synced == [[1, 2]]


async def test_a_write_that_fails_is_not_synced(disk):
    def refuse(items):
        raise OSError("full")
    disk.commit._write = refuse
    with pytest.raises(OSError):
        await disk.commit.join(1)
    assert disk.synced == []


async def test_items_that_nobody_waits_for_are_told_of_at_the_end(disk):
    disk.commit.add(1)
    disk.commit.add(2)
    disk.gate.release()
    await disk.commit.idle()
    assert disk.finished == [([1, 2], None)] and disk.commit.batches == 1


async def test_housekeeping_comes_between_two_batches_and_its_failure_stops_nothing(disk):
    order = []

    async def tidy():
        order.append(list(disk.synced))
        raise OSError("no")
    disk.commit._between = lambda: tidy() if len(disk.synced) == 1 else None
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: order.append(context["message"]))
    first = disk.commit.join(1)
    await disk.under_way(1)
    second = disk.commit.join(2)
    disk.gate.release()
    disk.gate.release()
    await asyncio.gather(first, second)
    assert order == [[[1]], "between two batches"] and disk.synced == [[1], [2]]


async def test_a_thread_that_has_ended_is_a_failure_like_any_other(disk):
    disk.executor.shutdown()
    with pytest.raises(RuntimeError):
        await disk.commit.join(1)
    await disk.commit.idle()


async def test_who_had_company_waits_for_more_and_who_is_alone_does_not():
    disk, waits = Disk(), []
    disk.commit._gather = 3600.0
    timers, disk.commit._later = [], lambda seconds, call: (waits.append(seconds), timers.append(call))
    disk.gate.release(100)
    await disk.commit.join(1)                                      # alone: at once
    await disk.commit.idle()
    await asyncio.gather(disk.commit.join(2), disk.commit.join(3))         # the one before was alone: at once
    await disk.commit.idle()
    both = [disk.commit.join(4), disk.commit.join(5)]
    await asyncio.sleep(0)
    both.append(disk.commit.join(6))
    assert waits == [3600.0] and not any(future.done() for future in both)
    timers.pop()()
    await asyncio.gather(*both)
    assert disk.synced[-1] == [4, 5, 6]
    disk.executor.shutdown()
