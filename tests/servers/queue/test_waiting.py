"""Who waits for messages: is given them as they come, one of each role, for a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from fancymail.servers.queue.waiting import Waiting


@pytest.fixture
def there():
    return {"incoming": [], "outgoing": []}


@pytest.fixture
def waiting(there):
    def take(queue: str, count: int, role: str) -> list:
        given, there[queue] = there[queue][:count], there[queue][count:]
        return given
    return Waiting(take)


async def asked(waiting, *words) -> asyncio.Task:
    """A question that is under way."""
    task = asyncio.create_task(waiting.take(*words))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_what_is_there_is_given_at_once(waiting, there):
    there["incoming"] = [1, 2, 3]
    assert await waiting.take("incoming", 2, "mailbox", 60) == [1, 2]
    assert await waiting.take("incoming", 2, "mailbox", 60) == [3]


async def test_what_comes_is_given_to_who_waits_for_that_queue(waiting, there):
    task, other = await asked(waiting, "incoming", 2, "mailbox", 60), await asked(waiting, "outgoing", 2, "smtpout", 0.01)
    there["incoming"] = [1]
    waiting.wake("incoming")
    assert (await task, await other) == ([1], [])
    waiting.wake("incoming")            # nobody is there


async def test_a_call_for_nothing_ends_no_wait(waiting, there):
    task = await asked(waiting, "incoming", 2, "mailbox", 60)
    waiting.wake("incoming")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    there["incoming"] = [1, 2, 3]
    waiting.wake("incoming")
    waiting.wake("incoming")
    assert await task == [1, 2] and there["incoming"] == [3]


async def test_who_asks_again_or_leaves_waits_no_more(waiting, there):
    first = await asked(waiting, "incoming", 1, "mailbox", 60)
    second, another = await asked(waiting, "incoming", 1, "mailbox", 60), await asked(waiting, "incoming", 1, "archive", 60)
    assert await first == []
    waiting.leave("incoming", "mailbox")
    waiting.leave("incoming", "mailbox")
    assert await second == [] and not another.done()
    there["incoming"] = [1]
    waiting.wake("incoming")
    assert await another == [1]


async def test_who_gives_up_waiting_is_forgotten(waiting, there):
    task = await asked(waiting, "incoming", 1, "mailbox", 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    there["incoming"] = [1]
    waiting.wake("incoming")
    assert there["incoming"] == [1]
