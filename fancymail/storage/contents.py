"""Reading message contents beside fm-mailbox: octets of a blob by its hash (storage/blobs.py writes them, and tells the layout).

Used by the readers of storage/sqlite/reader.py in whichever process. It opens for reading only, follows no symbolic link, and keeps nothing open.
"""

from __future__ import annotations

import os
from pathlib import Path

from fancymail.storage.ports.reader import Content
from fancymail.storage.slots import CONTENT_OFFSET


class Contents:
    """The contents below a folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = os.fspath(Path(root).absolute())

    def octets(self, content: Content, start: int = 0, length: int | None = None) -> bytes:
        """Octets of a message: prefix, then the blob. Raises KeyError when the blob is not there."""
        before = len(content.prefix)
        end = before + content.length if length is None else min(start + length, before + content.length)
        if start >= end:
            return b""
        head = content.prefix[start:end]
        if end <= before:
            return head
        first = max(start - before, 0)
        octets = self._read(content.blob, first, end - before - first)
        return head + octets if head else octets

    def _read(self, blob: bytes, start: int, length: int) -> bytes:
        name = blob.hex()
        try:
            descriptor = os.open(f"{self.root}/{name[:2]}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise KeyError(name) from None
        try:
            octets = os.pread(descriptor, length, CONTENT_OFFSET + start)
            while len(octets) < length:             # a read of 2 GiB and more comes in parts
                more = os.pread(descriptor, length - len(octets), CONTENT_OFFSET + start + len(octets))
                if not more:
                    raise KeyError(f"{name} ends too early")
                octets += more
            return octets
        finally:
            os.close(descriptor)
