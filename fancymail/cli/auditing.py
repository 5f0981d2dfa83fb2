"""`fmctl audit` and `fmctl fsck`: is every message accounted for, and mending what can be mended.

The counting and mending is done by the verbs `audit` and `mend` of fm-queue and fm-mailbox; here are only tables, and the exit code:
0 all is right, 1 something is not.
"""

from __future__ import annotations

import json

import click

from fancymail.cli.doors import Tool, pass_tool
from fancymail.cli.terminal import octets

QUEUED = ("ready", "leased", "deferred")
ENDED = ("delivered", "bounced", "removed", "dropped", "lost")
HEADS = ["queue", "accepted", *ENDED, "queued", "held", "dead", "corrupt", "difference", "missing"]
PATIENCE = 3600.0           # seconds: a store of many millions is counted anew


def register(group: click.Group) -> None:
    """Add the commands to fmctl."""
    group.add_command(audit)
    group.add_command(fsck)


@click.command()
@click.option("--contents", is_flag=True, help="Read every content and compare it with its hash; takes as long as reading the disk.")
@pass_tool
def audit(tool: Tool, contents: bool) -> None:
    """State that accepted = delivered + bounced + held + queued, to the message, and that every content is there. Exit code 1: it is not so."""
    facts = _facts(tool, contents)
    _show(tool, facts)
    raise SystemExit(0 if facts["right"] else 1)


@click.command()
@click.option("--contents", is_flag=True, help="Read every content, too.")
@click.option("--adopt", is_flag=True, help="Take in whole slots that the index does not know; some may never have been answered with 250.")
@pass_tool
def fsck(tool: Tool, contents: bool, adopt: bool) -> None:
    """Find what was damaged and mend what is derived: index, counters, search texts, contents that nothing names. Then audit."""
    mended = {"queue": _ask(tool, "queue", "mend", int(adopt))}
    if mended["queue"].get("damaged"):
        tool.say("the index of the queue was damaged: it is made anew from the slots; run this again in a moment", mended=mended, right=False)
        raise SystemExit(1)
    mended["mailbox"] = _ask(tool, "mailbox", "mend", int(contents))
    facts = _facts(tool, contents) | {"mended": mended}
    if not tool.as_json:
        found = [f"{name.replace('_', ' ')}: {count if isinstance(count, int) else len(count)}"
                 for part in mended.values() for name, count in part.items() if count and name != "missing"]
        click.echo("mended: " + (", ".join(found) or "nothing, all was right"))
        for line in mended["queue"]["tally"]:
            click.echo(f"  {line}")
    _show(tool, facts)
    raise SystemExit(0 if facts["right"] else 1)


def _facts(tool: Tool, contents: bool) -> dict:
    return stated(_ask(tool, "queue", "audit"), _ask(tool, "mailbox", "audit", int(contents)))


def stated(queues: dict, mail: dict) -> dict:
    """The statement of the audit, of what both daemons answered to `audit`."""
    right = not any(books["difference"] or books["missing"] for books in queues.values()) and not (mail["miscounted"] or mail["missing"])
    return {"right": right, "queues": queues, "mailboxes": mail}


def _ask(tool: Tool, daemon: str, verb: str, *words: int) -> dict:
    tool.timeout = max(tool.timeout, PATIENCE)
    return json.loads(tool.ask(daemon, verb, *words)[0])


def _show(tool: Tool, facts: dict) -> None:
    rows = [[name, books["accepted"], *(books[word] for word in ENDED), sum(books[state] for state in QUEUED), books["held"], books["dead"],
             books["corrupt"], books["difference"], books["missing"]] for name, books in facts["queues"].items()]
    tool.show("", HEADS, rows, facts)
    if tool.as_json:
        return
    mail = facts["mailboxes"]
    click.echo(f"{mail['messages']} messages in {mail['mailboxes']} mailboxes of {mail['accounts']} accounts, {octets(mail['octets'])}; "
               f"counters wrong: {mail['miscounted']}, contents missing: {mail['missing']}, contents that nothing names: {mail['unnamed']}")
    for line in (*mail["missing_names"], *mail["miscounted_names"], *(id for books in facts["queues"].values() for id in books["missing_ids"])):
        click.echo(f"  {line}")
    click.echo("every message is accounted for" if facts["right"] else "NOT every message is accounted for")
