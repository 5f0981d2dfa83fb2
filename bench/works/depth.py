"""What the parts about full queues and mailboxes share: how full, the table of growth, the points of a curve."""

from __future__ import annotations

from bench.result import Result, ratio
from bench.tables import number, table
from bench.turns import Bench


def depths(bench: Bench) -> list[int]:
    """Return how full: up to a million."""
    return [1000, 10_000] if bench.quick else [1000, 10_000, 100_000, 1_000_000]


def curve(result: Result, verb: str) -> list[tuple[float, float, float, float]]:
    """Return the points of a verb: (depth, median, lowest, highest)."""
    return [(row.facts["depth"], row.median(verb), min(each[verb] for each in row.rounds), max(each[verb] for each in row.rounds))
            for row in sorted(result.rows, key=lambda row: row.facts["depth"])]


def growth(result: Result, most: float, leave: tuple[str, ...] = ()) -> str:
    """Return the table: milliseconds of each verb at each depth, how many times the deepest takes of the least, and the verdict."""
    rows = sorted(result.rows, key=lambda row: row.facts["depth"])
    lines = []
    for verb in rows[0].rounds[0]:
        if verb not in leave:
            times = ratio(rows[-1], rows[0], verb)
            lines.append([verb, *(number(row.median(verb)) for row in rows), str(times), "reached" if times.median <= most else "no"])
    return table(["verb, ms", *(f"{row.facts['depth']:,}" for row in rows), "grows (spread)", f"at most {most:g}"], lines)
