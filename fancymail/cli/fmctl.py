"""`fmctl`: talk to the daemons of a running suite, by raw messages and by the daily tools.

What bin/fmctl runs. This file holds the group and the commands that any daemon understands; queue, account, mail and manual
tools are beside it. Every command takes --json after `fmctl`. Exit codes: 0 ok, 1 an error was answered, 2 wrongly called.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from fancymail import __version__
from fancymail.base.settings import Paths, SettingsError, load_settings
from fancymail.cli import accounts, auditing, injection, mailboxes, mailqueue, manual, scrape, shell, tracing, watch
from fancymail.cli.doors import DAEMON, Tool, exchange, failure, known_verbs, pass_tool, print_error, print_reply
from fancymail.cli.suite import status as suite_status
from fancymail.cli.terminal import Commands
from fancymail.ipc.message import IpcError, parse_line
from fancymail.servers.running.launch import DAEMONS


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fmctl")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), default="state", envvar="FANCYMAIL_STATE",
              show_default="$FANCYMAIL_STATE, or ./state", help="The state folder of the suite.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line per message or answer.")
@click.option("--timeout", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="Seconds to wait for an answer.")
@click.pass_context
def main(context: click.Context, state: Path, as_json: bool, timeout: float) -> None:
    """Talk to the daemons of FancyMail."""
    context.obj = Tool(Paths(state), as_json, timeout)


@main.command()
@click.argument("daemon", type=DAEMON)
@click.argument("message", nargs=-1, required=True)
@click.option("--raw", type=click.File("rb"), help="Send this file's octets as raw chunks behind the message (`store`).")
@click.option("--output", type=click.File("wb"), help="Write raw octets of the answer here (`retr`).")
@pass_tool
def send(tool: Tool, daemon: str, message: tuple[str, ...], raw, output) -> None:
    """Say a verb: `fmctl send queue slot incoming`, or in the notation of the manual: `fmctl send queue 'push: incoming ; FILE'`."""
    try:
        verb, params = parse_line(message[0]) if len(message) == 1 else (message[0], list(message[1:]))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    content = raw.read() if raw else None
    with tool.open(daemon) as client:
        try:
            for reply in exchange(client, daemon, verb, params, content, tool.timeout):
                if output and reply.verb == "raw":
                    output.write(b"".join(reply.params))
                else:
                    print_reply(reply, tool.as_json)
        except IpcError as error:
            print_error(error, tool.as_json)
            raise SystemExit(1) from None


@main.command("help")
@click.argument("daemon", type=DAEMON, required=False)
@click.argument("verb", required=False)
@click.pass_context
def help_command(context: click.Context, daemon: str | None, verb: str | None) -> None:
    """List the verbs of a daemon, or explain one: `fmctl help queue push`."""
    tool = context.find_object(Tool)
    if daemon is None:
        click.echo(context.parent.get_help())
        return
    verbs = known_verbs(daemon)
    if verb is None:
        own = [spec for name, spec in verbs.items() if name == spec.name]
        tool.show("", ["verb", "what it does"], [(spec.usage(), spec.sentence.partition("\n")[0]) for spec in own])
        return
    if verb not in verbs:
        raise click.ClickException(f"fm-{daemon} knows no verb {verb!r}; it knows {', '.join(sorted(verbs))}")
    _explain(tool, verbs[verb])


def _explain(tool: Tool, spec) -> None:
    kinds = [(name, kind, optional) for name, kind, optional in spec.parameters]
    kinds += [(f"{spec.rest[0]}...", spec.rest[1], True)] if spec.rest else []
    rows = [(name, "optional" if optional else "required", kind.sentence) for name, kind, optional in kinds]
    roles = sorted(spec.callers | ({"operator"} if spec.operator else set()))
    if tool.as_json:
        tool.say("", usage=spec.usage(), sentence=spec.sentence, callers=roles, parameters=[list(row) for row in rows])
        return
    click.echo(f"{spec.usage()}\n\n{spec.sentence}\n")
    if rows:
        tool.show("", ["parameter", "", "takes"], rows)
    click.echo(f"Said by: {', '.join(roles)}")


@main.command("who-can")
@click.argument("verb")
@pass_tool
def who_can(tool: Tool, verb: str) -> None:
    """Tell which roles may say a verb, to which daemon."""
    grants = tool.settings.ipc.grants
    rows = []
    for daemon in DAEMONS:
        spec = known_verbs(daemon).get(verb)
        if spec is None:
            continue
        granted = {role for role, allowed in grants.items() if {f"{daemon}.{spec.name}", f"{daemon}.*"} & set(allowed)}
        roles = spec.callers | granted | ({"operator"} if spec.operator else set())
        rows.append((daemon, spec.usage(), " ".join(sorted(roles))))
    if not rows:
        raise click.ClickException(f"no daemon knows the verb {verb!r}")
    tool.show("", ["daemon", "verb", "roles"], rows)


@main.command()
@click.argument("daemons", type=DAEMON, nargs=-1)
@pass_tool
def ping(tool: Tool, daemons: tuple[str, ...]) -> None:
    """Ask daemons whether they are there; all that run when none is named."""
    rows, failed = [], False
    for daemon in daemons or tool.running() or DAEMONS:
        begun = time.perf_counter()
        try:
            with tool.open(daemon) as client:
                client.call("ping", timeout=tool.timeout)
            rows.append((daemon, "ok", round((time.perf_counter() - begun) * 1000, 2)))
        except (IpcError, click.ClickException) as error:
            failed = True
            rows.append((daemon, error.message if isinstance(error, click.ClickException) else error.text, None))
    tool.show("", ["daemon", "answer", "milliseconds"], rows)
    raise SystemExit(int(failed))


@main.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Show what runs and whether it answers (as `fancymail status`)."""
    tool = context.find_object(Tool)
    context.invoke(suite_status, state=tool.paths.state, as_json=tool.as_json)


@main.command()
@click.argument("daemons", type=DAEMON, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Show what is zero, too.")
@pass_tool
def stats(tool: Tool, daemons: tuple[str, ...], everything: bool) -> None:
    """Show the counters and gauges of daemons."""
    found = {daemon: json.loads(tool.ask(daemon, "stats")[0]) for daemon in daemons or tool.all_running()}
    rows = [(daemon, name, value) for daemon, values in found.items() for name, value in sorted(values.items())
            if everything or value not in (0, False, None)]
    tool.show("", ["daemon", "name", "value"], rows, found)


@main.command()
@click.argument("daemons", type=DAEMON, nargs=-1)
@pass_tool
def reload(tool: Tool, daemons: tuple[str, ...]) -> None:
    """Have daemons read configuration, keys and certificates again, without dropping a session; a broken file changes nothing."""
    assert tool.settings, "a broken file ends us here, with all that is wrong with it"
    chosen = daemons or tool.all_running()
    for daemon in chosen:
        tool.ask(daemon, "reload")
    tool.say(f"reloaded: {', '.join(chosen)}", reloaded=list(chosen))


@main.command()
@click.argument("daemons", type=DAEMON, nargs=-1, required=True)
@pass_tool
def drain(tool: Tool, daemons: tuple[str, ...]) -> None:
    """Have daemons finish what they began and end; under the supervisor each comes back fresh."""
    for daemon in daemons:
        tool.ask(daemon, "drain")
    tool.say(f"draining: {', '.join(daemons)}", draining=list(daemons))


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@pass_tool
def check(tool: Tool, file: Path | None) -> None:
    """Check a configuration file (default: STATE/fancymail.toml) and name everything that is wrong with it."""
    try:
        load_settings(file, tool.paths.state)
    except SettingsError as error:
        if tool.as_json:
            tool.show("", ["problem"], [[problem] for problem in error.problems])
        else:
            click.echo("\n".join(error.problems), err=True)
        raise SystemExit(1) from None
    tool.say("the configuration is good")


for module in (accounts, auditing, injection, mailboxes, mailqueue, manual, scrape, shell, tracing, watch):
    module.register(main)

__all__ = ["failure", "main"]
