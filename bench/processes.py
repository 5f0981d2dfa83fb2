"""What a server costs: CPU seconds and memory of a process and everything below it, read from /proc.

CPU counts user and system time of all living descendants and of those that have died and were reaped, so that servers that fork for each
connection are counted fairly. Used by the other files of bench/.
"""

from __future__ import annotations

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_seconds(*roots: int) -> float:
    """Return user + system seconds of these processes, their descendants, and the reaped children of all of them."""
    total = 0
    for root in roots:
        for pid in tree(root):
            if fields := _stat(pid):
                total += sum(int(value) for value in fields[11:15])      # utime stime cutime cstime
    return total / TICK


def pss_mib(*roots: int) -> float:
    """Return the proportional set size of these processes and their descendants, in MiB."""
    total = 0
    for root in roots:
        for pid in tree(root):
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                continue
    return total / 1024


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on (index 0), or None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
