"""The clock that ages are counted on where a wrong date must change nothing; used by fm-queue and fm-smtpin for slots that nobody wrote into."""

from __future__ import annotations

import time


def boot_clock() -> float:
    """Seconds since the machine started, those that it slept included; the same for all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
