"""`fmctl queue`: look at what waits, hold, release, retry and drop it.

Messages are chosen by id, by conditions that must all be true, or by --all; without --queue every queue is meant. All the work
is done by fm-queue's verbs; here are only options and tables.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import click

from fancymail.cli.doors import Tool, failure, pass_tool
from fancymail.cli.terminal import duration, octets
from fancymail.ipc.message import IpcError

STATES = ("ready", "leased", "deferred", "held", "dead", "corrupt")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
NOT_THERE = "5.5.0"
HEADS = ["id", "queue", "state", "size", "age", "attempts", "next", "sender", "recipients", "reason"]
FIELDS = ("id", "state", "size", "sender", "recipients", "attempts", "pushed", "due", "reason")      # of a `message` row


def register(group: click.Group) -> None:
    """Add the commands to fmctl."""
    group.add_command(queue)


@click.group()
def queue() -> None:
    """Look at the queues and change what waits in them."""


class Age(click.ParamType):
    """A duration: 90, 15m, 2h, 3d; gives seconds."""

    name = "duration"

    def convert(self, value, parameter, context) -> int:
        match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is no duration: 90, 15m, 2h, 3d", parameter, context)
        return int(match[1]) * UNITS[match[2]]


def choosing(command: Callable) -> Callable:
    """Give a command the options that choose messages."""
    for option in reversed((
            click.argument("ids", nargs=-1),
            click.option("--queue", "queue_name", metavar="NAME", help="In this queue only."),
            click.option("--state", "state", type=click.Choice(STATES), help="Messages in this state."),
            click.option("--sender", metavar="PATTERN", help="From this address; `*` stands for anything."),
            click.option("--recipient", metavar="PATTERN", help="With such a recipient."),
            click.option("--older", type=Age(), metavar="AGE", help="Queued longer ago than this (90, 15m, 2h, 3d)."),
            click.option("--younger", type=Age(), metavar="AGE", help="Queued later than this."),
            click.option("--larger", type=click.IntRange(0), metavar="OCTETS", help="Larger than this."))):
        command = option(command)
    return command


def words(choice: dict) -> list[str]:
    """Return the words by which fm-queue knows which messages are meant."""
    names = ("state", "sender", "recipient", "older", "younger", "larger")
    conditions = [f"{name}={choice[name]}" for name in names if choice.get(name) is not None]
    if choice["ids"] and conditions:
        raise click.UsageError("give either ids or conditions")
    return [*choice["ids"], *conditions]


def names(tool: Tool, chosen: str | None) -> list[str]:
    """Return the queue that was named, or all there are."""
    return [chosen] if chosen else [row.text(0) for row in tool.rows("queue", "queues")]


@queue.command("totals")
@pass_tool
def totals(tool: Tool) -> None:
    """Count the messages of each queue by state."""
    rows = [[row.text(0), *(int(row.text(index)) for index in range(1, 8))] for row in tool.rows("queue", "queues")]
    heads = ["queue", *STATES, "octets"]
    facts = [dict(zip(heads, row)) for row in rows]
    tool.show("", heads, [[*row[:7], octets(row[7])] for row in rows], facts)


@queue.command("list")
@choosing
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many of each queue.")
@pass_tool
def list_messages(tool: Tool, queue_name: str | None, limit: int, **choice) -> None:
    """List messages, oldest first."""
    found = []
    for name in names(tool, queue_name):
        for row in tool.rows("queue", "messages", name, limit, *words(choice)):
            found.append({"queue": name} | _read(row))
    tool.show("", HEADS, [_row(message) for message in found], found)


def _read(row) -> dict:
    message = {field: row.text(index) for index, field in enumerate(FIELDS)}
    message |= {field: float(message[field] or 0) for field in ("pushed", "due")}
    return message | {"size": int(message["size"]), "attempts": int(message["attempts"])}


def _row(message: dict) -> list:
    now = time.time()
    due = duration(message["due"] - now) if message["due"] > now and message["state"] == "deferred" else "-"
    return [message["id"], message["queue"], message["state"], octets(message["size"]), duration(now - message["pushed"]),
            message["attempts"], due, message["sender"] or "<>", message["recipients"], message["reason"]]


@queue.command()
@click.argument("id")
@click.option("--queue", "queue_name", metavar="NAME", help="In this queue only.")
@pass_tool
def show(tool: Tool, id: str, queue_name: str | None) -> None:
    """Show all that is known of one message: envelope, attempts, results."""
    facts = find(tool, id, queue_name)
    rows = [(name, json.dumps(value) if isinstance(value, (dict, list)) else value) for name, value in facts.items() if value not in (None, "", [])]
    tool.show("", ["", ""], rows, facts)


def find(tool: Tool, id: str, queue_name: str | None = None) -> dict:
    """Return what fm-queue knows of a message, whatever its queue."""
    with tool.open("queue") as client:
        for name in names(tool, queue_name):
            try:
                return json.loads(client.call("show", name, id, timeout=tool.timeout)[0])
            except IpcError as error:
                if error.status != NOT_THERE:
                    raise failure(error) from None
    raise click.ClickException(f"no message {id} in {'queue ' + queue_name if queue_name else 'any queue'}")


def _changing(verb: str, done: str, sentence: str, ask: str = "") -> None:
    """Make one of the commands that change messages; they differ in nothing but their verb."""

    def command(tool: Tool, queue_name: str | None, everything: bool, yes: bool, **choice) -> None:
        chosen = words(choice) or (["all"] if everything else [])
        if not chosen:
            raise click.UsageError("say which messages: ids, conditions or --all")
        if ask and not yes:
            click.confirm(ask, abort=True, err=True)
        count = _change(tool, verb, queue_name, chosen, bool(choice["ids"]))
        tool.say(f"{count} {done}", count=count)

    command.__doc__ = sentence
    command = click.option("--all", "everything", is_flag=True, help="All messages.")(pass_tool(command))
    command = click.option("--yes", is_flag=True, hidden=not ask, help="Do not ask.")(command)
    queue.command(verb)(choosing(command))


def _change(tool: Tool, verb: str, queue_name: str | None, chosen: list[str], by_id: bool) -> int:
    """Say the verb to the queues that are meant; ids go to the queue that has them."""
    if by_id and queue_name is None:
        return sum(int(tool.ask("queue", verb, find(tool, id)["queue"], id)[0]) for id in chosen)
    return sum(int(tool.ask("queue", verb, name, *chosen)[0]) for name in names(tool, queue_name))


_changing("hold", "held", "Keep messages from being handed out until they are released.")
_changing("release", "released", "End the hold of messages.")
_changing("retry", "to be tried now", "Try deferred and dead messages again, now.")
_changing("drop", "dropped", "Remove messages for good; nobody is told.", ask="Remove these messages for good, telling nobody?")
