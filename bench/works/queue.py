"""The queue's verbs against its depth: with a thousand messages waiting, and with up to a million. In this process, without the conversation."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.deep import ENVELOPE
from bench.figures import Series, chart
from bench.peers import ROOT
from bench.result import Result, Row
from bench.tables import number
from bench.turns import Bench
from bench.works.depth import curve, depths, growth
from fancymail.base.settings.queue import Queue
from fancymail.core.queue import QueueManager
from fancymail.core.queue_desk import QueueDesk
from fancymail.storage.slots import write_slot
from fancymail.storage.spool import DiskSpool
from fancymail.storage.sqlite.queue import SqliteQueueIndex

PEERS = ()
TURNS = 100
SLOWEST = 1.5        # times of itself at a thousand


class Opened:
    """The queue as its daemon opens it."""

    def __init__(self, folder: Path) -> None:
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

    async def close(self) -> None:
        await self.queue.intake.commit.idle()
        for thread in self.threads:
            thread.shutdown()
        self.index.close()
        self.spool.close()

    async def verbs(self, turns: int = TURNS) -> dict[str, float]:
        """Median milliseconds of each verb, over the life of some messages."""
        spent: dict[str, list[float]] = {}

        async def timed(name: str, call: Callable[[], object]):
            began = time.perf_counter()
            value = call()
            if isinstance(value, Awaitable):
                value = await value
            spent.setdefault(name, []).append((time.perf_counter() - began) * 1000)
            return value
        for _ in range(turns):
            await self._life(timed)
        return {name: statistics.median(times) for name, times in spent.items()}

    async def _life(self, timed) -> None:
        queue, desk = self.queue, self.desk
        path, = await timed("slot", lambda: queue.slot("outgoing"))
        write_slot(path, ENVELOPE, b"x" * 1000)
        await timed("push", lambda: queue.push("outgoing", path))
        entry, = await timed("take", lambda: queue.take("outgoing", 1, "smtpout"))
        await timed("renew", lambda: queue.renew("outgoing", entry.id, 60, "smtpout"))
        await timed("defer", lambda: queue.defer("outgoing", entry.id, 3600))
        await timed("retry", lambda: desk.retry("outgoing", entry.id))
        await timed("show", lambda: desk.show("outgoing", entry.id))
        await timed("queues", desk.queues)
        await timed("tick", queue.tick)
        entry, = queue.take("outgoing", 1, "smtpout")
        await timed("done", lambda: queue.done("outgoing", entry.id))


def run(bench: Bench) -> list[Row]:
    rows = []
    with bench.place() as place:
        folders = {count: place.folder / str(count) for count in depths(bench)}
        for count, folder in folders.items():
            folder.mkdir()
            subprocess.run([sys.executable, "-m", "bench.deep", "queue", str(folder), str(count)], check=True, cwd=ROOT)
            rows.append(Row(work="verbs", server="queue", facts={"depth": count}, rounds=[]))
        for _ in range(bench.rounds):
            for row, folder in zip(rows, folders.values()):
                row.rounds.append(asyncio.run(measured(folder)))
                bench.say(f"  queue of {row.facts['depth']:,}: " + ", ".join(f"{verb} {value:.3g}" for verb, value in row.rounds[-1].items()))
    return rows


async def measured(folder: Path) -> dict[str, float]:
    """Open a queue, say all verbs, close it."""
    opened = Opened(folder)
    spent = await opened.verbs()
    await opened.close()
    return {**spent, "restart": opened.restart * 1000}


def page(result: Result) -> str:
    deepest = max(result.rows, key=lambda row: row.facts["depth"])
    restart = f"A restart with {deepest.facts['depth']:,} messages: {number(deepest.median('restart'))} ms."
    return f"{growth(result, SLOWEST, leave=('restart',))}\n\n{restart}"


def figures(result: Result) -> dict[str, tuple[str, str]]:
    title = "The queue's verbs, against its depth"
    verbs = [verb for verb in result.rows[0].rounds[0] if verb != "restart"]
    return {"queue.svg": (title, chart(title, "messages in the queue", "milliseconds", [Series(verb, curve(result, verb)) for verb in verbs]))}
