"""A million queued messages: what they cost in memory, at a restart, and each verb.

The rows are put into the index as the queue itself puts them; files exist for the messages that are touched (the queue never looks at
the others: that is what makes a restart short). Figures are printed; the bounds are those of docs/house.md, ratios are generous
because machines of tests are busy.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.peers import ROOT
from bench.works.queue import Opened
from fancymail.storage.ports.queue import State

MILLION = 1_000_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def resident():
    """Octets of memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_million_messages(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for folder, count in ((small, 1000), (large, MILLION)):
        folder.mkdir()
        subprocess.run([sys.executable, "-m", "bench.deep", "queue", str(folder), str(count)], check=True, cwd=ROOT)
    first = Opened(small)
    of_thousand = await first.verbs()
    await first.close()
    before = resident()
    opened = Opened(large)
    of_million = await opened.verbs()
    memory = (resident() - before) / MILLION
    total = sum(opened.queue.total("outgoing", state).messages for state in State)
    await opened.close()
    print(f"\nrestart {first.restart:.2f} s of 1,000, {opened.restart:.2f} s of {MILLION:,}; {memory:.0f} octets each")
    for name, milliseconds in of_million.items():
        print(f"{name:8} {of_thousand[name]:8.3f} ms of 1,000  {milliseconds:8.3f} ms of {MILLION:,}")
    assert total == MILLION          # each round pushed one and settled one
    assert opened.restart < 30 and memory < 300
    slower = {name: (of_thousand[name], spent) for name, spent in of_million.items() if spent > 5 * of_thousand[name] + 0.5}
    assert not slower
