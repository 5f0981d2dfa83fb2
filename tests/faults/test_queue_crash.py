"""The queue, or a writer that makes its own slots durable, is killed between two steps: what was promised is there, what wasn't may come again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fancymail.storage.slots import read_slot

CHILD = """
import asyncio, sys
from pathlib import Path
from bench.queue import Core, ENVELOPE
from fancymail.storage.slots import write_slot

async def main():
    queue = Core(Path(sys.argv[1]))
    for round in range(int(sys.argv[2])):
        paths = await queue.slot(3)
        for path in paths:
            write_slot(path, ENVELOPE, b"content of " + path.encode())
        print("try", *paths, flush=True)
        await queue.push(*paths)
        print("ok", *paths, flush=True)
        if round % 2:
            taken = await queue.take(2)
            print("done", *taken, flush=True)
            await queue.done(*taken)
asyncio.run(main())
"""
WRITER = """
import asyncio, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from bench.queue import Core, ENVELOPE
from fancymail.base.crash import crash_point
from fancymail.storage.ports.spool import Told
from fancymail.storage.slots import SlotWriter
from fancymail.storage.sync import FEW, Syncer

async def main():
    queue = Core(Path(sys.argv[1]))
    syncer = Syncer(os.open(sys.argv[1], os.O_RDONLY))
    for round in range(int(sys.argv[2])):
        await queue.manager.intake.prepare("incoming", 3)
        paths, news = (await queue.slot(3))[:1 + round % 3], []
        for path in paths:
            writer = SlotWriter(path, ready=True)
            writer.write(b"content of " + path.encode())
            info = writer.finish(ENVELOPE)
            news.append((path, Told(info.content_length, info.sha256, ENVELOPE.id, ENVELOPE.sender, ["bob@example.test"], 1)))
        print("try", *paths, flush=True)
        crash_point("writer.sync")
        if len(paths) <= FEW or not syncer.filesystem():
            syncer.files(paths)
        print("ok", *paths, flush=True)
        crash_point("writer.synced")
        queue.manager.enter("incoming", news)
        crash_point("writer.entered")
        if round % 2:
            taken = await queue.take(2)
            print("done", *taken, flush=True)
            await queue.done(*taken)
        if round % 5 == 4:
            queue.manager.tick()
            await queue.manager.intake.commit.idle()
asyncio.run(main())
"""
CHECK = """
import asyncio, sys
from pathlib import Path
from bench.queue import Core
from fancymail.core.orphans import Orphans

async def main():
    queue = Core(Path(sys.argv[1]))
    await Orphans(queue.index, queue.spool, queue.manager.intake, 1e9, lambda: 0.0).sweep(["incoming"])
    again = sys.stdin.read().split()
    if again:
        await queue.push(*again)
    while paths := await queue.take(64):
        print(*paths, sep="\\n")
    print(*(queue.manager.path(entry) for entry in queue.manager.each("incoming", [1])), sep="\\n")
asyncio.run(main())
"""
KILLING = """
import asyncio, sys
from pathlib import Path
from bench.queue import Core, ENVELOPE
from fancymail.storage.slots import write_slot

async def main():
    queue = Core(Path(sys.argv[1]))
    path, = await queue.slot(1)
    write_slot(path, ENVELOPE, b"content of " + path.encode())
    print(path, flush=True)
    await queue.push(path)
    for _ in range(3):
        await queue.take(1)
        queue.manager.resume("incoming", "mailbox")
    await queue.manager.intake.durable()
asyncio.run(main())
"""
BROUGHT_BACK = """
import asyncio, sys
from pathlib import Path
from bench.queue import Core
from fancymail.core.queue_desk import QueueDesk

async def main():
    queue = Core(Path(sys.argv[1]))
    queue.manager.resume("incoming", "mailbox")
    print(*(f"{state.name} {total.messages}" for (name, state), total in queue.index.totals().items()))
    await QueueDesk(queue.manager).retry("incoming", "all")
    print(*await queue.take(9))
asyncio.run(main())
"""
ROOT = Path(__file__).parents[2]


def run(code, *args, crash="", given=""):
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, env={**os.environ, "FM_CRASH_AT": crash},
                          input=given, capture_output=True, text=True, timeout=60)


def read_all(paths, done):
    """Each message is whole; one that was done may have a row left, without a file: that settles it."""
    for path in paths:
        if path in done and not os.path.exists(path):
            continue
        with read_slot(path) as slot:
            slot.verify()
            assert slot.read() == b"content of " + path.encode()


@pytest.mark.parametrize("point", ["queue.sync", "queue.synced", "queue.retired", "queue.ended"])
@pytest.mark.parametrize("visit", [1, 2, 5])
def test_what_got_ok_is_there(tmp_path, point, visit):
    ended = run(CHILD, tmp_path, 20, crash=f"{point}:{visit}")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    said = {"try": [], "ok": [], "done": []}
    for line in ended.stdout.splitlines():
        word, *paths = line.split()
        said[word] += paths
    unsure = [path for path in said["try"] if path not in said["ok"]]
    assert len(unsure) == (0 if point in ("queue.retired", "queue.ended") else 3)
    found = run(CHECK, tmp_path, given=" ".join(unsure))            # the writer lives on and says push again
    assert found.returncode == 0, found.stderr
    there = found.stdout.split()
    assert set(said["try"]) - set(said["done"]) <= set(there) <= set(said["try"])
    read_all(there, said["done"])


@pytest.mark.parametrize("point", ["writer.sync", "writer.synced", "writer.entered", "queue.retired", "queue.ended"])
@pytest.mark.parametrize("visit", [1, 2, 5])
def test_what_its_writer_promised_is_there(tmp_path, point, visit):
    ended = run(WRITER, tmp_path, 20, crash=f"{point}:{visit}")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    said = {"try": [], "ok": [], "done": []}
    for line in ended.stdout.splitlines():
        word, *paths = line.split()
        said[word] += paths
    found = run(CHECK, tmp_path)                                    # nobody says anything again: the files speak for themselves
    assert found.returncode == 0, found.stderr
    there = found.stdout.split()
    assert set(said["ok"]) - set(said["done"]) <= set(there) <= set(said["try"])
    again = set(there) & set(said["done"])
    assert again <= set(said["done"][-2:] if point.startswith("queue") else ())     # at the most the rows of the files that are gone
    read_all(there, said["done"])


def test_what_was_being_put_aside_is_dead_and_can_be_brought_back(tmp_path):
    ended = run(KILLING, tmp_path, crash="queue.aside")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    path = ended.stdout.strip()
    assert not os.path.exists(path) and os.path.exists(path.replace("incoming", "dead"))
    found = run(BROUGHT_BACK, tmp_path)
    assert found.stdout.splitlines() == ["DEAD 1", path], found.stderr
    read_all([path], [])
