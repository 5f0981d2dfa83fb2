"""Message contents as files, each once, named by its SHA-256: ROOT/XX/HASH.

A blob is a slot file (storage/slots.py): content at offset 64. Local delivery gives the slot a second name here; what comes otherwise is
written in the same format, so every blob reads alike. Used by fm-mailbox only; other programs get a Place and read.
It never follows a symbolic link, never changes a file that has its name, and never decides what is garbage: rows do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from fancymail.mail.envelope import Envelope
from fancymail.storage.ports.blobs import BadContent, Blob, Content, Place
from fancymail.storage.slots import CONTENT_OFFSET, SlotError, SlotWriter, read_slot

HEAD = 64 << 10                         # octets of a content that `link` hands back
FEW = 2                                 # directories that are synced one by one
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOENT}      # another filesystem, forbidden, too many names, no /proc: copy
_libc = ctypes.CDLL(None, use_errno=True)
# Before Linux 5.8 syncfs did not tell of writes that failed; a blob's own octets were synced before it came here, its name was not.
_SYNCFS = hasattr(_libc, "syncfs") and tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) >= (5, 8)


class FileBlobs:
    """The blob store of one installation (ports.blobs.BlobStore)."""

    parts = 256

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()           # readers elsewhere are told the path
        self._lock = threading.Lock()
        self._pins: dict[bytes, int] = {}
        self._dirty: set[str] = set()           # directories with names that are not durable yet
        self._written: dict[str, bool] = {}     # files that are not durable yet; False: it had its name before, somebody may rely on it
        self._prepare()
        self._descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)

    def link(self, content: Content) -> tuple[Blob, bytes]:
        """Take the content of an open slot by giving its file one more name, after verifying its hash."""
        digest, head = _digest(content)
        blob = Blob(digest, content.content_length)
        if content.sha256 is None or not self._linked(content.fileno(), blob):
            blob = self._copied(content)            # read once more: what is kept now is what counts
        if content.sha256 not in (None, blob.hash):
            self.release((blob.hash,))
            raise BadContent("content differs from its SHA-256")
        return blob, head

    def incoming(self) -> IncomingBlob:
        """Begin to take a content in pieces."""
        return IncomingBlob(self)

    def sync(self) -> None:
        """Make all that came in durable: one syncfs for a batch, whatever number of directories it fell into.

        The files have their names already, so on a journalling filesystem the first fsync settles most of the others. A file that cannot
        be synced loses its name: nobody knows what is in it.
        """
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            written, self._written = self._written, {}
        try:
            if len(dirty) > FEW and _SYNCFS:
                _sync_filesystem(self._descriptor)
            else:
                for path in (*written, *dirty):
                    _sync(path)
        except OSError:
            for path in (path for path, fresh in written.items() if fresh):
                with suppress(FileNotFoundError):
                    os.unlink(path)
            with self._lock:
                self._dirty |= dirty
            raise

    def release(self, blobs: Iterable[bytes]) -> None:
        """Unpin, once for each link or finish."""
        with self._lock:
            for blob in blobs:
                left = self._pins[blob] - 1
                if left:
                    self._pins[blob] = left
                else:
                    del self._pins[blob]

    def place(self, blob: bytes, length: int) -> Place:
        """Where a content lies."""
        return Place(self._path(blob), CONTENT_OFFSET, length)

    def read(self, blob: bytes, length: int, chunk: int = 32768) -> Iterator[bytes]:
        """The content in chunks; raises KeyError when there is no such blob, BadContent when it is shorter than it should be."""
        descriptor = self._open(blob)
        try:
            offset, end = CONTENT_OFFSET, CONTENT_OFFSET + length
            while offset < end:
                data = os.pread(descriptor, min(chunk, end - offset), offset)
                if not data:
                    raise BadContent(f"blob ends {end - offset} octets too early")
                offset += len(data)
                yield data
        finally:
            os.close(descriptor)

    def discard(self, blobs: Iterable[bytes]) -> int:
        """Unlink those that are not pinned. Their absence need not be durable: what comes back is found again as stale."""
        gone = 0
        with self._lock:
            for blob in blobs:
                if blob not in self._pins:
                    try:
                        os.unlink(self._path(blob))
                        gone += 1
                    except FileNotFoundError:
                        pass
        return gone

    def stale(self, part: int, before: float) -> list[bytes]:
        """Blobs of one directory whose last change (of content or names) is older than `before`."""
        found = []
        with os.scandir(self.root / f"{part:02x}") as entries:
            for entry in entries:
                if len(entry.name) == 64 and entry.stat(follow_symlinks=False).st_ctime < before:
                    found.append(bytes.fromhex(entry.name))
        return found

    def verify(self, blob: bytes) -> bool:
        """Read a blob whole and compare its hash with its name."""
        try:
            with read_slot(self._path(blob)) as content:
                return not content.bare and content.digest() == blob
        except FileNotFoundError:
            raise KeyError(blob.hex()) from None
        except SlotError:
            return False

    def _prepare(self) -> None:
        for directory in (self.root, self.root / "tmp", *(self.root / f"{part:02x}" for part in range(self.parts))):
            directory.mkdir(mode=0o770, parents=True, exist_ok=True)       # less the umask
        for leftover in (self.root / "tmp").iterdir():      # of a process that ended while it wrote
            leftover.unlink()
        _sync(self.root)
        _sync(self.root.parent)

    def _path(self, blob: bytes) -> str:
        name = blob.hex()
        return f"{self.root}/{name[:2]}/{name}"

    def _pin(self, blob: bytes) -> None:
        with self._lock:
            self._pins[blob] = self._pins.get(blob, 0) + 1

    def _mark(self, blob: bytes, written: bool) -> None:
        """After naming, never before: a sync in between would take the mark away. written: whether the octets are new, too."""
        with self._lock:
            self._dirty.add(f"{self.root}/{blob[0]:02x}")
            path = self._path(blob)
            self._written[path] = written or self._written.get(path, False)

    def _linked(self, descriptor: int, blob: Blob) -> bool:
        """Pin a blob and give an open file its name. False: it must be copied."""
        self._pin(blob.hash)
        try:
            fresh = not _whole(self._path(blob.hash), blob)
            if named := self._name(descriptor, blob):
                self._mark(blob.hash, written=fresh)        # the queue's slots are synced already, but not what APPEND brings
            else:
                self.release((blob.hash,))
            return named
        except BaseException:
            self.release((blob.hash,))
            raise

    def _name(self, descriptor: int, blob: Blob) -> bool:
        """Give an open file its name here, unless a whole blob has it already. False: it must be copied."""
        path = self._path(blob.hash)
        try:
            # By descriptor: the file that was verified gets the name, whatever its path means by now. (src_dir_fd has no
            # meaning for an absolute path; it makes Python call linkat(2), the only one that follows /proc's link.)
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
        except FileExistsError:
            return _whole(path, blob)
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        # From now on the file has two names and nobody uses it again for something else; it may have been a moment ago.
        if os.pread(descriptor, CONTENT_OFFSET, 0)[-32:] != blob.hash:
            os.unlink(path)
            raise BadContent("content differs from its SHA-256, or the slot was used for another message meanwhile")
        return True

    def _copied(self, content: Content) -> Blob:
        """Pinned, as it is read now."""
        writer = IncomingBlob(self)
        try:
            for chunk in content.chunks():
                writer.write(chunk)
            return writer.finish()
        finally:
            writer.abort()

    def _open(self, blob: bytes) -> int:
        try:
            return os.open(self._path(blob), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise KeyError(blob.hex()) from None


class IncomingBlob:
    """A content on its way in: written beside the blobs, then named."""

    def __init__(self, store: FileBlobs) -> None:
        self._store = store
        self._path = f"{store.root}/tmp/{secrets.token_hex(16)}"
        self._writer: SlotWriter | None = SlotWriter(self._path)

    def write(self, data: bytes) -> None:
        """The next octets."""
        self._writer.write(data)

    def finish(self) -> Blob:
        """All is there: name it and pin it; it is durable after the next sync."""
        blob = self._kept_as()
        self._store._pin(blob.hash)
        try:
            self._settle(blob)
        except BaseException:
            self._store.release((blob.hash,))
            raise
        return blob

    def abort(self) -> None:
        """Forget it; harmless after finish."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass

    def _kept_as(self) -> Blob:
        info = self._writer.finish(Envelope(id="", sender=""))
        self._writer = None
        return Blob(info.sha256, info.content_length)

    def _settle(self, blob: Blob) -> None:
        path = self._store._path(blob.hash)
        there = _whole(path, blob)
        if there:
            os.unlink(self._path)
        else:
            os.rename(self._path, path)
        self._store._mark(blob.hash, written=not there)


def _digest(content: Content) -> tuple[bytes, bytes]:
    """SHA-256 of all octets, and the first of them."""
    running, head = sha256(), b""
    try:
        for chunk in content.chunks():
            head = head or chunk[:HEAD]
            running.update(chunk)
    except SlotError as error:
        raise BadContent(str(error)) from None
    return running.digest(), head


def _whole(path: str, blob: Blob) -> bool:
    """Whether the file has the length of a blob: a power cut may have left less under the name."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > CONTENT_OFFSET + blob.length


def _sync(path: Path | str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_filesystem(descriptor: int) -> None:
    if _libc.syncfs(descriptor):
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
