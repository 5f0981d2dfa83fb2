"""Filesystems in files, mounted for a test, and cut off as a power cut does: what only root can do.

The cut is the ioctl that ext4 and xfs have for such tests: the filesystem is shut down without a last flush of its journal, so what was
not synced is gone. Tests skip with the reason where this is impossible.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suite_kit import wait_for

SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2         # FS_IOC_SHUTDOWN and GOING_FLAGS_NOLOGFLUSH, of ext4 and xfs alike
SIZE = 320 << 20                                # xfs takes no less


class Disk:
    """An image in memory and the place to mount it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind, self.image, self.mount = kind, folder / "image", folder / "mount"
        self.mount.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        subprocess.run([f"mkfs.{kind}", "-q", self.image], check=True)

    @property
    def mounted(self) -> bool:
        return f" {self.mount} " in Path("/proc/mounts").read_text()      # once shut down, it cannot be asked itself

    def attach(self) -> None:
        """Mount what is left, as at a boot: whatever it is, the filesystem's recovery has to make something of it."""
        refused = self.mount_from(self.image)
        assert not refused, refused

    def mount_from(self, file: Path) -> str:
        """Mount what is in a file, by a loop device; "", or what mount said."""
        # xfs takes no two filesystems of one UUID; the other one is this one before a cut, which a mount namespace of somebody else may hold.
        options = "loop,nouuid" if self.kind == "xfs" else "loop"
        return subprocess.run(["mount", "-o", options, file, self.mount], capture_output=True, text=True).stderr.strip()

    def detach(self) -> None:
        """Unmount it, once nobody holds a file there."""
        if self.mounted:
            wait_for(lambda: subprocess.run(["umount", self.mount], capture_output=True).returncode == 0, f"{self.mount} is let go")

    def boot(self) -> None:
        """Mount it anew after a cut. From a copy: another mount namespace may hold the filesystem that was shut down, and would share it."""
        self.detach()
        copy = self.image.with_name(f"{self.image.name}-")
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        self.image.unlink()
        self.image = copy
        self.attach()

    def cut_power(self) -> None:
        """From now on nothing reaches the disk, and what was not synced never will."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, array.array("I", [WITHOUT_FLUSH]))
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def disk(kind: str) -> Iterator[Disk]:
    """A filesystem of a kind, mounted; whatever happens, it is unmounted and gone."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"there is no mkfs.{kind}")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        found = Disk(Path(folder), kind)
        if refused := found.mount_from(found.image):
            pytest.skip(f"cannot mount here: {refused}")
        try:
            yield found
        finally:
            found.detach()
