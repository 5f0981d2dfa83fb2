"""The files of this node in front of the bucket: a blob store of files (storage/blobs.py) that may lose all it has.

Used by storage/s3/blobs.py. Nothing here is ever synced: what counts is the object. What lay here when the power went is thrown away, since
nobody knows what is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fancymail.storage.blobs import FileBlobs

BOOT = Path("/proc/sys/kernel/random/boot_id")


class CacheFiles(FileBlobs):
    """The contents that this node has at hand. `boot` is the file that names the running kernel."""

    def __init__(self, root: Path | str, boot: Path = BOOT) -> None:
        forget_before_boot(Path(root), boot, "blobs")
        super().__init__(root)

    def trust(self) -> None:
        """Forget what would have to be synced."""
        with self._lock:
            self._dirty.clear()
            self._written.clear()

    def unpinned(self, blobs: Iterable[bytes]) -> list[bytes]:
        """Those of the blobs that nobody is bringing in."""
        with self._lock:
            return [blob for blob in blobs if blob not in self._pins]

    def trim(self, octets: int) -> int:
        """Delete files until there are at most `octets`, first those that were read last longest ago; how many went."""
        found = []
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((max(status.st_atime, status.st_ctime), status.st_size, bytes.fromhex(path.name)))
        total, going = sum(size for _, size, _ in found), []
        for _, size, blob in sorted(found):
            if total <= octets:
                break
            total -= size
            going.append(blob)
        return self.discard(going)


def forget_before_boot(root: Path, boot: Path, what: str) -> None:
    """Delete copies of before a power cut. Only what we have marked as copies: anything else may be all that there is, and raises OSError."""
    root.mkdir(mode=0o770, parents=True, exist_ok=True)
    mark, now = root / "boot", boot.read_text().strip()
    if not mark.exists():
        if any(path.is_file() for path in root.rglob("*")):
            raise OSError(f"{root} holds {what} of a single machine, which are no copies: a node of a cluster wants a state folder of its own")
    elif mark.read_text() != now:
        for path in root.glob("*/*"):
            path.unlink()
    mark.write_text(now)


def has(files: FileBlobs, blob: bytes) -> bool:
    """Whether a content is at hand."""
    return os.path.exists(files.place(blob, 0).path)
