"""The port of large contents: octets kept once by their SHA-256, shared by all recipients. tests/contracts/test_blobs.py holds all engines to it.

Small ones do not come here, they stay with their rows. Asked by core/stowage.py, core/mailboxes.py and fm-mailbox. `link` and `write` pin what
they bring in: a pinned blob survives `discard`; `release` it once the rows that name it are committed (or are not going to be). Calls may come
from a worker thread. It never decides what is garbage: rows do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol


class BadContent(Exception):
    """The content is not what its header or its announcement says; it is never delivered."""


class Blob(NamedTuple):
    """A content that is in the store, or a small one that is here whole."""

    hash: bytes                 # SHA-256, 32 octets
    length: int                 # octets
    octets: bytes | None = None     # of a small one: whoever keeps its row keeps them too; None: they are in the store


class Place(NamedTuple):
    """Where to read a content: `length` octets from `offset` of the file `path`."""

    path: str
    offset: int
    length: int


class Content(Protocol):
    """What an open slot offers (storage.slots.Slot does)."""

    content_length: int
    sha256: bytes | None        # None: nobody said yet what it should be

    def fileno(self) -> int: """The open file."""
    def chunks(self) -> Iterator[bytes]: """All octets, in pieces."""


class Incoming(Protocol):
    """A content that arrives in pieces."""

    def write(self, data: bytes) -> None: """The next octets; raises OSError."""
    def finish(self) -> Blob: """All is there: keep it, pinned; raises OSError."""
    def abort(self) -> None: """Forget it; harmless after finish."""


class BlobStore(Protocol):
    """Contents by hash."""

    parts: int                  # into how many parts `stale` divides the store

    def link(self, content: Content) -> tuple[Blob, bytes]:
        """Take the content of an open slot file, without copying it where it can be, after verifying its hash; pinned.

        Returns it with its first octets (the header section and more, at most 64 KiB). Raises BadContent, OSError."""
    def incoming(self) -> Incoming: """Begin to take a content."""
    def sync(self) -> None: """Make all that was linked or written durable, with one call for many; raises OSError, then nothing of it counts."""
    def release(self, blobs: Iterable[bytes]) -> None: """Unpin, once for each link or finish."""
    def place(self, blob: bytes, length: int) -> Place: """Where a content lies; the file is not touched."""

    def read(self, blob: bytes, length: int, chunk: int = 32768) -> Iterator[bytes]:
        """The content in chunks; while reading raises KeyError when it is not there, BadContent when it is too short."""

    def discard(self, blobs: Iterable[bytes]) -> int: """Unlink those that are not pinned; returns how many."""
    def stale(self, part: int, before: float) -> list[bytes]: """Blobs of one part that nobody linked or wrote since `before`."""
    def verify(self, blob: bytes) -> bool: """Read a blob whole and compare its hash; raises KeyError when it is not there."""
    def close(self) -> None: """Let go of what is open."""
