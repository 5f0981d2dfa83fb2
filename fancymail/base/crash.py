"""Named points on the durable path where a test may let the process die.

    FM_CRASH_AT=push.written:3 bin/fm-queue ...      dies with SIGKILL at the third visit of that point

Called by whoever makes something durable, between two steps that a crash may separate. Without FM_CRASH_AT in the
environment `crash_point` is an empty function. It never cleans up: that is what it is for.
"""

from __future__ import annotations

import os
import signal


def _parse(text: str) -> dict[str, int]:
    """Read "point:n,point:n" (n defaults to 1, the first visit)."""
    points = {}
    for item in filter(None, text.split(",")):
        name, _, count = item.partition(":")
        points[name] = int(count or 1)
    return points


def _make(points: dict[str, int]):
    if not points:
        return lambda name: None

    def visit(name: str) -> None:
        if name in points:
            points[name] -= 1
            if points[name] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    return visit


crash_point = _make(_parse(os.environ.get("FM_CRASH_AT", "")))
