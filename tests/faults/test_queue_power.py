"""The power is cut while messages are pushed: what got ok is on the disk, whole, and nothing else is handed out.

Runs as root only: a filesystem in a file is mounted and shut down without a last flush of its journal (the ioctl that ext4 and xfs have for
such tests), which is what a power cut leaves. The order of writes inside one sync is the kernel's; that we wait for it is ours.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from .disks import disk as mounted
from .test_queue_crash import CHECK, CHILD, ROOT, WRITER, read_all

pytestmark = pytest.mark.slow


def push_until_cut(disk, oks, code=CHILD):
    """Run the writer, cut the power after so many answers, and return what it said."""
    child = subprocess.Popen([sys.executable, "-c", code, str(disk.mount / "queues"), "100000"], cwd=ROOT, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
    said = {"try": [], "ok": [], "done": []}
    for line in child.stdout:
        word, *paths = line.split()
        said[word] += paths
        if word == "ok":
            oks -= 1
            if oks == 0:
                disk.cut_power()
    child.stdout.close()
    child.wait()
    return said


def check(disk):
    """What is found after the next boot."""
    disk.boot()
    return subprocess.run([sys.executable, "-c", CHECK, str(disk.mount / "queues")], cwd=ROOT, input="", capture_output=True, text=True)


@pytest.fixture(params=["ext4", "xfs"])
def disk(request):
    """A filesystem in memory, mounted."""
    with mounted(request.param) as found:
        yield found


@pytest.fixture
def altered(tmp_path, monkeypatch):
    """Run the writer with something altered: a line of Python."""
    def alter(code):
        (tmp_path / "sitecustomize.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    return alter


@pytest.mark.parametrize("oks", [1, 2, 5, 20, 60, 150])
@pytest.mark.parametrize("code", [
    "",
    "import fancymail.storage.sqlite.queue as queue; queue.CROWDED = 30",
    "import fancymail.storage.sync as sync; sync._kernel = lambda: (5, 4)",
], ids=["as it is", "log begun anew often", "each file by itself"])
@pytest.mark.parametrize("writer", [CHILD, WRITER], ids=["push", "enter"])
def test_what_got_ok_survives(disk, altered, oks, code, writer):
    altered(code)
    said = push_until_cut(disk, oks, writer)
    assert len(said["ok"]) >= oks
    found = check(disk)
    assert found.returncode == 0, found.stderr
    there = set(found.stdout.split())
    assert set(said["ok"]) - set(said["done"]) <= there, "a message that got ok is lost"
    assert there <= set(said["try"])
    read_all(there, said["done"])


@pytest.mark.parametrize("code, writer", [
    ("import fancymail.storage.sync as sync; sync._syncfs = lambda descriptor: None", CHILD),
    ("import fancymail.storage.sync as sync; sync._sync_file = lambda path, directory=None: None", WRITER),
    ("import fancymail.storage.sync as sync; sync.Syncer.filesystem = lambda self: True", WRITER),
], ids=["push", "enter, each file", "enter, all files"])
def test_the_laboratory_notices_a_missing_sync(disk, altered, code, writer):
    altered(code)
    said = push_until_cut(disk, 20, writer)
    there = set(check(disk).stdout.split())
    assert not set(said["ok"]) - set(said["done"]) <= there, "a laboratory that does not notice this proves nothing"
