"""Reports on their way to the queue: together, refused one by one, told until the queue answers."""

from __future__ import annotations

import asyncio

import pytest

from fancymail.ipc.message import IpcError
from fancymail.mail.results import PART, RecipientResult
from fancymail.servers.smtpout.reports import Reports
from tests.servers.smtpin.kit import Other, Silent, until


def delivered(number: int = 0, text: str = "") -> list[RecipientResult]:
    return [RecipientResult(number, "delivered", "2.0.0", text)]


@pytest.fixture
def queue():
    return Other()


@pytest.fixture
async def reports(queue):
    return Reports(queue.ask, "outgoing", Silent())


async def test_what_comes_in_a_turn_and_during_an_answer_goes_together(queue, reports):
    first = [asyncio.ensure_future(reports.tell(f"/{number}", delivered())) for number in range(3)]
    await until(lambda: queue.asked)
    later = [asyncio.ensure_future(reports.tell(f"/{number}", delivered())) for number in range(3, 5)]
    await asyncio.sleep(0)
    (_, verb, name, *words), = queue.asked
    assert (verb, name, words[::2]) == ("settle", "outgoing", ["/0", "/1", "/2"]) and words[1].startswith('[{"recipient":0,')
    queue.answer(b"1", b"1", b"0")
    await asyncio.gather(*first)
    await until(lambda: len(queue.asked) == 2)
    assert not any(one.done() for one in later) and list(queue.asked[1][3::2]) == ["/3", "/4"]
    queue.answer(b"1", b"1")
    await asyncio.gather(*later)


async def test_a_refusal_reaches_the_message_that_it_is_about(queue, reports):
    good, bad = (asyncio.ensure_future(reports.tell(path, delivered())) for path in ("/good", "/bad"))
    await until(lambda: queue.asked)
    queue.answer(b"1", b"5.5.0 no message bad")
    await good
    with pytest.raises(IpcError) as caught:
        await bad
    assert (caught.value.status, caught.value.text) == ("5.5.0", "no message bad")


async def test_a_queue_that_is_away_is_told_until_it_answers(queue, reports):
    telling = asyncio.ensure_future(reports.tell("/0", delivered()))
    for times in (1, 2):
        await until(lambda: len(queue.asked) == times)
        queue.fail("4.4.1")
    await until(lambda: len(queue.asked) == 3)
    queue.fail("4.3.0")
    with pytest.raises(IpcError):
        await telling


async def test_what_a_host_has_taken_is_told_until_the_disk_takes_it(queue, reports, monkeypatch):
    monkeypatch.setattr("fancymail.servers.smtpout.reports.AGAIN", 0.0)
    telling = asyncio.ensure_future(reports.tell("/0", delivered(), again=True))
    for times, status in enumerate(("4.3.0", "4.4.1", "4.3.0"), 1):
        await until(lambda: len(queue.asked) == times)
        queue.fail(status)
    await until(lambda: len(queue.asked) == 4)
    assert not telling.done()
    queue.answer(b"5.5.0 no message 0")
    with pytest.raises(IpcError):
        await telling


async def test_results_of_thousands_are_one_request_of_their_own(queue, reports):
    many = [one for number in range(100) for one in delivered(number, "x" * 900)]
    telling = asyncio.ensure_future(reports.tell("/many", many))
    await until(lambda: queue.asked)
    _, verb, _, path, *parts = queue.asked[0]
    assert (verb, path) == ("result", "/many") and len(parts) > 1 and all(len(part) <= PART for part in parts)
    queue.answer(b"1")
    await telling


async def test_the_ends_of_a_while_are_told_together(queue, reports, monkeypatch):
    monkeypatch.setattr("fancymail.servers.smtpout.reports.PACE", 0.0)
    for number in range(3):
        reports.finish(f"/{number}")
    await until(lambda: queue.asked)
    assert queue.asked == [("queue", "finish", "outgoing", b'["/0","/1","/2"]')] and "/0" in reports
    quiet = asyncio.ensure_future(reports.quiet())
    queue.answer()
    await quiet
    assert "/0" not in reports
    await reports.quiet()


async def test_an_end_behind_another_waits_for_company(queue, reports, monkeypatch):
    monkeypatch.setattr("fancymail.servers.smtpout.reports.PACE", 3600.0)
    reports._told_at = -3600.0
    reports.finish("/0")
    await until(lambda: queue.asked)
    reports.finish("/1")
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(queue.asked) == 1 and "/1" in reports
    reports._due.cancel()


async def test_an_end_is_told_until_the_disk_takes_it(queue, reports, monkeypatch):
    monkeypatch.setattr("fancymail.servers.smtpout.reports.AGAIN", 0.0)
    reports.finish("/0")
    for times, status in enumerate(("4.4.1", "4.3.0", "4.4.1"), 1):
        await until(lambda: len(queue.asked) == times)
        queue.fail(status)
    await until(lambda: len(queue.asked) == 4)
    assert "/0" in reports
    queue.answer()
    await reports.quiet()


async def test_an_end_that_is_refused_is_told_no_more(queue, reports):
    reports.finish("/0")
    await until(lambda: queue.asked)
    queue.fail("5.5.4")
    await reports.quiet()
    assert len(queue.asked) == 1 and "/0" not in reports
