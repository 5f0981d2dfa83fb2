"""A million queued messages: what they cost in memory, at a restart, and each verb.

The rows are put into the index as the queue itself puts them; files exist for the messages that are touched (the queue never looks at
the others: that is what makes a restart short). Figures are printed; the bounds are those of docs/house.md, ratios are generous
because machines of tests are busy.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fancymail.base.settings.queue import Queue
from fancymail.core.queue import QueueManager
from fancymail.core.queue_desk import QueueDesk
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.ports.queue import Entry, State
from fancymail.storage.slots import write_slot
from fancymail.storage.spool import DiskSpool
from fancymail.storage.sqlite.queue import SqliteQueueIndex

MILLION = 1_000_000
TOUCHED = 400               # messages at the head of the queue, which have files
ENVELOPE = Envelope("a" * 26, "sender@example.test", [Recipient("recipient@example.org")])

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def fill(folder, count):
    """Make a state with `count` messages; three of four ready, the rest deferred."""
    index, spool = SqliteQueueIndex(folder / "index.db"), DiskSpool(folder, ["incoming", "outgoing"])
    deferred = dict(state=State.DEFERRED, due=time.time() + 3600, attempts=1, reason="4.4.1 no answer")
    made = 0
    while made < count:
        entries = []
        for number in range(made, min(made + 5000, count)):
            id = spool.new_id("outgoing", False)
            if number < TOUCHED:
                write_slot(spool.path("outgoing", id), ENVELOPE, b"x" * 1000)
            entries.append(Entry(id=id, queue="outgoing", pushed=time.time(), size=1000, sha256=os.urandom(32), bare=False,
                                 sender=f"sender{number}@example.test", recipients=f"recipient{number}@example.org", count=1,
                                 **(deferred if number >= TOUCHED and number % 4 == 0 else {})))
        index.add(entries)
        made += len(entries)
        if index.crowded():
            index.copy_back()
            index.restart_log()
    index.close()
    spool.close()


class Opened:
    """The queue as its daemon opens it."""

    def __init__(self, folder):
        options = Queue(free_octets=0)
        self.threads = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        began = time.perf_counter()
        self.spool = DiskSpool(folder, options.queues, folder / "index.db-wal")
        self.index = SqliteQueueIndex(folder / "index.db", cache=options.cache)
        self.queue = QueueManager(self.index, self.spool, options, *self.threads)
        self.queue.open()
        self.queue.tick()
        self.desk = QueueDesk(self.queue)
        self.restart = time.perf_counter() - began

    async def close(self):
        await self.queue.intake.commit.idle()
        for thread in self.threads:
            thread.shutdown()
        self.index.close()
        self.spool.close()

    async def verbs(self):
        """Median milliseconds of each verb."""
        spent = {}

        async def timed(name, call):
            began = time.perf_counter()
            value = call()
            if hasattr(value, "__await__"):
                value = await value
            spent.setdefault(name, []).append((time.perf_counter() - began) * 1000)
            return value
        for _ in range(100):
            path, = await timed("slot", lambda: self.queue.slot("outgoing"))
            write_slot(path, ENVELOPE, b"x" * 1000)
            await timed("push", lambda: self.queue.push("outgoing", path))
            entry, = await timed("take", lambda: self.queue.take("outgoing", 1, "smtpout"))
            await timed("renew", lambda: self.queue.renew("outgoing", entry.id, 60, "smtpout"))
            await timed("defer", lambda: self.queue.defer("outgoing", entry.id, 3600))
            await timed("retry", lambda: self.desk.retry("outgoing", entry.id))
            await timed("show", lambda: self.desk.show("outgoing", entry.id))
            await timed("queues", self.desk.queues)
            await timed("tick", self.queue.tick)
            entry, = self.queue.take("outgoing", 1, "smtpout")
            await timed("done", lambda: self.queue.done("outgoing", entry.id))
        return {name: statistics.median(times) for name, times in spent.items()}


def resident():
    """Octets of memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_million_messages(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for folder, count in ((small, 1000), (large, MILLION)):
        folder.mkdir()
        # In a process of its own: what filling costs is not what waiting costs.
        subprocess.run([sys.executable, "-c", f"from tests.load.test_queue_million import fill; from pathlib import Path; "
                        f"fill(Path({str(folder)!r}), {count})"], check=True, cwd=Path(__file__).parents[2])
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
