"""What was measured, as it is kept in bench/results/NAME.json, and the arithmetic on it: medians, and ratios of rounds taken in turn.

A row is one work on one server: `facts` are what was given (size, connections ...), each round is what came out (rate, cpu ...). The page
is made from these files alone.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import msgspec

RESULTS = Path(__file__).resolve().parent / "results"


class Row(msgspec.Struct, kw_only=True):
    """A work on a server."""

    work: str
    server: str
    facts: dict[str, int] = {}
    rounds: list[dict[str, float]]

    def median(self, figure: str) -> float:
        """Return the median of the rounds."""
        return statistics.median(each[figure] for each in self.rounds)


class Ratio(msgspec.Struct, frozen=True):
    """How many times, in the median of the rounds, and from where to where."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        form = "{:.1f}" if self.median < 20 else "{:.0f}"
        if form.format(self.low) == form.format(self.high):
            return form.format(self.median)
        return f"{form} ({form}-{form})".format(self.median, self.low, self.high)


class Result(msgspec.Struct, kw_only=True):
    """One part of the page."""

    part: str
    taken: str
    machine: dict[str, str]
    rows: list[Row]

    def row(self, work: str, server: str, **facts: int) -> Row:
        """Return the row of a work and a server with these facts. Raises LookupError."""
        for row in self.rows:
            if row.work == work and row.server == server and all(row.facts.get(name) == value for name, value in facts.items()):
                return row
        raise LookupError(f"{self.part}: nothing is known of {work} of {server} {facts or ''}")

    def servers(self) -> list[str]:
        """Return the servers in the order in which they were measured."""
        return list(dict.fromkeys(row.server for row in self.rows))


def ratio(above: Row, below: Row, figure: str) -> Ratio:
    """Return above / below, round by round: both ran in turn, so that each pair saw the same machine."""
    ratios = [one[figure] / other[figure] for one, other in zip(above.rounds, below.rounds) if other[figure]]
    if not ratios:
        return Ratio(0.0, 0.0, 0.0)
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def machine(versions: dict[str, str]) -> dict[str, str]:
    """Return what the figures depend on: the processors, the kernel, Python, what else ran, and the peers' packages."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = f"load {os.getloadavg()[0]:.1f} when it began"
    return {"processors": f"{os.cpu_count()} x {model}", "memory": f"{memory:.0f} GiB", "kernel": platform.release(),
            "python": f"{platform.python_implementation()} {platform.python_version()}", "load": load, **versions}


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def read(part: str, folder: Path = RESULTS) -> Result | None:
    """Return what was measured of a part, None when nothing was."""
    try:
        return msgspec.json.decode((folder / f"{part}.json").read_bytes(), type=Result)
    except FileNotFoundError:
        return None


def write(result: Result, folder: Path = RESULTS) -> None:
    """Keep a result; four significant digits are more than it is worth."""
    for row in result.rows:
        row.rounds = [{name: float(f"{value:.4g}") for name, value in each.items()} for each in row.rounds]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.part}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
