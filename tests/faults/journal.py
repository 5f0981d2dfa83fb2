"""A real filesystem on a disk that keeps a journal of its writes, and any state of it that a power cut could have left.

    with journal_disk("ext4") as disk:
        ...                                     # work below disk.mount; disk.moment() is now
    for kind in KINDS: disk.replay(moment, kind, chance)        # disk.image is the disk as a power cut at that moment left it

The disk is nbdkit's (tests/faults/recorder.py), a file by nbdfuse, mounted by a loop device. What was written before the last flush is
there; of what was written since, nothing, all, a beginning, or any part, block by block. As root only.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.disks import Disk
from tests.suite_kit import wait_for

KINDS = ("synced only", "all", "a beginning", "by chance")
BLOCK = 4096            # octets that a disk writes whole or not at all: with less xfs itself cannot be mounted any more now and then
HEAD = struct.Struct("<cQQ")                    # as recorder.py has it
RECORDER = Path(__file__).with_name("recorder.py")


class Write(NamedTuple):
    """One record of the journal."""

    end: int            # where it ends in the journal: the moment from which on it has happened
    flush: bool
    offset: int
    data: bytes


class JournalDisk(Disk):
    """A disk as `Disk` is, whose every write is kept in order."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder, kind)
        self.fresh, self.journal, self.file = folder / "fresh", folder / "journal", folder / "device"
        self._copy(self.image, self.fresh)
        self.journal.touch()
        self.file.touch()
        self._served = None

    def moment(self) -> int:
        """Now, in the life of the disk."""
        return self.journal.stat().st_size

    def record(self) -> None:
        """Mount it by way of the recorder."""
        plugin = [RECORDER, f"image={self.image}", f"journal={self.journal}"]
        self._served = subprocess.Popen(["nbdfuse", self.file, "[", "nbdkit", "--exit-with-parent", "python", *plugin, "]"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(lambda: self._served.poll() is not None or self.file.stat().st_size, "the recorder serves the disk")
        if self._served.returncode is not None:
            pytest.skip(f"nbdfuse does not work here: {self._served.stderr.read().decode().strip()}")
        if refused := self.mount_from(self.file):
            pytest.skip(f"cannot mount here: {refused}")

    def stop(self) -> None:
        """Unmount it; the journal stays."""
        self.detach()
        if self._served:
            wait_for(lambda: self._served.poll() is not None or subprocess.run(["umount", self.file], capture_output=True).returncode == 0,
                     "the recorder is let go")
            self._served.wait(30)
            self._served.stderr.close()
            self._served = None

    def records(self) -> Iterator[Write]:
        """The journal from its beginning."""
        with open(self.journal, "rb") as file:
            while len(head := file.read(HEAD.size)) == HEAD.size:
                kind, offset, length = HEAD.unpack(head)
                data = file.read(length if kind == b"W" else 0)
                yield Write(file.tell(), kind == b"F", offset, data)

    def replay(self, moment: int, kind: str, chance: random.Random) -> None:
        """Have the image be what is left of the disk after a power cut at a moment."""
        self.detach()
        self.image.unlink()
        self._copy(self.fresh, self.image)
        since: list[Write] = []
        with open(self.image, "r+b", buffering=0) as image:
            for write in self.records():
                if write.end > moment:
                    break
                since.append(write)
                if write.flush:
                    _apply(image, since)
                    since.clear()
            _apply(image, _survivors(since, kind, chance))

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        subprocess.run(["cp", "--sparse=always", source, target], check=True)


def _apply(image, writes: list[Write]) -> None:
    for write in writes:
        os.pwrite(image.fileno(), write.data, write.offset)


def _survivors(since: list[Write], kind: str, chance: random.Random) -> list[Write]:
    """Those of the writes since the last flush that reached the disk, or the blocks of them that did."""
    if kind == "synced only":
        return []
    if kind == "all":
        return since
    if kind == "a beginning":
        return since[:chance.randint(0, len(since))]
    share = chance.random()
    return [Write(write.end, False, write.offset + place, write.data[place:place + BLOCK])
            for write in since for place in range(0, len(write.data), BLOCK) if chance.random() < share]


@contextlib.contextmanager
def journal_disk(kind: str) -> Iterator[JournalDisk]:
    """A filesystem of a kind on a disk with a journal, mounted; whatever happens, all is unmounted and gone."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    for program in (f"mkfs.{kind}", "nbdkit", "nbdfuse"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")
    if subprocess.run(["nbdkit", "python", "--dump-plugin"], capture_output=True).returncode:
        pytest.skip("nbdkit has no plugin for Python")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        disk = JournalDisk(Path(folder), kind)
        try:
            disk.record()
            yield disk
        finally:
            disk.stop()
