"""`fmctl shell DAEMON`: a conversation by hand, in the manual's notation, with completion and history.

    queue> slot: incoming
    ok: /srv/state/queues/incoming/k3v...
    queue> help push

Reads standard input, so a script may be piped in; readline is used at a terminal only.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from fancymail.cli.doors import DAEMON, Tool, exchange, known_verbs, pass_tool, print_error, print_reply
from fancymail.ipc.message import IpcError, parse_line
from fancymail.ipc.sync import SyncClient

HISTORY = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fancymail" / "shell-history"
HISTORY_LINES = 1000
WORDS = ("help", "quit")


def register(group: click.Group) -> None:
    """Add the command to fmctl."""
    group.add_command(shell)


@click.command()
@click.argument("daemon", type=DAEMON)
@pass_tool
def shell(tool: Tool, daemon: str) -> None:
    """Talk to a daemon by hand: `verb: parameter ; parameter`, or `verb parameter parameter`. `help` lists verbs, `quit` ends."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if interactive:
        _prepare_readline(daemon)
        click.echo(f"fm-{daemon} in {tool.paths.state}; `help` lists the verbs, Tab completes, `quit` or Ctrl-D ends.")
    with tool.open(daemon) as client:
        for line in _lines(f"{daemon}> " if interactive else ""):
            if line in ("quit", "exit"):
                break
            answer(tool, client, daemon, line)


def answer(tool: Tool, client: SyncClient, daemon: str, line: str) -> None:
    """Say one line and print what comes back; whatever happens, the conversation goes on."""
    word, _, rest = line.partition(" ")
    if word == "help":
        _help(daemon, rest.strip())
        return
    try:
        verb, params = read_line(line)
    except ValueError as error:
        print_error(IpcError("5.5.2", str(error)), tool.as_json)
        return
    try:
        for reply in exchange(client, daemon, verb, params, None, tool.timeout):
            print_reply(reply, tool.as_json)
    except IpcError as error:
        print_error(error, tool.as_json)


def read_line(line: str) -> tuple[str, list[str]]:
    """Read either notation: a colon right behind the verb is the manual's, everything else is a shell's words."""
    first = line.split(None, 1)[0]
    if ":" in first or " " not in line:
        return parse_line(line)
    words = shlex.split(line)
    return words[0], words[1:]


def _lines(prompt: str):
    while True:
        try:
            line = input(prompt) if prompt else sys.stdin.readline()
        except KeyboardInterrupt:
            click.echo()
            continue
        except EOFError:
            click.echo()
            return
        if not prompt and not line:
            return
        if line.strip():
            yield line.strip()


def _help(daemon: str, verb: str) -> None:
    verbs = known_verbs(daemon)
    chosen = [verbs[verb]] if verb in verbs else [spec for name, spec in verbs.items() if name == spec.name]
    for spec in chosen:
        sentence = spec.sentence if verb in verbs else spec.sentence.partition("\n")[0]
        click.echo(f"{spec.usage()}\n    {sentence}")


def _prepare_readline(daemon: str) -> None:
    """Complete verbs and file names; keep what was said for the next time (passwords of `auth` are not kept)."""
    import atexit
    import readline
    readline.set_completer(Completer(daemon, readline.get_line_buffer))
    readline.set_completer_delims(" \t;")
    readline.parse_and_bind("tab: complete")
    if daemon == "auth":
        return
    HISTORY.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if HISTORY.exists():
        readline.read_history_file(HISTORY)
    readline.set_history_length(HISTORY_LINES)
    atexit.register(readline.write_history_file, HISTORY)


class Completer:
    """readline's completer: verbs first, then the names of files. `line` gives what was typed so far."""

    def __init__(self, daemon: str, line) -> None:
        self.line = line
        self.verbs = sorted({*known_verbs(daemon), *WORDS})
        self.found: list[str] = []

    def __call__(self, text: str, number: int) -> str | None:
        if number == 0:
            self.found = self._candidates(text)
        return self.found[number] if number < len(self.found) else None

    def _candidates(self, text: str) -> list[str]:
        before = self.line().lstrip()
        if before.startswith("help "):
            return [verb for verb in self.verbs if verb.startswith(text)]
        if " " not in before:
            return [verb + (" " if verb in WORDS else ": ") for verb in self.verbs if verb.startswith(text)]
        folder = Path(text).expanduser().parent if text else Path(".")
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            return []
        names = [f"{entry}/" if entry.is_dir() else str(entry) for entry in entries]
        return [name for name in names if name.startswith(text)]
