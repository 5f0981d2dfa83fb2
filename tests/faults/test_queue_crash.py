"""The queue is killed between two steps of making a message durable: what got ok is there, what didn't may be pushed again."""

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
CHECK = """
import asyncio, sys
from pathlib import Path
from bench.queue import Core

async def main():
    queue = Core(Path(sys.argv[1]))
    again = sys.stdin.read().split()
    if again:
        await queue.push(*again)
    while paths := await queue.take(64):
        print(*paths, sep="\\n")
    print(*(queue.manager.path(entry) for entry in queue.manager.each("incoming", [1])), sep="\\n")
asyncio.run(main())
"""
ROOT = Path(__file__).parents[2]


def run(code, *args, crash="", given=""):
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, env={**os.environ, "FM_CRASH_AT": crash},
                          input=given, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("point", ["queue.sync", "queue.synced", "queue.ended"])
@pytest.mark.parametrize("visit", [1, 2, 5])
def test_what_got_ok_is_there(tmp_path, point, visit):
    ended = run(CHILD, tmp_path, 20, crash=f"{point}:{visit}")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    said = {"try": [], "ok": [], "done": []}
    for line in ended.stdout.splitlines():
        word, *paths = line.split()
        said[word] += paths
    unsure = [path for path in said["try"] if path not in said["ok"]]
    assert len(unsure) == (0 if point == "queue.ended" else 3)
    found = run(CHECK, tmp_path, given=" ".join(unsure))            # the writer lives on and says push again
    assert found.returncode == 0, found.stderr
    there = found.stdout.split()
    assert set(said["try"]) - set(said["done"]) <= set(there) <= set(said["try"])
    for path in there:
        with read_slot(path) as slot:
            slot.verify()
            assert slot.read() == b"content of " + path.encode()
