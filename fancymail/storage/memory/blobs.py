"""Message contents in memory: the blob store of tests and of the journey in one process. Same suite as the files (tests/contracts/test_blobs.py).

It never touches a disk; `place` gives a path that nobody can open.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256

from fancymail.storage.ports.blobs import BadContent, Blob, Content, Place

HEAD = 64 << 10


class MemoryBlobs:
    """The blob store of one process (ports.blobs.BlobStore)."""

    parts = 1

    def __init__(self) -> None:
        self._contents: dict[bytes, bytes] = {}
        self._born: dict[bytes, float] = {}
        self._pins: Counter[bytes] = Counter()

    def link(self, content: Content) -> tuple[Blob, bytes]:
        """Take the octets of an open slot after verifying its hash."""
        data = b"".join(content.chunks())
        if content.sha256 is not None and sha256(data).digest() != content.sha256:
            raise BadContent("content differs from its SHA-256")
        return self.keep(data), data[:HEAD]

    def incoming(self) -> IncomingOctets:
        """Begin to take a content in pieces."""
        return IncomingOctets(self)

    def keep(self, data: bytes) -> Blob:
        """Take a content whole, pinned."""
        digest = sha256(data).digest()
        self._contents[digest], self._born[digest] = data, time.time()
        self._pins[digest] += 1
        return Blob(digest, len(data))

    def sync(self) -> None:
        """Nothing is durable here."""

    def release(self, blobs: Iterable[bytes]) -> None:
        """Unpin, once for each link or finish."""
        for blob in blobs:
            self._pins[blob] -= 1
        self._pins = +self._pins

    def place(self, blob: bytes, length: int) -> Place:
        """A name that tells what it is."""
        return Place(f"memory:{blob.hex()}", 0, length)

    def read(self, blob: bytes, length: int, chunk: int = 32768) -> Iterator[bytes]:
        """The content in chunks; raises KeyError when there is no such blob."""
        data = self._contents[blob]
        if len(data) < length:
            raise BadContent(f"blob ends {length - len(data)} octets too early")
        for start in range(0, length, chunk):
            yield data[start:min(start + chunk, length)]

    def discard(self, blobs: Iterable[bytes]) -> int:
        """Forget those that are not pinned."""
        gone = [blob for blob in blobs if blob in self._contents and not self._pins[blob]]
        for blob in gone:
            del self._contents[blob], self._born[blob]
        return len(gone)

    def stale(self, part: int, before: float) -> list[bytes]:
        """Blobs that nobody wrote since `before`."""
        return [blob for blob, born in self._born.items() if born < before]

    def verify(self, blob: bytes) -> bool:
        """Compare a content with its name."""
        return sha256(self._contents[blob]).digest() == blob

    def close(self) -> None:
        """Nothing is open."""


class IncomingOctets:
    """A content on its way in."""

    def __init__(self, store: MemoryBlobs) -> None:
        self._store, self._pieces = store, []

    def write(self, data: bytes) -> None:
        """The next octets."""
        self._pieces.append(bytes(data))

    def finish(self) -> Blob:
        """All is there: keep it."""
        return self._store.keep(b"".join(self._pieces))

    def abort(self) -> None:
        """Forget it; harmless after finish."""
        self._pieces.clear()
