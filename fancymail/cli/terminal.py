"""How the tools speak to a terminal, and to a pipe: tables and colours for people, plain columns for everything else.

rich is asked only when the output is a terminal, so that scripts and tests read plain text. Used by fancymail and fmctl.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence

import click
import msgspec


class Commands(click.Group):
    """The commands of a tool. What the machine refuses (a file that may not be read, a process of somebody else's) ends it in one line."""

    def invoke(self, context: click.Context) -> object:
        """Run a command; raises ClickException instead of OSError."""
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise                               # click knows that nobody reads any more
        except OSError as error:
            raise click.ClickException(str(error)) from None


class Plain:
    """The few words of rich's Console that the tools use, for an output that is no terminal."""

    def __init__(self, out) -> None:
        self.out = out

    def print(self, text: object = "", **_: object) -> None:
        """Write one line."""
        self.out.write(f"{text}\n")
        self.out.flush()


def console(out=None):
    """Return rich's Console for a terminal, Plain for a file or pipe."""
    out = out or sys.stdout
    if not out.isatty():
        return Plain(out)
    from rich.console import Console
    return Console(file=out, highlight=False)


def table(screen, title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns; cells may come from strangers, so nothing in them steers the terminal."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if isinstance(screen, Plain):
        _plain_table(screen, title, heads, cells)
        return
    from rich.table import Table
    from rich.text import Text
    drawn = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False, show_header=any(heads))
    for head in heads:
        drawn.add_column(head, overflow="fold")
    for row in cells:
        drawn.add_row(*[Text(cell) for cell in row])
    screen.print(drawn)
    screen.print()


def _plain_table(screen: Plain, title: str, heads: Sequence[str], cells: list[list[str]]) -> None:
    if title:
        screen.print(title)
    widths = [max(map(_width, column)) for column in zip(heads, *cells)] if cells else [len(head) for head in heads]
    for row in [list(heads), *cells] if any(heads) else cells:
        screen.print("  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths)).rstrip())
    screen.print()


def _width(text: str) -> int:
    """Columns of a text: East Asian wide characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def printable(value: object) -> str:
    """Return a value as text of one line without control characters."""
    if value is None:
        return "-"
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, (bytes, bytearray)) else str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() if ord(char) < 0xD800 or ord(char) > 0xDFFF
                   else f"\\u{ord(char):04x}" for char in text)


def json_line(value: object) -> str:
    """Return a value as one line of JSON; octets that are no UTF-8 are escaped."""
    return msgspec.json.encode(_texts(value)).decode()


def _texts(value: object) -> object:
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {key: _texts(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_texts(item) for item in value]
    return value


def duration(seconds: float) -> str:
    """Return 75 as "1m15s", 90000 as "1d1h": two units are enough."""
    left, parts = int(seconds), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
        if len(parts) == 2:
            break
    return "".join(parts)


def octets(count: float) -> str:
    """Return 1536 as "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
