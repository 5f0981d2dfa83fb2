"""Line charts as SVG, logarithmic on both axes, in a few lines of our own: readable in a diff, and the same octets for the same figures."""

from __future__ import annotations

import math
from html import escape

import msgspec

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 150, 40, 52
COLOURS = ("#1b6ca8", "#c8553d", "#3d8361", "#8e6bbf", "#b08900", "#555555")


class Series(msgspec.Struct, frozen=True):
    """A line: its name, and points (x, y, lowest y, highest y)."""

    name: str
    points: list[tuple[float, float, float, float]]


def chart(title: str, across: str, up: str, series: list[Series]) -> str:
    """Return the SVG of the lines, with the spread of each point as a stroke."""
    points = [point for line in series for point in line.points]
    x = Axis(min(p[0] for p in points), max(p[0] for p in points), LEFT, WIDTH - RIGHT)
    y = Axis(min(p[2] for p in points), max(p[3] for p in points), HEIGHT - BOTTOM, TOP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', text(LEFT, 22, title, size=15)]
    parts += grid(x, y, sorted({p[0] for p in points}))
    parts += [text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, anchor="middle"),
              f'<g transform="rotate(-90 16 {HEIGHT / 2:.0f})">{text(16, HEIGHT / 2, up, anchor="middle")}</g>']
    for number, line in enumerate(series):
        parts += drawn(line, COLOURS[number % len(COLOURS)], x, y)
        parts += legend(line.name, COLOURS[number % len(COLOURS)], number)
    return "\n".join([*parts, "</svg>"]) + "\n"


class Axis:
    """A logarithmic scale from values to places."""

    def __init__(self, least: float, most: float, first: float, last: float) -> None:
        least = max(least, 1e-9)
        self.low, self.high = math.log10(least), math.log10(max(most, least * 1.01))
        margin = (self.high - self.low) * 0.05
        self.low, self.high, self.first, self.last = self.low - margin, self.high + margin, first, last

    def place(self, value: float) -> float:
        return self.first + (math.log10(max(value, 1e-9)) - self.low) / (self.high - self.low) * (self.last - self.first)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 of each power of ten in sight."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        return [step * 10.0 ** power for power in powers for step in (1, 2, 5) if self.low <= math.log10(step * 10.0 ** power) <= self.high]


def text(x: float, y: float, words: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}" fill="#222222">{escape(words)}</text>'


def short(value: float) -> str:
    """Return 1,000,000 as 1M, 2,000 as 2k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def grid(x: Axis, y: Axis, values: list[float]) -> list[str]:
    lines = []
    for value in y.ticks():
        lines.append(f'<line x1="{LEFT}" y1="{y.place(value):.1f}" x2="{WIDTH - RIGHT}" y2="{y.place(value):.1f}" stroke="#dddddd"/>')
        lines.append(text(LEFT - 8, y.place(value) + 4, short(value), anchor="end"))
    for value in values:
        lines.append(f'<line x1="{x.place(value):.1f}" y1="{TOP}" x2="{x.place(value):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#eeeeee"/>')
        lines.append(text(x.place(value), HEIGHT - BOTTOM + 18, short(value), anchor="middle"))
    return lines


def drawn(line: Series, colour: str, x: Axis, y: Axis) -> list[str]:
    path = " ".join(f"{x.place(p[0]):.1f},{y.place(p[1]):.1f}" for p in line.points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for across, middle, low, high in line.points:
        place = x.place(across)
        parts.append(f'<line x1="{place:.1f}" y1="{y.place(low):.1f}" x2="{place:.1f}" y2="{y.place(high):.1f}" stroke="{colour}"/>')
        parts.append(f'<circle cx="{place:.1f}" cy="{y.place(middle):.1f}" r="3" fill="{colour}"/>')
    return parts


def legend(name: str, colour: str, number: int) -> list[str]:
    x, y = WIDTH - RIGHT + 14, TOP + 14 + number * 20
    return [f'<line x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>', text(x + 24, y, name)]
