"""Slots ahead of need: what is asked, when, and who hears what; and what auth's answers are remembered for."""

from __future__ import annotations

import asyncio

import pytest

from fancymail.ipc.message import IpcError
from fancymail.servers.smtpin.directory import Directory
from fancymail.servers.smtpin.slots import SlotPool
from tests.servers.smtpin.kit import Other, until

AGE = 86400.0


@pytest.fixture
def other():
    return Other()


def paths(start: int, count: int) -> list[bytes]:
    return [b"/%026d" % number for number in range(start, start + count)]


async def test_the_pool_is_filled_again_when_half_is_used(other):
    pool = SlotPool(other.ask, "incoming", 4, AGE)
    pool.fill()
    pool.fill()
    assert other.asked == [("queue", "slot", "incoming", 4)]
    other.answer(*paths(0, 4))
    await until(lambda: len(pool) == 4)
    assert pool.take().encode() == paths(0, 1)[0] and len(other.asked) == 1
    pool.take()
    assert len(other.asked) == 2
    other.answer(*paths(4, 4))
    await until(lambda: len(pool) == 6)
    assert pool.take().encode() == paths(2, 1)[0]              # those of before first


async def test_slots_that_were_given_before_they_were_forgotten_are_not_used(other):
    pool = SlotPool(other.ask, "incoming", 2, AGE)
    waiting = pool.take()
    pool.forget()
    other.answer(*paths(0, 2))
    await until(lambda: len(other.asked) == 2)
    assert not waiting.done() and not len(pool)
    other.answer(*paths(2, 2))
    await until(lambda: len(pool) == 1)
    assert waiting.result().encode() == paths(2, 1)[0]


async def test_slots_that_the_queue_may_have_removed_are_not_used(other):
    now = 1000.0
    pool = SlotPool(other.ask, "incoming", 2, AGE, clock=lambda: now)
    pool.fill()
    other.answer(*paths(0, 2))
    await until(lambda: len(pool) == 2)
    now += AGE / 2
    assert pool.take().encode() == paths(0, 1)[0]
    now += 1
    waiting = pool.take()
    assert not len(pool) and not waiting.done()
    other.answer(*paths(2, 2))
    assert (await waiting).encode() == paths(2, 1)[0]


async def test_who_waits_is_served_in_order_and_the_error_reaches_all(other):
    pool = SlotPool(other.ask, "incoming", 2, AGE)
    waiting = [pool.take() for _ in range(3)]
    other.answer(*paths(0, 2))
    assert (await waiting[0], await waiting[1]) == tuple(path.decode() for path in paths(0, 2)) and not waiting[2].done()
    await until(lambda: len(other.asked) == 2)       # asked anew for the third
    other.fail("4.3.1")
    with pytest.raises(IpcError):
        await waiting[2]
    assert pool.full


async def test_a_waiting_session_that_gave_up_is_passed_over(other):
    pool = SlotPool(other.ask, "incoming", 1, AGE)
    gone, patient = pool.take(), pool.take()
    gone.cancel()
    other.answer(*paths(0, 1))
    assert isinstance(await patient, str)


async def test_a_slot_that_comes_back_is_used_first(other):
    pool = SlotPool(other.ask, "incoming", 2, AGE)
    pool.fill()
    other.answer(*paths(0, 2))
    await until(lambda: len(pool) == 2)
    path = pool.take()
    pool.give_back(path)
    assert pool.take() == path


async def test_an_overloaded_client_is_an_error_like_any_other(other):
    other.overloaded = True
    with pytest.raises(IpcError):
        await SlotPool(other.ask, "incoming", 2, AGE).take()
    answer = await Directory(other.ask, (60, 5)).resolve("a@b.test")
    assert answer.status == "4.4.5"


async def test_the_directory_asks_once_and_forgets(other):
    directory = Directory(other.ask, (60, 5))
    one, two = directory.resolve("a@b.test"), directory.resolve("a@b.test")
    assert one is two and len(other.asked) == 1
    directory.forget()                               # what is under way may be out of date
    other.answer(b"local:a@b.test")
    assert await one == [b"local:a@b.test"]
    again = directory.resolve("a@b.test")
    assert len(other.asked) == 2
    other.fail("5.1.1")
    assert (await again).status == "5.1.1" and directory.resolve("a@b.test").status == "5.1.1"
    assert directory.may_send("a", "a@b.test") is not again
    other.fail("4.4.1")
    await until(lambda: not directory._asked)
    assert isinstance(directory.may_send("a", "a@b.test"), asyncio.Future)      # trouble is not remembered
