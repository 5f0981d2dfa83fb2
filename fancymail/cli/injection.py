"""`fmctl inject FILE`: put a message file into the queue, as an operator, without a session.

fm-smtpin does it: it resolves the recipients, writes the slots and pushes them, so that what is injected takes the same way
as all other mail. Line ends become CRLF here; nothing else is changed.
"""

from __future__ import annotations

import re

import click

from fancymail.cli.doors import Tool, failure, pass_tool
from fancymail.ipc.message import IpcError

BARE = re.compile(rb"\r\n|\r|\n")


def register(group: click.Group) -> None:
    """Add the command to fmctl."""
    group.add_command(inject)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--from", "sender", default="", metavar="ADDRESS", help="The reverse-path; without it the null one: nobody hears of failures.")
@click.option("--to", "recipients", multiple=True, required=True, metavar="ADDRESS", help="A recipient; may be repeated.")
@pass_tool
def inject(tool: Tool, file, sender: str, recipients: tuple[str, ...]) -> None:
    """Queue the message in FILE (`-`: standard input) for the recipients and print its id."""
    content = BARE.sub(b"\r\n", file.read())
    if not content.strip():
        raise click.UsageError("the message is empty")
    with tool.open("smtpin") as client:
        try:
            answer = client.write_raw("inject", sender, len(content), *recipients, content=content, timeout=max(tool.timeout, 60))
        except IpcError as error:
            raise failure(error) from None
    id = answer[0].decode()
    tool.say(f"queued as {id}; `fmctl trace {id}` follows it", id=id)
