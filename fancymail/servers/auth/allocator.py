"""What the C library's allocator is told, where its habits do not suit a daemon.

Used by fm-auth. glibc keeps a freed block of up to 32 MiB for the next one that asks, in every thread; a password hash is a block of 19 MiB
that is wanted for milliseconds. Where there is no glibc nothing is told, and nothing is lost but memory.
"""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3


def give_back_from(octets: int) -> None:
    """Have blocks of this size and more given back to the system as soon as they are freed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, octets)
