"""Alerts are paced, and the last word is always told."""

from __future__ import annotations

from fancymail.servers.mailbox.pace import Pace


class Loop:
    """The timers of an event loop, run by hand."""

    def __init__(self) -> None:
        self.timers: list[tuple] = []

    def call_later(self, seconds, work, *words) -> None:
        self.timers.append((work, words))

    def later(self) -> None:
        timers, self.timers = self.timers, []
        for work, words in timers:
            work(*words)


def test_at_once_then_once_for_all_that_came():
    told, loop = [], Loop()
    pace = Pace(told.append, 0.01, loop)
    pace.say("a")
    assert told == ["a"]
    for _ in range(5):
        pace.say("a")
        pace.say("b")
    assert told == ["a", "b"]
    loop.later()
    assert sorted(told) == ["a", "a", "b", "b"]
    loop.later()
    assert len(told) == 4 and not loop.timers
    pace.say("a")
    assert len(told) == 5


def test_what_is_said_while_it_is_told_is_told_again():
    told, loop = [], Loop()

    def tell(topic):
        told.append(topic)
        if len(told) == 1:
            pace.say(topic)
    pace = Pace(tell, 0.01, loop)
    pace.say("a")
    loop.later()
    assert told == ["a", "a"]
