"""Cost per message against something that grows, on two or more servers: the rows, a table of ratios, and the figure."""

from __future__ import annotations

from bench.figures import Series, chart
from bench.result import Result, ratio
from bench.tables import number, table


def points(result: Result, server: str, fact: str, figure: str) -> list[tuple[float, float, float, float]]:
    """Return (value of the fact, median, lowest, highest) of a server's rows."""
    rows = sorted((row for row in result.rows if row.server == server and fact in row.facts), key=lambda row: row.facts[fact])
    return [(row.facts[fact], row.median(figure), min(each[figure] for each in row.rounds), max(each[figure] for each in row.rounds)) for row in rows]


def figure(result: Result, fact: str, title: str, across: str, up: str = "CPU us per message, all processes", measured: str = "cpu") -> str:
    """Return the SVG of a figure against a fact, a line for each server."""
    return chart(title, across, up, [Series(server, points(result, server, fact, measured)) for server in result.servers()])


def ratios(result: Result, fact: str, head: str, theirs: str, ours: str = "FancyMail") -> str:
    """Return a table: a line for each value of the fact, both servers' CPU time and rate, and the ratios."""
    rows = []
    for value in sorted({row.facts[fact] for row in result.rows}):
        other, own = (next(row for row in result.rows if row.server == name and row.facts[fact] == value) for name in (theirs, ours))
        rows.append([f"{value:,}", number(other.median("rate")), number(own.median("rate")), str(ratio(own, other, "rate")),
                     number(other.median("cpu")), number(own.median("cpu")), str(ratio(other, own, "cpu"))])
    return table([head, f"{theirs} /s", f"{ours} /s", "times (spread)", f"{theirs} CPU us", f"{ours} CPU us", "times (spread)"], rows)
