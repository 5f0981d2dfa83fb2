"""Waits, expiry, windows, paces and dead hosts."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from fancymail.base.settings.smtpout import SmtpOut
from fancymail.core.schedule import DEAD_LONGEST, HOSTS_KEPT, DeadHosts, Pace, Schedule, Window


def test_waits_double_up_to_the_longest() -> None:
    schedule, age, waits = Schedule(SmtpOut()), 0.0, []
    for attempts in range(1, 10):
        waits.append(schedule.wait(attempts, age, 0.5))
        age += waits[-1]
    assert waits[:6] == [300, 300, 600, 1200, 2400, 4800] and waits[-1] == 14400


def test_jitter_is_a_fifth_both_ways() -> None:
    schedule = Schedule(SmtpOut())
    assert schedule.wait(1, 0, 0.0) == pytest.approx(240) and schedule.wait(1, 0, 0.999999) == pytest.approx(360, abs=0.01)


@given(st.integers(-5, 10 ** 9), st.floats(-1e12, 1e12), st.floats(0, 0.999))
def test_waits_are_always_sane(attempts: int, age: float, chance: float) -> None:
    assert 240 <= Schedule(SmtpOut()).wait(attempts, age, chance) <= 14400 * 1.2


def test_expiry_needs_age_and_attempts() -> None:
    schedule = Schedule(SmtpOut())
    assert schedule.expired(5, 432000) and not schedule.expired(4, 432000) and not schedule.expired(100, 431999)
    assert not schedule.expired(2, 10 * 365 * 86400)       # a clock that leaps


def test_late() -> None:
    assert Schedule(SmtpOut()).late(14400) and not Schedule(SmtpOut()).late(14399) and not Schedule(SmtpOut(delay_notice=0)).late(1e9)


def test_a_window_grows_with_success_and_is_halved_by_failure() -> None:
    window = Window(20)
    assert window.limit == 2
    for _ in range(30):
        window.succeeded()
    assert window.limit == 20
    window.failed()
    assert window.limit == 10
    window.succeeded()
    assert 10 < window.limit < 10.2                        # past the point of failure it grows slowly
    for _ in range(20):
        window.failed()
    assert window.limit == 1 and window.open


def test_a_window_is_open_while_used_is_below() -> None:
    window = Window(1)
    assert window.open
    window.used = 1
    assert not window.open


def test_pace() -> None:
    pace = Pace(60)
    assert [pace.wait(100.0, 60.0) for _ in range(3)] == [0.0, 1.0, 2.0]
    assert pace.wait(100.0, 2.5) is None and pace.wait(102.5, 2.5) == 0.5
    assert Pace(0).wait(5.0, 0.0) == 0.0


def test_dead_hosts_are_left_alone_longer_each_time() -> None:
    dead = DeadHosts(60.0)
    assert dead.reason("192.0.2.1", 25, 0.0) == ""
    now, pauses = 0.0, []
    for _ in range(8):
        dead.failed("192.0.2.1", 25, now, "timed out")
        assert dead.reason("192.0.2.1", 25, now) == "timed out" and dead.reason("192.0.2.1", 587, now) == ""
        pause = next(second for second in range(1, 4000) if not dead.reason("192.0.2.1", 25, now + second))
        pauses.append(pause)
        now += pause
    assert pauses == [60, 120, 240, 480, 960, 1920, DEAD_LONGEST, DEAD_LONGEST]
    dead.answered("192.0.2.1", 25)
    dead.failed("192.0.2.1", 25, now, "x")
    assert not dead.reason("192.0.2.1", 25, now + 60)


def test_one_failure_met_by_many_counts_once() -> None:
    dead = DeadHosts(60.0)
    for _ in range(50):
        dead.failed("192.0.2.1", 25, 0.0, "x")
    assert not dead.reason("192.0.2.1", 25, 60.0)


def test_memory_of_dead_hosts_is_bounded() -> None:
    dead = DeadHosts(60.0)
    for number in range(HOSTS_KEPT + 100):
        dead.failed(str(number), 25, 0.0, "x")
    assert len(dead._known) == HOSTS_KEPT
