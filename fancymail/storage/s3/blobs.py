"""Message contents in S3 (ports.blobs.BlobStore), with the files of this node as a cache in front.

Every content is an object `blobs/XX/HASH`, written before any row names it, and the same whoever writes it. What this node takes in or reads it
keeps as a file, too (storage/s3/cache.py), as long as there is room: fm-imap and fm-pop3 read these as ever, and they can be deleted at any
time. Used by fm-mailbox; `S3Contents` reads beside it, in fm-imap.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from fancymail.storage.blobs import IncomingBlob
from fancymail.storage.contents import Contents
from fancymail.storage.ports.blobs import BadContent, Blob, Content, Place
from fancymail.storage.ports.reader import Content as Wanted
from fancymail.storage.waiting import beside

from .cache import CacheFiles, has
from .objects import Objects

SENDERS = 8                     # objects that are sent at the same time
CHUNK = 256 << 10


def key_of(blob: bytes) -> str:
    """The object of a content."""
    name = blob.hex()
    return f"blobs/{name[:2]}/{name}"


class S3Blobs:
    """Contents by hash, for all nodes. `parts` are those of the bucket."""

    parts = 256

    def __init__(self, files: CacheFiles, objects: Objects, queues: Path | str | None = None) -> None:
        """queues: below this folder lie slots whose contents the queue has put into the bucket already."""
        self.files, self.objects, self.queues = files, objects, os.fspath(queues or "") and f"{os.path.abspath(queues)}/"
        self._lock = threading.Lock()
        self._unsent: dict[bytes, int] = {}
        self._senders = ThreadPoolExecutor(SENDERS, "s3")

    def link(self, content: Content) -> tuple[Blob, bytes]:
        """Take the content of an open slot: the file is linked into the cache, the object is written by `sync` unless the queue did so."""
        blob, head = self.files.link(content)
        if not (self.queues and getattr(content, "path", "").startswith(self.queues)):
            self._send_later(blob)
        return blob, head

    def incoming(self) -> IncomingObject:
        """Begin to take a content in pieces."""
        return IncomingObject(self, self.files.incoming())

    def sync(self) -> None:
        """Write the objects of all that came in, side by side; raises OSError, then nothing of it counts."""
        with self._lock:
            unsent, self._unsent = self._unsent, {}
        self.files.trust()
        beside(lambda: list(self._senders.map(self._send, unsent.items())))

    def release(self, blobs: Iterable[bytes]) -> None:
        """Unpin, once for each link or finish."""
        self.files.release(blobs)

    def place(self, blob: bytes, length: int) -> Place:
        """Where a content lies on this node; it is fetched if it does not."""
        place = self.files.place(blob, length)
        if not has(self.files, blob):
            try:
                beside(lambda: self._fetch(blob))
            except KeyError:
                pass                        # whoever opens the file finds out
        return place

    def read(self, blob: bytes, length: int, chunk: int = 32768) -> Iterator[bytes]:
        """The content in chunks; raises KeyError when there is none, BadContent when it is too short."""
        self.place(blob, length)
        yield from self.files.read(blob, length, chunk)

    def discard(self, blobs: Iterable[bytes]) -> int:
        """Remove objects that are not pinned here; rows have said that nobody needs them (storage/postgres/contents.py). How many were at hand."""
        blobs = self.files.unpinned(blobs)
        beside(lambda: self.objects.remove(map(key_of, blobs)))
        return self.files.discard(blobs)

    def stale(self, part: int, before: float) -> list[bytes]:
        """Contents of one part of the bucket that nobody wrote since `before`."""
        return [bytes.fromhex(key.rpartition("/")[2]) for key, written in self.objects.keys(f"blobs/{part:02x}") if written < before]

    def verify(self, blob: bytes) -> bool:
        """Read a blob whole, from the bucket unless it is on its way there, and compare its hash."""
        if blob in self._unsent:
            return self.files.verify(blob)
        return beside(lambda: self._hash(blob)) == blob

    def trim(self, octets: int) -> int:
        """Delete files of the cache until it has at most `octets`, those first that nobody touched for longest; how many."""
        return self.files.trim(octets)

    def close(self) -> None:
        """Let go of what is open."""
        self._senders.shutdown()
        self.files.close()

    def _send_later(self, blob: Blob) -> None:
        with self._lock:
            self._unsent[blob.hash] = blob.length

    def _send(self, item: tuple[bytes, int]) -> None:
        blob, length = item
        self.objects.put(key_of(blob), self.files.read(blob, length, CHUNK), length)

    def _fetch(self, blob: bytes) -> None:
        """Bring an object into the cache. Raises KeyError, BadContent, OSError."""
        incoming = self.files.incoming()
        try:
            for piece in self.objects.chunks(key_of(blob), CHUNK):
                incoming.write(piece)
            found = incoming.finish()
            self.files.release([found.hash])
            if found.hash != blob:
                raise BadContent(f"object {blob.hex()} is another content")
        finally:
            incoming.abort()

    def _hash(self, blob: bytes) -> bytes:
        running = sha256()
        for piece in self.objects.chunks(key_of(blob), CHUNK):
            running.update(piece)
        return running.digest()


class IncomingObject:
    """A content on its way in: a file first, an object with the next `sync`."""

    def __init__(self, store: S3Blobs, incoming: IncomingBlob) -> None:
        self._store, self._incoming = store, incoming

    def write(self, data: bytes) -> None:
        """The next octets."""
        self._incoming.write(data)

    def finish(self) -> Blob:
        """All is there: pinned; durable after the next sync."""
        blob = self._incoming.finish()
        self._store._send_later(blob)
        return blob

    def abort(self) -> None:
        """Forget it; harmless after finish."""
        self._incoming.abort()


class S3Contents:
    """Reading contents beside fm-mailbox: files of this node's cache, else parts of objects."""

    def __init__(self, root: Path | str, objects: Objects, threads: Executor | None = None) -> None:
        self.files, self.objects, self.threads = Contents(root), objects, threads

    async def octets(self, content: Wanted, start: int = 0, length: int | None = None) -> bytes:
        """Octets of a message: prefix, then the blob. Raises KeyError when it is nowhere, OSError."""
        try:
            return self.files.octets(content, start, length)
        except KeyError:
            return await asyncio.get_running_loop().run_in_executor(self.threads, self._part, content, start, length)

    def _part(self, content: Wanted, start: int, length: int | None) -> bytes:
        before = len(content.prefix)
        end = before + content.length if length is None else min(start + length, before + content.length)
        first = max(start - before, 0)
        return content.prefix[start:end] + self.objects.part(key_of(content.blob), first, max(end - before - first, 0))
