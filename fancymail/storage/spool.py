"""The slot files of the queues on disk: STATE/queues/QUEUE/ID, dead/ID and corrupt/ID.

The engine behind storage/ports/spool.py, used by fm-queue only. All work is relative to descriptors of the folders, which are
opened once: nobody can put another folder or a link in the way. One syncfs makes a whole batch of slots, their names and the
index's log durable; when others' writes make that slow, each file is synced by itself for a while.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fancymail.base.crash import crash_point
from fancymail.mail.envelope import Envelope

from .ports.spool import SlotUnfit, Written
from .slots import EMPTIED, Slot, SlotError, read_slot

ASIDE = ("dead", "corrupt")
PROVEN = ("ext4", "xfs")    # filesystems that the power-cut laboratory has been run on
SLOW = 0.050                # seconds of a syncfs from which others' writes are to blame
SYNC_THREADS = 8
REST = 10.0                 # seconds for which syncfs is then left alone
SYNCFS_REPORTS = (5, 8)     # the first Linux whose syncfs tells of failed writes
FREE_LIMIT = 8192           # files kept
FREE_OCTETS = 128 << 20     # octets kept in all of them
FREE_SIZE = 64 << 10        # octets; larger files are not kept

_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8

_libc = ctypes.CDLL(None, use_errno=True)


class DiskSpool:
    """The folders below STATE/queues. `log` is the file of the index's log, synced where syncfs isn't used."""

    def __init__(self, folder: Path | str, queues: Iterable[str], log: Path | str | None = None, *, recycle: bool = True,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = os.path.abspath(folder)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._root = _open_folder(self.folder)
        self._folders: dict[str, int] = {}
        for name in (*queues, *ASIDE):
            self.add(name)
        self._log = os.fspath(log) if log else None
        self._clock = clock
        self._threads: ThreadPoolExecutor | None = None
        self._syncfs_from = 0.0 if _kernel() >= SYNCFS_REPORTS else float("inf")
        self._recycle = recycle
        self._free: dict[str, list[tuple[str, int]]] = {}       # by queue: (id, octets); the last is the warmest in the page cache
        self._retired: list[tuple[str, str, int]] = []          # (queue, id, octets): not before the next sync
        self._kept = self._kept_octets = 0
        _syncfs(self._root)     # what a killed process wrote and never synced: a repeated push may find it and say ok

    def add(self, queue: str) -> None:
        """Make and open the folder of a queue."""
        if queue not in self._folders:
            try:
                os.mkdir(queue, 0o700, dir_fd=self._root)
            except FileExistsError:
                pass
            self._folders[queue] = _open_folder(queue, self._root)

    def path(self, queue: str, id: str) -> str:
        return f"{self.folder}/{queue}/{id}"

    def new_id(self, queue: str, reuse: bool) -> str:
        if reuse and (free := self._free.get(queue)):
            id, size = free.pop()
            self._kept -= 1
            self._kept_octets -= size
            return id
        return _random_id()

    def examine(self, queue: str, id: str) -> Written:
        with self._open(queue, id, single=True) as slot:
            return Written(slot.content_length, slot.sha256, slot.envelope)

    def digest(self, queue: str, id: str) -> bytes:
        with self._open(queue, id) as slot:
            try:
                return slot.digest()
            except SlotError as error:
                raise SlotUnfit(str(error)) from error

    def whole(self, queue: str, id: str) -> Written:
        with self._open(queue, id) as slot:
            if slot.bare:
                raise SlotUnfit("nobody knows whom it is for")
            try:
                slot.verify()
            except SlotError as error:
                raise SlotUnfit(str(error)) from error
            return Written(slot.content_length, slot.sha256, slot.envelope)

    def envelope(self, place: str, id: str) -> Envelope | None:
        try:
            with self._open(place, id) as slot:
                return slot.envelope
        except (OSError, SlotUnfit):
            return None

    def find(self, queue: str, id: str) -> str:
        for place in (queue, *ASIDE):
            try:
                os.stat(id, dir_fd=self._folders[place], follow_symlinks=False)
                return place
            except FileNotFoundError:
                continue
        return ""

    def move(self, id: str, place: str, target: str) -> bool:
        try:
            os.rename(id, id, src_dir_fd=self._folders[place], dst_dir_fd=self._folders[target])
            return True
        except FileNotFoundError:
            return False

    def remove(self, place: str, id: str) -> None:
        try:
            os.unlink(id, dir_fd=self._folders[place])
        except FileNotFoundError:
            pass

    def retire(self, queue: str, id: str) -> None:
        # ext4 makes creating a file after an unlink 10 times dearer for minutes: files go round instead. One whose content
        # the blob store shares, or that is large, is not ours to overwrite.
        if self._recycle and self._kept < FREE_LIMIT and self._kept_octets < FREE_OCTETS:
            folder = self._folders[queue]
            try:
                status = os.stat(id, dir_fd=folder, follow_symlinks=False)
                if status.st_nlink == 1 and status.st_size <= FREE_SIZE and status.st_mode == stat.S_IFREG | 0o600:
                    os.rename(id, new := _random_id(), src_dir_fd=folder, dst_dir_fd=folder)
                    self._retired.append((queue, new, status.st_size))
                    self._kept += 1
                    self._kept_octets += status.st_size
                    return
            except FileNotFoundError:
                return
        self.remove(queue, id)

    def names(self, queue: str) -> Iterator[str]:
        with os.scandir(self._folders[queue]) as entries:
            for entry in entries:
                yield entry.name

    def room(self) -> tuple[int, int]:
        status = os.fstatvfs(self._root)
        # A filesystem that makes inodes as it goes says 0 of 0.
        return status.f_bavail * status.f_frsize, status.f_favail if status.f_files else 1 << 62

    def filesystem(self) -> str:
        """The kind of filesystem below the spool, as the kernel calls it; "" when it cannot be known."""
        device = os.fstat(self._root).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        try:
            with open("/proc/self/mountinfo") as mounts:        # proc(5): ... major:minor ... - type source options
                found = [line.partition(" - ")[2].split()[0] for line in mounts if line.split()[2] == wanted]
        except OSError:
            return ""
        return found[-1] if found else ""

    def sync(self, slots: Iterable[tuple[str, str]]) -> None:
        retired, self._retired = self._retired, []
        try:
            self._sync(list(slots))
        except OSError:
            self._retired += retired
            raise
        # Only now may these be overwritten: the end of their messages is durable, so no row can point at another's content.
        for queue, id, size in retired:
            if self._empty(queue, id):
                self._free.setdefault(queue, []).append((id, size))
            else:
                self.remove(queue, id)
                self._kept -= 1
                self._kept_octets -= size

    def close(self) -> None:
        """Close the folders."""
        if self._threads:
            self._threads.shutdown()
        for descriptor in (self._root, *self._folders.values()):
            os.close(descriptor)
        self._folders.clear()

    def _empty(self, queue: str, id: str) -> bool:
        """Mark a file so that it is no slot before it is written anew; False when that cannot be."""
        try:
            descriptor = os.open(id, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._folders[queue])
        except OSError:
            return False
        try:
            return os.fstat(descriptor).st_nlink == 1 and os.pwrite(descriptor, EMPTIED, 0) == len(EMPTIED)
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _sync(self, slots: list[tuple[str, str]]) -> None:
        crash_point("queue.sync")
        began = self._clock()
        if began >= self._syncfs_from:
            _syncfs(self._root)
            if self._clock() - began > SLOW:
                self._syncfs_from = self._clock() + REST
        else:
            self._sync_each(slots)
        crash_point("queue.synced")

    def _sync_each(self, slots: list[tuple[str, str]]) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(SYNC_THREADS, "fdatasync")
        # Side by side they share commits of the filesystem's journal; list() raises what one of them raised.
        list(self._threads.map(lambda slot: _sync_file(slot[1], self._folders[slot[0]]), slots))
        for queue in {queue for queue, _ in slots}:
            os.fsync(self._folders[queue])
        if self._log:
            _sync_file(self._log)

    def _open(self, place: str, id: str, single: bool = False) -> Slot:
        try:
            return read_slot(id, directory=self._folders[place], single=single)
        except SlotError as error:
            raise SlotUnfit(str(error)) from error


def _random_id() -> str:
    """26 characters of 5 random bits each."""
    return os.urandom(26).translate(_LETTERS).decode()


def _open_folder(path: str, parent: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _syncfs(descriptor: int) -> None:
    if _libc.syncfs(descriptor):
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))


def _sync_file(path: str, directory: int | None = None) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return              # settled meanwhile by whoever took it
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
