"""Half a minute under siege: honest work succeeds, nothing is lost or doubled, no daemon dies or keeps memory and descriptors."""

from __future__ import annotations

import subprocess
import sys

from tests.live.suite import Suite
from tests.soak.day import ROOT, Day, spend


def test_half_a_minute_under_siege(tmp_path):
    with Suite(tmp_path / "state") as suite:
        day = spend(suite, 20)
    assert day.complaints() == [], day.report()
    assert day.acked and set(day.hostile) == {"slow", "flooding", "guessing", "huge", "local"} and all(day.seconds.values())


def test_the_command():
    done = subprocess.run([sys.executable, ROOT / "bin" / "test", "--soak", "0.05"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "honest work" in done.stdout and "hostile clients: " in done.stdout and "failures 0" in done.stdout


def test_what_must_not_be_is_complained_of():
    """The judgement can fail."""
    good = {"before": {"queue": (0, 10)}, "after": {"queue": (1 << 20, 12)}, "restarts": {"queue": 0}, "acked": {"a"}, "found": ["a"]}
    assert Day(**good).complaints() == []
    for bad in ({"found": []}, {"found": ["a", "a"]}, {"restarts": {"queue": 1}}, {"after": {"queue": (1 << 30, 12)}}, {"after": {"queue": (0, 99)}},
                {"failures": ["send: x"]}, {"errors": ["2026 queue error x"]}):
        assert len(Day(**good | bad).complaints()) == 1, bad
