"""The slot file: one message with its envelope, written once, read by anyone who was given its path.

    header (64 octets) | content | envelope (JSON) | END record (36 octets) | garbage that nobody reads

    header: magic "FMSLOT1\\n", content length u64, envelope length u64, flags u64, SHA-256 of the content; little-endian
    END:    "END\\n" and the SHA-256 of header and envelope

Written by whoever got a path from the queue's `slot`, read by the queue, mailbox and smtpout. The envelope names the file, so that an old
message in a reused file is no message under its new name. A file without the header is a *bare* slot: all of it is content, its length
and hash live in the queue's index. Nothing here syncs.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from fancymail.mail.envelope import Envelope

MAGIC = b"FMSLOT1\n"
EMPTIED = b"FMSLOT0\n"                  # begins a file that was made to be handed out and not written yet
HEADER = struct.Struct("<8sQQQ32s")
CONTENT_OFFSET = HEADER.size            # 64: fixed, so that local delivery is a link and a reader needs no table
END = b"END\n"
END_SIZE = len(END) + 32
ENVELOPE_LIMIT = 64 << 20               # octets; far above any envelope, far below what hurts
SPILL = 256 << 10                       # octets of content kept in memory before the first write
CHUNK = 256 << 10                       # octets per read of chunks()
AT_ONCE = 32 << 10                      # octets of the first read: a slot that ends within them is read by one system call
SHARED = 0o660                          # less what the umask takes: all that a folder's access list can give to other daemons' users
SLOT_ID = re.compile(r"[a-z2-7]{26}\Z")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


class SlotError(Exception):
    """The file is not a whole, proper slot; the message is the precise reason."""


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """What a finished slot holds: content length in octets, its SHA-256, and the octets of the whole file."""

    content_length: int
    sha256: bytes
    file_length: int


def is_slot_id(text: str) -> bool:
    """Whether `text` is an id as the queue hands them out."""
    return SLOT_ID.match(text) is not None


class SlotWriter:
    """Writes one slot: `write` the content in any pieces, then `finish` with the envelope, or `abort`.

    A message up to 256 KiB costs one open, one write and one close. `ready`: the file is there already (fm-queue made it), and is
    opened when there is something to write. Raises OSError for what the disk refuses (ENOSPC, EIO), SlotError when the path is not a
    plain file of one name.
    """

    __slots__ = ("path", "content_length", "_descriptor", "_hash", "_buffer", "_buffered", "_spilled")

    def __init__(self, path: str | os.PathLike, ready: bool = False) -> None:
        self.path = os.fspath(path)
        self.content_length = 0
        self._descriptor = -1
        self._hash = sha256()
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._spilled = False
        if not ready:
            self._open(os.O_CREAT)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append content. The octets are taken over at once: the caller may reuse its buffer."""
        self._hash.update(data)
        self.content_length += len(data)
        self._buffer.append(data if type(data) is bytes else bytes(data))
        self._buffered += len(data)
        if self._buffered > SPILL:
            self._spill()

    def finish(self, envelope: Envelope) -> SlotInfo:
        """Write envelope, END record and header, close, and tell what the slot holds. Not synced: who promises anything does that."""
        envelope.slot = self.path.rpartition("/")[2]
        digest = self._hash.digest()
        body = _encode(envelope)
        header = HEADER.pack(MAGIC, self.content_length, len(body), 0, digest)
        end = END + sha256(header + body).digest()
        try:
            if self._spilled:
                self._append([*self._buffer, body, end])
                _write_all(self._descriptor, header, 0)     # last: a slot whose writer died has no header
                require_plain(os.fstat(self._descriptor), self.path, single=True)       # it took long: nobody may have removed it meanwhile
            else:
                if self._descriptor < 0:
                    self._open(0)
                _write_all(self._descriptor, b"".join((header, *self._buffer, body, end)), 0)
        except (OSError, SlotError):
            self.abort()
            raise
        self._close()
        return SlotInfo(self.content_length, digest, CONTENT_OFFSET + self.content_length + len(body) + END_SIZE)

    def abort(self) -> None:
        """Give the slot up: whatever was written stays garbage without a header, which `push` refuses."""
        if self._descriptor >= 0:
            try:
                os.ftruncate(self._descriptor, 0)
            except OSError:
                pass                    # garbage without END is refused just the same
            self._close()

    def _open(self, create: int) -> None:
        flags = os.O_WRONLY | create | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._descriptor = os.open(self.path, flags, SHARED)
        except OSError as error:
            raise _refused(self.path, error) from error
        try:
            require_plain(os.fstat(self._descriptor), self.path, single=True)
        except SlotError:
            self._close()
            raise

    def _spill(self) -> None:
        try:
            if not self._spilled:
                if self._descriptor < 0:
                    self._open(0)
                # A reused file may carry an old header: it must not be valid while the new content is under way.
                _write_all(self._descriptor, bytes(CONTENT_OFFSET), 0)
                os.lseek(self._descriptor, CONTENT_OFFSET, os.SEEK_SET)
                self._spilled = True
            self._append(self._buffer)
        except OSError:
            self.abort()
            raise
        self._buffer.clear()
        self._buffered = 0

    def _append(self, pieces: list[bytes]) -> None:
        data = memoryview(b"".join(pieces))
        while data:
            data = data[os.write(self._descriptor, data):]

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        self._close()


class Slot:
    """A whole slot that was checked when it was opened. Use as a context manager or call close().

    envelope is None for a bare slot. Content is at content_offset (64; 0 when bare), content_length octets, `sha256` is what
    the header says (None when bare); `verify` reads everything and compares. A small slot is read whole as it is opened.
    """

    __slots__ = ("path", "envelope", "content_offset", "content_length", "sha256", "links", "inode", "_descriptor", "_whole")

    def __init__(self, path: str, descriptor: int, status: os.stat_result) -> None:
        self.path, self._descriptor = path, descriptor      # the descriptor is ours from here on, also when a check raises
        self.links, self.inode = status.st_nlink, status.st_ino
        self.envelope, self.sha256 = None, None
        self.content_offset, self.content_length = 0, status.st_size
        self._whole = b""
        try:
            head = os.pread(descriptor, min(status.st_size, AT_ONCE), 0)
            if head[:len(MAGIC)] == MAGIC:
                self._read_header(head, status.st_size)
            elif head[:len(EMPTIED)] == EMPTIED:
                raise SlotError("nothing was written into this slot")
        except BaseException:
            self.close()
            raise

    @property
    def bare(self) -> bool:
        return self.envelope is None

    def fileno(self) -> int:
        return self._descriptor

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Content from `offset` on, up to `length` octets; short only at the end of the content."""
        length = min(self.content_length - offset if length is None else length, self.content_length - offset)
        if length <= 0:
            return b""
        if self._whole:
            return self._whole[CONTENT_OFFSET + offset:CONTENT_OFFSET + offset + length]
        return _read_all(self._descriptor, length, self.content_offset + offset)

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The content in pieces of `size` octets. Raises SlotError when the file became shorter."""
        offset = 0
        while offset < self.content_length:
            piece = self.read(offset, size)
            if not piece:
                raise SlotError(f"content ends after {offset} of {self.content_length} octets")
            offset += len(piece)
            yield piece

    def digest(self) -> bytes:
        """SHA-256 of the content as it stands in the file now."""
        running = sha256()
        for piece in self.chunks():
            running.update(piece)
        return running.digest()

    def verify(self) -> None:
        """Read all content and compare with the header's hash. Raises SlotError; a bare slot has nothing to compare with."""
        if self.sha256 is not None and self.digest() != self.sha256:
            raise SlotError("content differs from its SHA-256")

    def close(self) -> None:
        self._whole = b""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()

    def _read_header(self, start: bytes, file_length: int) -> None:
        head = start[:CONTENT_OFFSET]
        if len(head) < CONTENT_OFFSET:
            raise SlotError(f"header is cut off: {len(head)} of {CONTENT_OFFSET} octets")
        _, content_length, envelope_length, flags, digest = HEADER.unpack(head)
        if flags:
            raise SlotError(f"unknown flags {flags:#x}: written by a newer program")
        if envelope_length > ENVELOPE_LIMIT:
            raise SlotError(f"envelope of {envelope_length} octets is over the limit of {ENVELOPE_LIMIT}")
        wanted = CONTENT_OFFSET + content_length + envelope_length + END_SIZE
        if file_length < wanted:
            raise SlotError(f"file is cut off: {file_length} of {wanted} octets")
        whole = len(start) >= wanted
        envelope_offset = CONTENT_OFFSET + content_length
        tail = start[envelope_offset:wanted] if whole else _read_all(self._descriptor, envelope_length + END_SIZE, envelope_offset)
        body, end = tail[:envelope_length], tail[envelope_length:]
        if end[:len(END)] != END:
            raise SlotError("END record is missing")
        if end[len(END):] != sha256(head + body).digest():
            raise SlotError("header and envelope differ from the hash in the END record")
        try:
            self.envelope = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SlotError(f"envelope is not readable: {error}") from error
        self.content_offset, self.content_length, self.sha256 = CONTENT_OFFSET, content_length, digest
        self._whole = start if whole else b""


def write_slot(path: str | os.PathLike, envelope: Envelope, content_chunks: bytes | Iterable[bytes]) -> SlotInfo:
    """Write a whole slot from content in one piece or many."""
    writer = SlotWriter(path)
    try:
        for chunk in ((content_chunks,) if isinstance(content_chunks, (bytes, bytearray)) else content_chunks):
            writer.write(chunk)
        return writer.finish(envelope)
    except BaseException:
        writer.abort()
        raise


def read_slot(path: str | os.PathLike, *, directory: int | None = None, single: bool = False) -> Slot:
    """Open and check a slot: header, lengths, envelope, END record (not the content's hash: `verify` does that).

    directory: a directory descriptor that `path` is relative to. single: refuse a file of several names. Raises SlotError for
    what isn't a proper slot, FileNotFoundError when there is none.
    """
    path = os.fspath(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refused(path, error) from error
    try:
        status = os.fstat(descriptor)
        require_plain(status, path, single)
    except BaseException:
        os.close(descriptor)
        raise
    return Slot(path, descriptor, status)


def require_plain(status: os.stat_result, path: str, single: bool = False) -> None:
    """Raise SlotError unless the file is a regular one (and, with `single`, has just one name)."""
    if not stat.S_ISREG(status.st_mode):
        raise SlotError(f"{Path(path).name}: not a regular file")
    if single and status.st_nlink != 1:
        raise SlotError(f"{Path(path).name}: has {status.st_nlink} names, must have one")


def _refused(path: str, error: OSError) -> SlotError | OSError:
    """ELOOP (a symbolic link), EISDIR, ENXIO (a socket or FIFO) are the file's fault; the rest is the disk's."""
    reasons = {errno.ELOOP: "is a symbolic link", errno.EISDIR: "is a directory", errno.ENXIO: "is not a regular file"}
    return SlotError(f"{Path(path).name}: {reasons[error.errno]}") if error.errno in reasons else error


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _read_all(descriptor: int, length: int, offset: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    if len(data) == length or not data:
        return data
    pieces, have = [data], len(data)
    while have < length and (data := os.pread(descriptor, length - have, offset + have)):
        pieces.append(data)
        have += len(data)
    return b"".join(pieces)
