"""What holds for every test: hypothesis draws the same examples in every run, or very many new ones when asked to.

`bin/test` (profile "same"): no surprise, no deadline that a busy machine could miss, nothing kept between runs. `bin/test --slow`
sets HYPOTHESIS_PROFILE=search: new examples each time, twenty times as many where a test does not say how many.

A test that hangs is ended by pytest-timeout, by an exception in whatever runs just then. That may be swallowed (by asyncio in a callback, by a
finalizer), or meet a cleanup that waits for what never comes. GRACE later its process shows where each of its threads stands and ends;
pytest-xdist names the test and goes on with another process. What ran when a run was interrupted is named, too.
"""

from __future__ import annotations

import faulthandler
import os
import time

import pytest
from hypothesis import HealthCheck, settings

GRACE = 60.0                # seconds between a test's timeout and the end of its process

PATIENT = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

settings.register_profile("same", derandomize=True, **PATIENT)
settings.register_profile("search", max_examples=2000, print_blob=True, **PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

running: dict[str, float] = {}      # the tests that have begun and not ended, as this process knows it, with the time of their beginning
screen = None                       # what was standard error before pytest began to capture it


def pytest_configure(config) -> None:
    global screen
    screen = os.fdopen(os.dup(2), "w")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker else item.config.getoption("timeout") or item.config.getini("timeout") or 0)
    if limit and not item.config.getoption("usepdb"):
        faulthandler.dump_traceback_later(limit + GRACE, exit=True, file=screen)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_runtest_logstart(nodeid: str) -> None:
    running[nodeid] = time.monotonic()


def pytest_runtest_logfinish(nodeid: str) -> None:
    running.pop(nodeid, None)


def pytest_terminal_summary(terminalreporter) -> None:
    for nodeid, begun in running.items():
        terminalreporter.write_line(f"still running, since {time.monotonic() - begun:.0f} s: {nodeid}", red=True)
