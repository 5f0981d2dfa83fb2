"""Who runs here: the process that holds the flock on run/supervisor.pid, or on a daemon's run/NAME.lock.

Used by `fancymail` and fmctl. A pid alone proves nothing, since the kernel gives it to others later; the lock
vanishes with its holder. The lock is inherited by a fork, so the supervisor's children close their copy.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


def take(path: Path) -> int | None:
    """Return the descriptor of the taken lock, or None when somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file; a file that is not there is held by nobody. Who may only read may ask."""
    try:
        with open(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def write(descriptor: int) -> None:
    """Write our pid into the locked file."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def holder(path: Path) -> int | None:
    """Return the pid of the supervisor that runs here, or None."""
    if not is_held(path):
        return None
    text = path.read_text().strip()
    return int(text) if text.isdecimal() else None


def wait_released(path: Path, seconds: float) -> bool:
    """Wait until nobody holds the lock; False when somebody still does after `seconds`."""
    deadline = time.monotonic() + seconds
    while (descriptor := take(path)) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    os.close(descriptor)
    return True
