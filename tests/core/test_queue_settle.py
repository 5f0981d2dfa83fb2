"""Reports of several messages in one request: each has its own answer, all share one sync."""

from __future__ import annotations

import pytest

from fancymail.core.intake import Refusal
from fancymail.mail.results import RecipientResult, dump
from tests.core.test_queue import House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path / "queues")
    yield house
    house.close()


async def test_each_has_its_own_answer_and_all_share_a_sync(house):
    whole, half, ended = [await house.pushed(recipients=count) for count in (1, 2, 1)]
    house.take(3)
    house.queue.done("incoming", ended)
    result = dump([RecipientResult(0, "delivered")])
    batches = house.queue.intake.commit.batches
    answers = await house.queue.settle("incoming", [(whole, result), (half, result), ("/etc/passwd", result), (half, "no JSON"), (ended, result)])
    assert answers[:2] == [True, False] and answers[4] is True
    assert all(isinstance(answer, Refusal) and answer.status == "5.5.4" for answer in answers[2:4])
    assert house.queue.intake.commit.batches == batches + 1
    assert house.index.find(half.rpartition("/")[2]).results == result
    assert house.index.find(whole.rpartition("/")[2]) is None


async def test_two_reports_of_one_message_in_one_request_complete_each_other(house):
    path = await house.pushed(recipients=2)
    house.take(1)
    reports = [(path, dump([RecipientResult(number, "delivered")])) for number in (0, 1)]
    assert await house.queue.settle("incoming", reports) == [False, True]
    assert house.index.find(path.rpartition("/")[2]) is None and house.index.tally()["incoming", "delivered"] == 1


async def test_the_books_tell_how_each_of_a_request_ended(house):
    paths = [await house.pushed(recipients=1) for _ in range(3)]
    house.take(3)
    states = [("delivered", "2.0.0"), ("failed", "5.1.1"), ("delivered", "2.0.0")]
    await house.queue.settle("incoming", [(path, dump([RecipientResult(0, *state)])) for path, state in zip(paths, states)])
    tally = house.index.tally()
    assert (tally["incoming", "delivered"], tally["incoming", "bounced"]) == (2, 1)
