"""Where a content goes when it comes in: a small one stays with the row that names it, a large one becomes a blob.

Asked by whoever brings mail into mailboxes (delivery.py and verbs.py of servers/mailbox, core/journey.py). Octets of a small content are written by
the mailbox store in the transaction of its row, so it is durable with it and needs neither a file nor a sync of its own; a large one is linked
or written into the blob store first, and pinned there until its row is. It never decides what is garbage.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from fancymail.storage.ports.blobs import BadContent, Blob, BlobStore, Content, Incoming

SMALL = 48 << 10                # octets up to which a content is small: it fits into one frame of IPC together with its prefix


class Stowage:
    """In front of a blob store."""

    def __init__(self, blobs: BlobStore, small: int = SMALL) -> None:
        self.blobs, self.small = blobs, small

    def take(self, content: Content) -> tuple[Blob, bytes]:
        """Take what is in an open slot, after verifying its hash; with its first octets. Raises BadContent, SlotError, OSError."""
        if content.content_length > self.small:
            return self.blobs.link(content)
        octets = b"".join(content.chunks())
        digest = sha256(octets).digest()
        if content.sha256 is not None and digest != content.sha256:
            raise BadContent("content differs from its SHA-256")
        return Blob(digest, len(octets), octets), octets

    def keep(self, octets: bytes) -> Blob:
        """Take a content that is at hand."""
        parcel = self.open()
        try:
            parcel.write(octets)
            return parcel.finish()
        finally:
            parcel.abort()

    def open(self) -> Parcel:
        """Begin to take a content in pieces."""
        return Parcel(self.blobs, self.small)

    def sync(self) -> None:
        """Make the large ones durable, before any row names them; nothing is done when there were none."""
        self.blobs.sync()

    def release(self, blobs: Iterable[Blob]) -> None:
        """The rows are committed, or are not going to be."""
        self.blobs.release([blob.hash for blob in blobs if blob.octets is None])


class Parcel:
    """A content on its way in (ports.blobs.Incoming): in memory while it is small."""

    def __init__(self, blobs: BlobStore, small: int) -> None:
        self._blobs, self._small = blobs, small
        self._pieces: list[bytes] = []
        self._length = 0
        self._large: Incoming | None = None

    def write(self, data: bytes) -> None:
        """The next octets; raises OSError."""
        self._length += len(data)
        if self._large is None and self._length <= self._small:
            self._pieces.append(data)
            return
        if self._large is None:
            self._large = self._blobs.incoming()
            for piece in self._pieces:
                self._large.write(piece)
            self._pieces.clear()
        self._large.write(data)

    def finish(self) -> Blob:
        """All is there; raises OSError."""
        if self._large is not None:
            return self._large.finish()
        octets = b"".join(self._pieces)
        return Blob(sha256(octets).digest(), len(octets), octets)

    def abort(self) -> None:
        """Forget it; harmless after finish."""
        self._pieces.clear()
        if self._large is not None:
            self._large.abort()
