"""Making files durable: one syncfs for many, or each by itself.

Used by whoever answers only when it is on the disk: fm-queue (storage/spool.py) and fm-smtpin. One syncfs makes a whole batch durable, names
and all, for the price of one file; when others' writes make it slow, it is left alone for a while. All of it blocks and runs in a worker
thread. A call that raised is never repeated for the same files: the kernel tells of a lost write once, and then says that all is well.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

SLOW = 0.050                # seconds of a syncfs from which others' writes are to blame
REST = 10.0                 # seconds for which syncfs is then left alone
FEW = 2                     # files that are not worth a thread
THREADS = 8
SYNCFS_REPORTS = (5, 8)     # the first Linux whose syncfs tells of failed writes

_libc = ctypes.CDLL(None, use_errno=True)


class Syncer:
    """Syncs on the filesystem of one open folder."""

    def __init__(self, folder: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._syncfs_from = 0.0 if _kernel() >= SYNCFS_REPORTS else float("inf")
        self._threads: ThreadPoolExecutor | None = None

    def everything(self) -> None:
        """Make all that was written durable, however long it takes. Raises OSError, but before Linux 5.8 not for what was lost earlier."""
        _syncfs(self._folder)

    def filesystem(self) -> bool:
        """Make all that was written durable; False when that should be done file by file at the moment. Raises OSError."""
        began = self._clock()
        if began < self._syncfs_from:
            return False
        self.everything()
        if self._clock() - began > SLOW:
            self._syncfs_from = self._clock() + REST
        return True

    def files(self, paths: Sequence[str], directory: int | None = None) -> None:
        """Make the contents of these files durable, not their names. One that is gone was settled meanwhile. Raises OSError."""
        if len(paths) <= FEW:
            for path in paths:
                _sync_file(path, directory)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "fdatasync")
        # Side by side they share commits of the filesystem's journal; list() raises what one of them raised.
        list(self._threads.map(lambda path: _sync_file(path, directory), paths))

    def close(self) -> None:
        """End the threads."""
        if self._threads:
            self._threads.shutdown()


def _syncfs(descriptor: int) -> None:
    if _libc.syncfs(descriptor):
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))


def _sync_file(path: str, directory: int | None = None) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)      # who writes slots may not read them
    except FileNotFoundError:
        return
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
