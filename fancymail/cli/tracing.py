"""`fmctl trace ID`: every daemon's events of one message, in order.

The id that smtpin gave a message stands in every log line about it; this reads STATE/log, rotated files included, text and
JSON lines alike, and asks fm-queue whether the message still waits. It changes nothing.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from fancymail.cli.doors import Tool, pass_tool
from fancymail.cli.terminal import printable

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{3,127}")
TEXT_LINE = re.compile(r"(?P<time>\S+Z) (?P<daemon>\S+) (?P<level>\S+) (?P<rest>.*)")
FACT = re.compile(r' ([a-z_][a-z0-9_]*)=("(?:[^"\\]|\\.)*"|\S*)')


def register(group: click.Group) -> None:
    """Add the command to fmctl."""
    group.add_command(trace)


@click.command()
@click.argument("id")
@pass_tool
def trace(tool: Tool, id: str) -> None:
    """Show what happened to a message, by the id that stands in its Received field and in the reply `250 ... queued as ID`."""
    if not ID.fullmatch(id):
        raise click.UsageError("an id is a word of letters and digits")
    events = sorted(find(log_files(tool.paths.log), id), key=lambda event: event["time"])
    if not events:
        raise click.ClickException(f"nothing is known of {id} in {tool.paths.log.parent}")
    rows = [(event["time"], event["daemon"], event["event"], _facts(event)) for event in events]
    tool.show("", ["time", "daemon", "event", "facts"], rows, events)


def log_files(log: Path) -> list[Path]:
    """Return the log and what was rotated away from it (.1, .2.gz, -20261121 ...), oldest first."""
    found = [path for path in log.parent.glob(f"{log.name}*") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def find(files: Iterable[Path], id: str) -> Iterator[dict]:
    """Yield each event whose line names the id, as {time, daemon, level, event, facts...}."""
    for file in files:
        with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if id in line and (event := read_line(line)) is not None and id in map(str, _ids(event)):
                    yield event


def _ids(event: dict) -> list:
    """The values of an event that may be ids: each word of each fact, but not of quoted text."""
    return [word for name, value in event.items() if name not in ("time", "event") for word in re.split(r"[,;/\s]", str(value))]


def read_line(line: str) -> dict | None:
    """Read one line of the log in either format; None when it is neither."""
    if line.startswith("{"):
        try:
            return json.loads(line)
        except ValueError:
            return None
    match = TEXT_LINE.match(line)
    if match is None:
        return None
    rest = " " + match["rest"]
    first = FACT.search(rest)
    facts = {name: _unquoted(value) for name, value in FACT.findall(rest)}
    event = rest[:first.start()] if first else rest
    return {"time": match["time"], "daemon": match["daemon"], "level": match["level"], "event": event.strip(), **facts}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r'\\(["\\])', r"\1", value[1:-1])


def _facts(event: dict) -> str:
    return " ".join(f"{name}={printable(value)}" for name, value in event.items() if name not in ("time", "daemon", "level", "event", "id"))
