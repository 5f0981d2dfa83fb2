"""The slot files of the queues on disk: STATE/queues/QUEUE/ID, dead/ID and corrupt/ID.

The engine behind storage/ports/spool.py, used by fm-queue only. All work is relative to descriptors of the folders, which are
opened once: nobody can put another folder or a link in the way. Files go round: that of a message that ended gets a new name and
is written over, and `prepare` makes more when they run short.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fancymail.base.crash import crash_point
from fancymail.mail.envelope import Envelope

from .ports.spool import SlotUnfit, Written
from .slots import EMPTIED, SHARED, Slot, SlotError, read_slot
from .sync import Syncer

ASIDE = ("dead", "corrupt")
PROVEN = ("ext4", "xfs")    # filesystems that the power-cut laboratory has been run on
FREE_LIMIT = 8192           # files kept
FREE_OCTETS = 128 << 20     # octets kept in all of them
FREE_SIZE = 4 << 20         # octets; larger files are not kept

_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8


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
        self._syncer = Syncer(self._root, clock)
        self._recycle = recycle
        self._free: dict[str, list[tuple[str, int]]] = {}       # by queue: (id, octets); the last is the warmest in the page cache
        self._retired: list[tuple[str, str, int]] = []          # (queue, id, octets): not before the next sync
        self._kept = self._kept_octets = 0
        self._changed: set[str] = set()         # folders with names that were made or taken away since the last sync
        self._entered: set[str] = set()         # those of them that files came into from another
        self._syncer.everything()       # what a killed process wrote and never synced: a repeated push may find it and say ok

    def add(self, queue: str) -> None:
        """Make and open the folder of a queue."""
        if queue not in self._folders:
            try:
                os.mkdir(queue, 0o770, dir_fd=self._root)
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

    def ready(self, queue: str) -> int:
        return len(self._free.get(queue, ()))

    def prepare(self, queue: str, count: int) -> None:
        made = [_random_id() for _ in range(count)]
        try:
            for id in made:
                _make(id, self._folders[queue])
            self._changed.add(queue)
            self.sync(())
        except OSError:
            for id in made:             # else each try on a full disk would leave some more
                self.remove(queue, id)
            raise
        self._free.setdefault(queue, [])[:0] = [(id, 0) for id in made]         # the used ones are warmer
        self._kept += count

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
            self._changed |= {place, target}
            self._entered.add(target)
            return True
        except FileNotFoundError:
            return False

    def remove(self, place: str, id: str) -> None:
        try:
            os.unlink(id, dir_fd=self._folders[place])
            self._changed.add(place)
        except FileNotFoundError:
            pass

    def retire(self, queue: str, id: str) -> None:
        # ext4 makes creating a file after an unlink 10 times dearer for minutes: files go round instead. Under its new name the file is no
        # slot any more, since a slot names itself. One whose content the blob store shares, or that is large, is not ours to overwrite.
        folder = self._folders[queue]
        if self._recycle and self._kept < FREE_LIMIT and self._kept_octets < FREE_OCTETS:
            try:
                status = os.stat(id, dir_fd=folder, follow_symlinks=False)
                if status.st_nlink == 1 and status.st_size <= FREE_SIZE and self._is_ours(status):
                    os.rename(id, new := _random_id(), src_dir_fd=folder, dst_dir_fd=folder)
                    self._changed.add(queue)
                    self._retired.append((queue, new, status.st_size))
                    self._kept += 1
                    self._kept_octets += status.st_size
                    return
            except FileNotFoundError:
                return
        self.remove(queue, id)

    def _is_ours(self, status: os.stat_result) -> bool:
        """Whether nobody else owns a file, and so could read the next message in it, nor was let in by its mode."""
        return status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) | 0o060 == SHARED

    def names(self, queue: str) -> Iterator[str]:
        kept = {id for id, _ in self._free.get(queue, ())} | {id for where, id, _ in self._retired if where == queue}
        with os.scandir(self._folders[queue]) as entries:
            for entry in entries:
                if entry.name not in kept:
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
        changed, self._changed = self._changed, set()
        entered, self._entered = self._entered, set()
        try:
            crash_point("queue.sync")
            if not self._syncer.filesystem():
                self._sync_each(list(slots), changed, entered)
            crash_point("queue.synced")
        except OSError:
            self._retired += retired
            self._changed |= changed
            self._entered |= entered
            raise
        # Only now may these be overwritten: their new names are durable, so no row can point at another's content.
        for queue, id, size in retired:
            self._free.setdefault(queue, []).append((id, size))

    def close(self) -> None:
        """Close the folders."""
        self._syncer.close()
        for descriptor in (self._root, *self._folders.values()):
            os.close(descriptor)
        self._folders.clear()

    def _sync_each(self, slots: list[tuple[str, str]], changed: set[str], entered: set[str]) -> None:
        # A file that moved has its new name first, and then its old one no more: in the other order a power cut in between takes both.
        for queue in sorted(changed | {queue for queue, _ in slots}, key=lambda queue: queue not in entered):
            self._syncer.files([id for where, id in slots if where == queue], self._folders[queue])
            os.fsync(self._folders[queue])
        if self._log:
            self._syncer.files([self._log])

    def _open(self, place: str, id: str, single: bool = False) -> Slot:
        try:
            slot = read_slot(id, directory=self._folders[place], single=single)
        except SlotError as error:
            raise SlotUnfit(str(error)) from error
        if slot.envelope is not None and slot.envelope.slot not in ("", id):
            slot.close()
            raise SlotUnfit("nothing was written into this slot since its file was reused")
        return slot


def _random_id() -> str:
    """26 characters of 5 random bits each."""
    return os.urandom(26).translate(_LETTERS).decode()


def _open_folder(path: str, parent: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _make(id: str, folder: int) -> None:
    """Make a file that is ready to be written, and no slot before that."""
    descriptor = os.open(id, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, SHARED, dir_fd=folder)
    try:
        os.write(descriptor, EMPTIED)
    finally:
        os.close(descriptor)
