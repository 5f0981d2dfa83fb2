"""Any daemon killed with -9 under load, in turn and all at once: nothing that got 250 is lost, nothing is twice in a local mailbox.

The short form runs with every test run; `bin/test --faults` runs the long one. Seeds are printed by pytest's parameters and can be repeated.
"""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.faults.ledger import Ledger
from tests.faults.load import Generator
from tests.live.suite import Suite
from tests.suite_kit import wait_for

USERS = ["alice@example.test", "bob@example.test"]
DAEMONS = ["auth", "queue", "mailbox", "smtpin", "smtpout", "pop3", "imap", "imap-2"]


def kill_in_turn(suite: Suite, chance: random.Random, seconds: float) -> None:
    """Kill one daemon after the other, every 50 to 500 ms."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.05, 0.5))
        suite.signal(chance.choice(DAEMONS), signal.SIGKILL)


def kill_all_at_once(suite: Suite, chance: random.Random, seconds: float) -> None:
    """Kill all daemons in the same moment, now and then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.5, 2.0))
        for name in DAEMONS:
            suite.signal(name, signal.SIGKILL)


def stop_for_a_while(suite: Suite, chance: random.Random, seconds: float) -> None:
    """Freeze one daemon, let it go on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = chance.choice(DAEMONS)
        suite.signal(name, signal.SIGSTOP)
        time.sleep(chance.uniform(0.1, 1.5))
        suite.signal(name, signal.SIGCONT)


def run(tmp_path, fault, seed: int, seconds: float) -> None:
    suite = Suite(tmp_path / "state")
    try:
        ledger = Ledger(tmp_path / "ledger")
        with Generator(ledger, suite.ports["smtp"], USERS, seed=seed) as generator:
            fault(suite, random.Random(seed), seconds)
        suite.wait_answers()
        wait_for(lambda: suite.waiting() == 0, "empty queues")
        for user in USERS:
            for content in suite.collect(user):
                ledger.found(user, content)
        verdict = ledger.verdict()
        print(f"seed {seed}: {verdict}; answers {generator.refused}")
        assert verdict.clean(), f"{verdict}\nlost {verdict.lost[:5]}\nduplicated {verdict.duplicated[:5]}\nunexpected {verdict.unexpected[:5]}"
        assert verdict.acked > 20, f"hardly anything was accepted: {verdict}, answers {generator.refused}"
    finally:
        suite.down()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", [kill_in_turn, kill_all_at_once, stop_for_a_while], ids=lambda fault: fault.__name__)
def test_short(tmp_path, fault):
    run(tmp_path, fault, seed=1, seconds=12)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2, 12))
@pytest.mark.parametrize("fault", [kill_in_turn, kill_all_at_once, stop_for_a_while], ids=lambda fault: fault.__name__)
def test_long(tmp_path, fault, seed):
    run(tmp_path, fault, seed, seconds=60)
