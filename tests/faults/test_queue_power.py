"""The power is cut while messages are pushed: what got ok is on the disk, whole, and nothing else is handed out.

Runs as root only: a filesystem in a file is mounted and shut down without a last flush of its journal (the ioctl that ext4 and xfs have for
such tests), which is what a power cut leaves. The order of writes inside one sync is the kernel's; that we wait for it is ours.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from .test_queue_crash import CHECK, CHILD, ROOT, WRITER, read_all

SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2         # FS_IOC_SHUTDOWN and GOING_FLAGS_NOLOGFLUSH, of ext4 and xfs alike

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]


@contextlib.contextmanager
def mounted(image, folder):
    """Mount the image; whatever happens, it is unmounted."""
    done = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def cut_power(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, array.array("I", [WITHOUT_FLUSH]))
    finally:
        os.close(descriptor)


def push_until_cut(state, mount, oks, code=CHILD):
    """Run the writer, cut the power after so many answers, and return what it said."""
    child = subprocess.Popen([sys.executable, "-c", code, str(state), "100000"], cwd=ROOT, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
    said = {"try": [], "ok": [], "done": []}
    for line in child.stdout:
        word, *paths = line.split()
        said[word] += paths
        if word == "ok":
            oks -= 1
            if oks == 0:
                cut_power(mount)
    child.stdout.close()
    child.wait()
    return said


@pytest.fixture(params=["ext4", "xfs"])
def image(request):
    """A filesystem in memory, and a place to mount it."""
    if not shutil.which(f"mkfs.{request.param}"):
        pytest.skip(f"there is no mkfs.{request.param}")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        image, mount = Path(folder, "image"), Path(folder, "mount")
        mount.mkdir()
        with open(image, "wb") as file:
            file.truncate(320 << 20)           # xfs takes no less
        subprocess.run([f"mkfs.{request.param}", "-q", image], check=True)
        yield image, mount


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
def test_what_got_ok_survives(image, altered, oks, code, writer):
    image, mount = image
    altered(code)
    with mounted(image, mount):
        said = push_until_cut(mount / "queues", mount, oks, writer)
    assert len(said["ok"]) >= oks
    with mounted(image, mount):
        found = subprocess.run([sys.executable, "-c", CHECK, str(mount / "queues")], cwd=ROOT, input="", capture_output=True, text=True)
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
def test_the_laboratory_notices_a_missing_sync(image, altered, code, writer):
    image, mount = image
    altered(code)
    with mounted(image, mount):
        said = push_until_cut(mount / "queues", mount, 20, writer)
    with mounted(image, mount):
        try:
            found = subprocess.run([sys.executable, "-c", CHECK, str(mount / "queues")], cwd=ROOT, input="", capture_output=True, text=True)
            there = set(found.stdout.split())
        except OSError:
            there = set()
    assert not set(said["ok"]) - set(said["done"]) <= there, "a laboratory that does not notice this proves nothing"
