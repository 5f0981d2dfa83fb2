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
                total += ticks(fields)
    return total / TICK


def pss_mib(*roots: int) -> float:
    """Return the proportional set size of these processes and their descendants, in MiB."""
    return sum(pss_kib(pid) for root in roots for pid in tree(root)) / 1024


def pss_by_process(root: int) -> dict[str, float]:
    """Return name -> MiB of PSS of a process and its descendants; two of one name are added up."""
    found: dict[str, float] = {}
    for pid in tree(root):
        if (kib := pss_kib(pid)) and (name := _name(pid)):
            found[name] = found.get(name, 0.0) + kib / 1024
    return found


def pss_kib(pid: int) -> int:
    """Return the PSS of one process, 0 when it is gone."""
    try:
        return parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0


def parse_pss(rollup: str) -> int:
    """Return the KiB of the line `Pss:` of a smaps_rollup."""
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)


def parse_stat(text: str) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (index 0). The name before them may hold blanks and brackets."""
    return text.rpartition(")")[2].split()


def ticks(fields: list[str]) -> int:
    """Return user and system time of a process and of its reaped children, in clock ticks."""
    return sum(int(value) for value in fields[11:15])      # utime stime cutime cstime


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return None
