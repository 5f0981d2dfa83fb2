"""What the C library's allocator is told, where its habits do not suit a daemon.

glibc keeps what was freed for the next one that asks: whole blocks of up to 32 MiB, in every thread, and every page of its heap that lies below one
still in use. fm-auth has large blocks given back as they are freed, all daemons the pages of their heaps now and then. Where there is no glibc
nothing is told, and nothing is lost but memory.
"""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3

_LIBRARY = ctypes.CDLL(None)
_TRIM = getattr(_LIBRARY, "malloc_trim", None)


def give_back_from(octets: int) -> None:
    """Have blocks of this size and more given back to the system as soon as they are freed."""
    mallopt = getattr(_LIBRARY, "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, octets)


def give_back() -> None:
    """Give back whole pages of which nothing is in use, wherever they lie: some microseconds where there are none."""
    if _TRIM is not None:
        _TRIM(0)
