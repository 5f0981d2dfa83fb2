"""A new ext4 for each server that is measured, in an image on the filesystem below it: nobody pays for what others deleted before.

For about half a minute ext4 passes over the inodes of files that were deleted, one by one: after a run that made and removed many, making a file
costs ten times as much, whoever makes it. Syncs go through to the disk. Used by bench/turns.py; needs root.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SIZE = 24 << 30                 # of a sparse file
PATIENCE = 20.0                 # seconds for the last process of a server to let go


@contextlib.contextmanager
def fresh_filesystem(folder: Path) -> Iterator[Path]:
    """Make an ext4 below `folder`, mount it, yield where it is; takes it away again. Raises CalledProcessError."""
    image, place = folder / "image", folder / "fs"
    with open(image, "wb") as file:
        file.truncate(SIZE)
    place.mkdir()
    _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", str(image))
    device = _run("losetup", "--find", "--show", "--direct-io=on", str(image))
    try:
        _run("mount", "-o", "noinit_itable", device, str(place))
        try:
            place.chmod(0o755)
            yield place
        finally:
            _unmount(place)
    finally:
        _run("losetup", "--detach", device)


def _unmount(place: Path) -> None:
    until = time.monotonic() + PATIENCE
    while subprocess.run(["umount", str(place)], capture_output=True).returncode:
        if time.monotonic() > until:
            _run("umount", "--lazy", str(place))
            return
        time.sleep(0.1)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
