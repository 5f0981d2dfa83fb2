"""Who gives up when, and who is told of what."""

from __future__ import annotations

import pytest

from fancymail.base.settings.smtpout import SmtpOut
from fancymail.core.delivery import TOLD, Attempt, Notice, days, give_up, mark_told, notices, unsent, wants, who_was_told
from fancymail.core.schedule import Schedule
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.results import RecipientResult

SCHEDULE = Schedule(SmtpOut())
DELIVERED = RecipientResult(0, "delivered", "2.0.0", "250 ok", "mx")
FAILED = RecipientResult(1, "failed", "5.1.1", "550 no", "mx")
DEFERRED = RecipientResult(2, "deferred", "4.4.1", "timed out", "mx")


def attempt(*results: RecipientResult, **facts) -> Attempt:
    made = Attempt(**facts)
    made.add(results)
    return made


def envelope(*notify: tuple[str, ...], sender: str = "a@s.test") -> Envelope:
    wishes = notify or ((), (), ())
    return Envelope("i" * 26, sender, [Recipient(f"r{number}@x.test", notify=wish) for number, wish in enumerate(wishes)])


def kinds(found: list[Notice]) -> dict[str, list[int]]:
    return {notice.kind: [result.recipient for result in notice.results] for notice in found}


def test_a_final_result_stays() -> None:
    made = attempt(DELIVERED, RecipientResult(0, "deferred", "4.0.0"), DEFERRED, RecipientResult(2, "delivered"))
    assert made.results[0] is DELIVERED and made.results[2].state == "delivered"


def test_too_old_is_given_up() -> None:
    made = attempt(DELIVERED, FAILED, DEFERRED)
    give_up(made, SCHEDULE, 9, 500000)
    assert made.results[2].state == "failed" and made.results[2].status == "5.4.7"
    assert made.results[2].text == "given up after 5 days; last: timed out"
    assert made.results[0] is DELIVERED and made.results[1] is FAILED


@pytest.mark.parametrize("attempts, age", [(4, 500000), (100, 1000)])
def test_not_yet_given_up(attempts: int, age: float) -> None:
    made = attempt(DEFERRED)
    give_up(made, SCHEDULE, attempts, age)
    assert made.results[2] is DEFERRED


def test_want_of_room_gives_nothing_up() -> None:
    made = attempt(DEFERRED, busy={2})
    give_up(made, SCHEDULE, 100, 1e9)
    assert made.results[2] is DEFERRED and made.only_busy
    made.add([RecipientResult(3, "deferred", "4.0.0")])
    assert not made.only_busy and not attempt(DELIVERED).only_busy


def test_failures_are_told() -> None:
    assert kinds(notices(envelope(), attempt(DELIVERED, FAILED, DEFERRED), SCHEDULE, 10, frozenset())) == {"failed": [1]}


def test_nobody_tells_the_null_sender_anything() -> None:
    made = attempt(DELIVERED, FAILED, DEFERRED, relayed={0})
    assert notices(envelope(("SUCCESS",), ("FAILURE",), ("DELAY",), sender=""), made, SCHEDULE, 1e9, frozenset()) == []


@pytest.mark.parametrize("notify, told", [((), True), (("FAILURE",), True), (("NEVER",), False), (("SUCCESS", "DELAY"), False)])
def test_notify_rules_failures(notify: tuple[str, ...], told: bool) -> None:
    found = notices(envelope((), notify, ()), attempt(FAILED), SCHEDULE, 10, frozenset())
    assert bool(found) is told and wants(Recipient("x@x.test", notify=notify), "FAILURE") is told


def test_delay_is_told_once_and_only_late() -> None:
    made = attempt(DEFERRED)
    assert notices(envelope(), made, SCHEDULE, 14399, frozenset()) == []
    assert kinds(notices(envelope(), made, SCHEDULE, 14400, frozenset())) == {"delayed": [2]}
    mark_told(made, [2, 77])
    told = who_was_told([{"recipient": 2, "text": made.results[2].text}, {"recipient": 1, "text": "x"}], [2, 5])
    assert told == {2, 5} and who_was_told([{"recipient": 1, "text": "x"}], [1]) == frozenset()
    assert notices(envelope(), made, SCHEDULE, 20000, told) == []
    mark_told(made, [2])
    assert made.results[2].text == TOLD + "timed out"
    give_up(made, SCHEDULE, 9, 1e9)
    assert made.results[2].text.endswith("last: timed out")


def test_success_is_told_only_where_nobody_else_will_and_only_on_wish() -> None:
    wishes = envelope(("SUCCESS",), (), ())
    assert kinds(notices(wishes, attempt(DELIVERED, relayed={0}), SCHEDULE, 1, frozenset())) == {"relayed": [0]}
    assert notices(wishes, attempt(DELIVERED), SCHEDULE, 1, frozenset()) == []
    assert notices(envelope(), attempt(DELIVERED, relayed={0}), SCHEDULE, 1, frozenset()) == []


def test_words_for_the_log() -> None:
    assert unsent([FAILED]) == "nobody to tell: #1 5.1.1 550 no"


@pytest.mark.parametrize("seconds, words", [(0, "0 seconds"), (-5, "0 seconds"), (59, "59 seconds"), (60, "1 minute"), (7300, "2 hours"),
                                            (86400, "1 day"), (432001, "5 days")])
def test_durations(seconds: float, words: str) -> None:
    assert days(seconds) == words
