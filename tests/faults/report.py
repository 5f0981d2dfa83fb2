"""What the laboratory found, told to whoever runs it: `tell` is called by the tests, and as a plugin of pytest this carries it out of the process.

    python -m pytest -p tests.faults.report ...         # with FAULTS_REPORT, a descriptor: one line of JSON after each test

Used by tests/faults/campaign.py, which prints it. Without FAULTS_REPORT nothing is carried anywhere; `tell` prints in any case.
"""

from __future__ import annotations

import json
import os

COUNTED = ("acked", "lost", "unexpected", "damaged", "duplicated", "recovered", "repeated", "states", "broken")

_told: list[tuple[str, dict[str, int]]] = []


def tell(words: str, **counts: int) -> None:
    """Something was judged: in words, and in numbers that can be added up (COUNTED)."""
    _told.append((words, counts))
    print(words)


def pytest_runtest_setup(item) -> None:
    """What is told from here on is this test's."""
    _told.clear()


def pytest_runtest_logreport(report) -> None:
    """Carry a test's end, or why it had none, to the campaign."""
    if "FAULTS_REPORT" not in os.environ or report.when != "call" and report.outcome == "passed":
        return
    line = {"test": report.nodeid, "outcome": report.outcome, "seconds": report.duration, "why": _why(report.longrepr), "told": _told}
    os.write(int(os.environ["FAULTS_REPORT"]), json.dumps(line).encode() + b"\n")


def _why(told) -> str:
    """The reason of a skip, or the first words of a failure."""
    if isinstance(told, tuple):
        return told[2]
    words = told.reprcrash.message if hasattr(told, "reprcrash") else str(told or "")
    return words.partition("\n")[0][:300]
