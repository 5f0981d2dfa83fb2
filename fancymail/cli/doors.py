"""The tools' way to the daemons: through the operator's doors of one state folder, with errors a person can act on.

`Tool` is what every fmctl command receives: the state folder, how to print, and `ask`. Nothing here knows what a verb means.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from fancymail.base.settings import Paths, Settings, SettingsError, load_settings
from fancymail.cli import pidfile
from fancymail.cli.ready import running
from fancymail.cli.terminal import console, json_line, table
from fancymail.ipc.message import IpcError, Reply, format_message
from fancymail.ipc.sync import SyncClient
from fancymail.ipc.verb import Verb, verbs_of
from fancymail.servers.running.launch import DAEMONS, daemon_class, daemon_of, instances


RAW_ANSWERS = {"retr": 1, "maildrop": 12}      # verbs whose answer ends with raw octets: how many for each that its ok counts


@dataclass
class Tool:
    """One call of fmctl: where the suite is and how to print."""

    paths: Paths
    as_json: bool = False
    timeout: float = 10.0

    @functools.cached_property
    def settings(self) -> Settings:
        """The suite's configuration, the one that the supervisor was given."""
        try:
            config = (running(self.paths) or {}).get("config")
            return load_settings(Path(config) if config else None, self.paths.state)
        except SettingsError as error:
            raise click.ClickException("\n".join(error.problems)) from None

    def open(self, daemon: str) -> SyncClient:
        """Connect to a daemon; refuses at once when it does not run, instead of waiting for an answer that cannot come."""
        if not self.alive(daemon) and not pidfile.holder(self.paths.pid_file):
            raise click.ClickException(f"fm-{daemon} does not run in {self.paths.state}; start it with `fancymail up`, or give --state")
        return SyncClient(self.paths.endpoints(daemon)[0], name=f"fm-{daemon}")

    def alive(self, daemon: str) -> bool:
        """Whether a process of this daemon holds its lock."""
        return pidfile.is_held(self.paths.lock(daemon))

    def running(self) -> list[str]:
        """Return the names of the daemons that run here."""
        return [name for name in instances(self.settings, DAEMONS) if self.alive(name)]

    def all_running(self) -> list[str]:
        """As running, for who has something to say to all of them; that there is none ends fmctl."""
        if not (found := self.running()):
            raise click.ClickException(f"no daemon runs in {self.paths.state}; start them with `fancymail up`, or give --state")
        return found

    def ask(self, daemon: str, verb: str, *params) -> list[str]:
        """Say a verb and return the parameters of ok as text; an error ends fmctl with its words."""
        with self.open(daemon) as client:
            try:
                return [param.decode("utf-8", "backslashreplace") for param in client.call(verb, *params, timeout=self.timeout)]
            except IpcError as error:
                raise failure(error) from None

    def rows(self, daemon: str, verb: str, *params) -> list[Reply]:
        """Say a verb that answers ok, rows, ok and return the rows."""
        with self.open(daemon) as client:
            try:
                return client.rows(verb, *params, timeout=self.timeout)[1]
            except IpcError as error:
                raise failure(error) from None

    def show(self, title: str, heads: list[str], rows: list, facts: object = None) -> None:
        """Print a table, or with --json `facts` (default: a list of objects by head)."""
        if self.as_json:
            click.echo(json_line(facts if facts is not None else [dict(zip(heads, row)) for row in rows]))
        else:
            table(console(), title, heads, rows)

    def say(self, text: str, **facts: object) -> None:
        """Print one sentence, or with --json the facts of it."""
        click.echo(json_line({"ok": True, **facts}) if self.as_json else text)


def failure(error: IpcError) -> click.ClickException:
    """Turn an `error` into an end of fmctl with its words and its status."""
    return click.ClickException(f"{error.text} ({error.status})")


def known_verbs(daemon: str) -> dict[str, Verb]:
    """Return the verbs that a daemon of this version declares, aliases included."""
    found = verbs_of(daemon_class(daemon))
    return found | {alias: spec for spec in found.values() for alias in spec.aliases}


def exchange(client: SyncClient, daemon: str, verb: str, params: list, raw: bytes | None, timeout: float) -> Iterator[Reply]:
    """Say any verb and yield all messages of its answer, whatever its shape. Raises IpcError.

    Several messages come from verbs that are generators: rows and a last ok, or `ok: LENGTH` and that many raw octets.
    """
    spec = known_verbs(daemon).get(verb)
    if raw is not None:
        if spec is not None and len(params) == len(spec.parameters) - 1:
            params = [*params, len(raw)]      # the length, which comes last, need not be counted by hand
        yield Reply("ok", *client.write_raw(verb, *params, content=raw, timeout=timeout))
        return
    answers = client.stream(verb, *params, timeout=timeout)
    first = next(answers)
    yield first
    if spec is None or not inspect.isasyncgenfunction(getattr(daemon_class(daemon), spec.method)):
        return
    if verb in RAW_ANSWERS:
        yield from _until_octets(answers, int(first.params[0]) * RAW_ANSWERS[verb])
    else:
        yield from _until_ok(answers)


def _until_octets(answers: Iterator[Reply], missing: int) -> Iterator[Reply]:
    while missing > 0:
        reply = next(answers)
        missing -= sum(len(chunk) for chunk in reply.params)
        yield reply


def _until_ok(answers: Iterator[Reply]) -> Iterator[Reply]:
    for reply in answers:
        yield reply
        if reply.verb == "ok":
            return


def print_reply(reply: Reply, as_json: bool) -> None:
    """Print one message as people write it, or as JSON."""
    if as_json:
        click.echo(json_line({"verb": reply.verb, "params": list(reply.params)}))
    else:
        click.echo(format_message(reply.verb, reply.params))


def print_error(error: IpcError, as_json: bool) -> None:
    """Print an `error` message the same way; on standard error when people read."""
    if as_json:
        click.echo(json_line({"verb": "error", "params": [error.text, error.status, *error.more]}))
    else:
        print(format_message("error", [error.text, error.status, *error.more]), file=sys.stderr)


pass_tool = click.make_pass_decorator(Tool)


class DaemonName(click.Choice):
    """A daemon, or one of several processes of it: imap-2."""

    def convert(self, value, param, ctx):
        """Return the name as it was given."""
        super().convert(daemon_of(value), param, ctx)
        return value


DAEMON = DaemonName(DAEMONS)
