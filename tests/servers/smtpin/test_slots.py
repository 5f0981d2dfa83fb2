"""Slots ahead of need, and pushes together: what is asked, when, and who hears what."""

from __future__ import annotations

import asyncio

import pytest

from fancymail.ipc.message import IpcError
from fancymail.servers.smtpin.directory import Directory
from fancymail.servers.smtpin.slots import BATCH, Outbox, SlotPool
from fancymail.storage.slots import SlotWriter
from tests.servers.smtpin.kit import until


class Other:
    """Another daemon: keeps questions until the test answers them."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.futures: list[asyncio.Future] = []
        self.overloaded = False

    def ask(self, name: str, *question, timeout: float) -> asyncio.Future:
        if self.overloaded:
            raise IpcError("4.4.5", "too many requests wait")
        self.asked.append((name, *question))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    def answer(self, *params: bytes) -> None:
        self.futures.pop(0).set_result(list(params))

    def fail(self, status: str) -> None:
        self.futures.pop(0).set_exception(IpcError(status, "no"))


@pytest.fixture
def other():
    return Other()


def paths(folder, start: int, count: int) -> list[bytes]:
    return [str(folder / f"{number:026d}").encode() for number in range(start, start + count)]


async def test_the_pool_is_filled_again_when_half_is_used(tmp_path, other):
    pool = SlotPool(other.ask, "incoming", 4)
    pool.fill()
    pool.fill()
    assert other.asked == [("queue", "slot", "incoming", 4)]
    other.answer(*paths(tmp_path, 0, 4))
    await until(lambda: len(pool) == 4)
    assert isinstance(pool.take(), SlotWriter) and len(other.asked) == 1
    pool.take()
    assert len(other.asked) == 2


async def test_slots_that_were_given_before_they_were_forgotten_are_not_used(tmp_path, other):
    pool = SlotPool(other.ask, "incoming", 2)
    waiting = pool.take()
    pool.forget()
    other.answer(*paths(tmp_path, 0, 2))
    await until(lambda: len(other.asked) == 2)
    assert not waiting.done() and not len(pool)
    other.answer(*paths(tmp_path, 2, 2))
    await until(lambda: len(pool) == 1)
    assert waiting.result().path.encode() == paths(tmp_path, 2, 1)[0]


async def test_who_waits_is_served_in_order_and_the_error_reaches_all(tmp_path, other):
    pool = SlotPool(other.ask, "incoming", 2)
    waiting = [pool.take() for _ in range(3)]
    other.answer(*paths(tmp_path, 0, 2))
    first, second = await waiting[0], await waiting[1]
    assert first.path < second.path and not waiting[2].done()
    await until(lambda: len(other.asked) == 2)       # asked anew for the third
    other.fail("4.3.1")
    with pytest.raises(IpcError):
        await waiting[2]
    assert pool.full


async def test_a_waiting_session_that_gave_up_is_passed_over(tmp_path, other):
    pool = SlotPool(other.ask, "incoming", 1)
    gone, patient = pool.take(), pool.take()
    gone.cancel()
    other.answer(*paths(tmp_path, 0, 1))
    assert isinstance(await patient, SlotWriter)


async def test_a_slot_that_comes_back_is_used_before_new_ones(tmp_path, other):
    pool = SlotPool(other.ask, "incoming", 1)
    waiting = pool.take()
    other.answer(*paths(tmp_path, 0, 1))
    writer = await waiting
    writer.write(b"x" * 100_000)
    await until(lambda: not pool._filling)
    pool.give_back(writer)
    again = await pool.take()
    assert again.path == writer.path and len(other.asked) == 1
    assert (tmp_path / again.path).stat().st_size == 0


async def test_a_slot_that_cannot_be_opened(tmp_path, other):
    pool = SlotPool(other.ask, "incoming", 2)
    waiting = [pool.take(), pool.take()]
    other.answer(*paths(tmp_path, 0, 1), *paths(tmp_path / "missing", 0, 1))
    assert isinstance(await waiting[0], SlotWriter)
    with pytest.raises(FileNotFoundError):
        await waiting[1]


async def test_an_overloaded_client_is_an_error_like_any_other(tmp_path, other):
    other.overloaded = True
    pool, heard = SlotPool(other.ask, "incoming", 2), []
    with pytest.raises(IpcError):
        await pool.take()
    Outbox(other.ask, "incoming", pool.forget).add("/slot", heard.append)
    await until(lambda: heard)
    assert heard[0].status == "4.4.5"
    answer = await Directory(other.ask, (60, 5)).resolve("a@b.test")
    assert answer.status == "4.4.5"


async def test_a_turn_is_one_push_and_large_ones_are_cut(other):
    outbox, heard = Outbox(other.ask, "incoming", lambda: None), []
    for number in range(BATCH + 1):
        outbox.add(f"/{number}", heard.append)
    assert not other.asked
    await until(lambda: len(other.asked) == 2)
    assert [len(question) for question in other.asked] == [3 + BATCH, 4]
    other.answer()
    await until(lambda: heard)
    assert heard == [None] * BATCH
    other.fail("4.4.1")
    await until(lambda: len(heard) == BATCH + 1)
    assert heard[-1].status == "4.4.1" and len(other.asked) == 2      # silence is not asked again: the client did that


async def test_a_refused_batch_is_pushed_one_by_one(other):
    lost, heard = [], {}
    outbox = Outbox(other.ask, "incoming", lambda: lost.append(1))
    for path in ("/a", "/b"):
        outbox.add(path, lambda error, path=path: heard.__setitem__(path, error))
    await until(lambda: other.asked)
    other.fail("5.5.4")
    await until(lambda: len(other.asked) == 3)
    assert [question[3:] for question in other.asked] == [("/a", "/b"), ("/a",), ("/b",)]
    other.answer()
    other.fail("5.5.4")
    await until(lambda: len(heard) == 2)
    assert heard["/a"] is None and heard["/b"].status == "5.5.4" and lost == [1]


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
