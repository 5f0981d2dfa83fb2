"""Markdown tables from rows: two servers side by side, with ratios, targets, and whether they were reached."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from bench.result import Ratio, Result, ratio

OURS = "FancyMail"


class Line(msgspec.Struct, frozen=True):
    """A line of a comparison: what people read, which rows it is, and the targets (how many times better), 0 for none."""

    title: str
    work: str
    facts: dict[str, int] = {}
    cpu: float = 0.0
    rate: float = 0.0


def number(value: float) -> str:
    """Return a number with three significant digits, or whole ones with commas."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table."""
    head = list(head)
    lines = ["| " + " | ".join(line) + " |" for line in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def comparison(result: Result, lines: Iterable[Line], theirs: str, unit: str = "messages") -> str:
    """Return the table of works that both servers did: rates and CPU times, and how many times better ours is."""
    rows = []
    for line in lines:
        other, own = result.row(line.work, theirs, **line.facts), result.row(line.work, OURS, **line.facts)
        rate, cpu = ratio(own, other, "rate"), ratio(other, own, "cpu")
        rows.append([line.title, number(other.median("rate")), number(own.median("rate")), str(rate),
                     number(other.median("cpu")), number(own.median("cpu")), str(cpu), verdict(line, rate, cpu)])
    return table(["work", f"{theirs} {unit}/s", f"{OURS} {unit}/s", "times (spread)", f"{theirs} CPU us", f"{OURS} CPU us", "times (spread)",
                  "target"], rows)


def verdict(line: Line, rate: Ratio, cpu: Ratio) -> str:
    """Return the target and whether it was reached: `8 in CPU: no`."""
    words = [f"{wanted:g} in {name}: {'reached' if got.median >= wanted else 'no'}"
             for name, wanted, got in (("CPU", line.cpu, cpu), ("rate", line.rate, rate)) if wanted]
    return "; ".join(words)


def reached(value: float, most: float) -> str:
    """Return the verdict on a figure that has to stay below a bound."""
    return "reached" if value <= most else "no"
