"""`fmctl mailbox`: look at people's mailboxes, bring back what they deleted, and make anew what is made from their mail.

All the work is done by fm-mailbox's verbs; here are only options and tables. Nothing here reads a message.
"""

from __future__ import annotations

import click

from fancymail.cli.doors import Tool, pass_tool
from fancymail.cli.mailqueue import Age
from fancymail.cli.terminal import octets

HEADS = ["mailbox", "messages", "unseen", "octets", "uidvalidity", "uidnext", "special use"]


def register(group: click.Group) -> None:
    """Add the commands to fmctl."""
    group.add_command(mailbox)


@click.group()
def mailbox() -> None:
    """Look at mailboxes and repair them."""


@mailbox.command("list")
@click.argument("user")
@pass_tool
def list_mailboxes(tool: Tool, user: str) -> None:
    """List the mailboxes of an account."""
    rows = [[row.text(0), *(int(row.text(index)) for index in range(1, 6)), row.text(6)] for row in tool.rows("mailbox", "folders", user)]
    facts = [dict(zip((head.replace(" ", "_") for head in HEADS), row)) for row in rows]
    tool.show("", HEADS, [[*row[:3], octets(row[3]), *row[4:]] for row in rows], facts)


@mailbox.command()
@click.argument("user")
@pass_tool
def usage(tool: Tool, user: str) -> None:
    """Tell what an account holds, and what it may hold."""
    facts = dict(zip(("mailboxes", "messages", "octets", "quota"), map(int, tool.ask("mailbox", "usage", user))))
    share = f" ({facts['octets'] * 100 // facts['quota']} %)" if facts["quota"] else ""
    limit = octets(facts["quota"]) if facts["quota"] else "any number"
    tool.say(f"{facts['messages']} messages in {facts['mailboxes']} mailboxes: {octets(facts['octets'])} of {limit}{share}", **facts)


@mailbox.command()
@click.argument("user")
@click.option("--mailbox", "name", default="INBOX", show_default=True, metavar="NAME", help="Deleted from here, or removed itself.")
@click.option("--since", type=Age(), default="1d", show_default=True, metavar="AGE", help="Deleted no longer ago than this (90, 15m, 2h, 3d).")
@pass_tool
def undelete(tool: Tool, user: str, name: str, since: int) -> None:
    """Bring back what an account deleted, as far as it is still kept."""
    count = int(tool.ask("mailbox", "undelete", user, since, name)[0])
    tool.say(f"{count} messages are back in {name}", count=count, mailbox=name)


@mailbox.command()
@click.argument("users", nargs=-1, metavar="USER...")
@click.option("--all", "everybody", is_flag=True, help="All accounts that have mail.")
@pass_tool
def rebuild(tool: Tool, users: tuple[str, ...], everybody: bool) -> None:
    """Make anew what is made from mail: counters, envelopes, structures, search text and index. UIDs and flags stay."""
    if bool(users) == everybody:
        raise click.UsageError("say whose mailboxes, or --all")
    total = 0
    for user in _everybody(tool) if everybody else users:
        total += int(tool.ask("mailbox", "rebuild", user)[0])
    tool.say(f"{total} messages are worked through again, in the background", count=total)


@mailbox.command()
@pass_tool
def purge(tool: Tool) -> None:
    """Let go now of what is kept no longer: old deleted messages, and contents that nothing names any more."""
    count = int(tool.ask("mailbox", "purge")[0])
    tool.say(f"{count} contents removed", count=count)


def _everybody(tool: Tool) -> list[str]:
    """All accounts that have mail."""
    found: list[str] = []
    while some := tool.ask("mailbox", "accounts", found[-1] if found else ""):
        found += some
    return found
