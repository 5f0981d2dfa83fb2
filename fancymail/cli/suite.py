"""`fancymail`: the whole suite in one command. up starts it, status shows it, down ends it.

What bin/fancymail runs. `up` prepares the state folder, takes the lock, binds, and becomes the supervisor; a forked child
waits until every daemon answers and prints the table (or one line of JSON). Exit codes: 0 well, 1 failed, 2 wrongly called,
3 not running.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from fancymail import __version__
from fancymail.base.service import notify
from fancymail.base.settings import Paths, SettingsError, load_settings
from fancymail.base.settings.server import Server
from fancymail.cli import demo as demonstration
from fancymail.cli import pidfile, ready
from fancymail.cli.terminal import Commands, console, duration, json_line, octets, table
from fancymail.ipc.message import IpcError
from fancymail.ipc.security import KeyRing
from fancymail.ipc.sync import SyncClient
from fancymail.servers.containment.privileges import set_name
from fancymail.servers.moving.settled import require_settled
from fancymail.servers.running.child import drop_root, give_state, identity
from fancymail.servers.running.launch import DAEMONS, instances, own_users
from fancymail.servers.running.supervisor import STAGES, Supervisor, listeners_of

STATE = click.option("--state", type=click.Path(path_type=Path, file_okay=False), default="state", envvar="FANCYMAIL_STATE",
                     show_default="$FANCYMAIL_STATE, or ./state", help="The state folder.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fancymail")
def main() -> None:
    """Run FancyMail: all daemons, supervised."""


@main.command()
@click.option("--demo", is_flag=True, help="Make keys, certificates, example.test and three accounts; listen on loopback only.")
@STATE
@click.option("--port-base", type=click.IntRange(0, demonstration.HIGHEST_BASE), default=demonstration.PORT_BASE, show_default=True,
              help="With --demo: ports are this plus the usual number.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready.")
@click.option("--detach", is_flag=True, help="Return when ready; the suite goes on in the background.")
@click.option("--only", metavar="A,B", help="Start only these daemons.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="The configuration (default: STATE/fancymail.toml). With --demo: options that go over the demo's.")
def up(demo: bool, state: Path, port_base: int, as_json: bool, detach: bool, only: str | None, config: Path | None) -> None:
    """Start the suite and look after it; Ctrl-C, SIGTERM or `fancymail down` ends it, SIGHUP reloads."""
    paths = Paths(state)
    config = config.absolute() if config else None
    try:
        paths.create()
        lock = _take_lock(paths)
        if demo:
            demonstration.prepare(paths, port_base, config)
            config = None
        os.umask(0o077)
        settings = load_settings(config, paths.state)
        require_settled(paths, bool(settings.storage.database))
        names = _chosen(only, settings)
        _check_listeners(settings, names)
        _check_alone(paths, names)
        KeyRing(paths.keys).create()
        owners, alike = own_users(settings, paths, lent=True)
        with _Outcome(detach) as outcome:
            supervisor = Supervisor(settings, paths, names, config=config, ready=outcome.tell,
                                    helper=lambda: _announce(paths, settings, names, demo, as_json, outcome),
                                    close_in_children=lambda: [lock, *outcome.descriptors], owners=owners, alike=alike)
            supervisor.prepare()
            _become(settings, paths)
            outcome.go_to_background()
            pidfile.write(lock)        # with --detach we are another process than before
            code = supervisor.run()
    except SettingsError as error:
        raise click.ClickException("the configuration cannot be used:\n  " + "\n  ".join(error.problems)) from None
    except (OSError, LookupError, ValueError) as error:
        raise click.ClickException(_advice(error)) from None
    os.ftruncate(lock, 0)      # the file itself stays: removing a lock file lets two processes hold "the" lock
    sys.exit(code)


def _take_lock(paths: Paths) -> int:
    lock = pidfile.take(paths.pid_file)
    if lock is None:
        raise click.ClickException(f"the suite of {paths.state} is running already (pid {pidfile.holder(paths.pid_file)});"
                                   " see `fancymail status`, or choose another --state")
    pidfile.write(lock)        # at once: what stands there may be the pid of one that was killed, and be somebody else's by now
    return lock


def _chosen(only: str | None, settings) -> list[str]:
    """Return the processes to start, in the order of starting."""
    names = [name.strip() for name in only.split(",") if name.strip()] if only else list(settings.server.daemons)
    unknown = [name for name in names if name not in DAEMONS]
    if unknown or not names:
        raise click.UsageError(f"there is no daemon {', '.join(unknown)!r}; there are {', '.join(DAEMONS)}")
    return instances(settings, [name for name in DAEMONS if name in names])


def _check_listeners(settings, names: list[str]) -> None:
    """The same address twice would fail at bind with less to say."""
    seen: dict[str, str] = {}
    for name in names:
        for address in listeners_of(settings, name):
            if address in seen:
                raise SettingsError([f"{address}: is listened on by {seen[address]} and by {name}"])
            seen[address] = name


def _check_alone(paths: Paths, names: list[str]) -> None:
    """A daemon that was started by itself (bin/fm-NAME, fm@NAME.service) would be started again and again beside it."""
    for name in names:
        if pidfile.is_held(paths.lock(name)):
            raise click.ClickException(f"fm-{name} runs already by itself in {paths.state}; end it first, or leave it out with --only")


def _become(settings, paths: Paths) -> None:
    """Give up root for good, when told to and once the ports are ours."""
    if settings.server.user and os.geteuid() == 0:
        uid, gid = identity(settings.server.user, settings.server.group)
        give_state(paths, uid, gid)
        os.chown(paths.pid_file, uid, gid)
        drop_root(settings.server.user, uid, gid)
    set_name("fancymail")


def _advice(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{error}; ports below 1024 need root (with server.user set) or CAP_NET_BIND_SERVICE"
    if isinstance(error, OSError) and error.errno == 98:
        return f"{error}; another server is there, or another suite: stop it, or choose other ports (--port-base)"
    return str(error)


class _Outcome:
    """Where the news of the start go: the terminal of `up`, or of the process that waits for a detached suite."""

    def __init__(self, detach: bool) -> None:
        self.detach = detach
        self.out, self.descriptors = sys.stdout, []

    def __enter__(self) -> _Outcome:
        return self

    def __exit__(self, *_: object) -> None:
        if self.detach and self.descriptors:
            self.tell(1)

    def go_to_background(self) -> None:
        """With --detach: leave the waiting to the parent, which ends with the outcome, and let go of the terminal."""
        if not self.detach:
            return
        reading, writing = os.pipe()
        sys.stdout.flush()
        if os.fork():
            os.close(writing)
            answer = os.read(reading, 1)
            os._exit(answer[0] if answer else 1)
        os.close(reading)
        os.setsid()
        self.out = os.fdopen(os.dup(1), "w")
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        self.descriptors += [writing, self.out.fileno()]

    def tell(self, code: int) -> None:
        """The start is over, well or not."""
        notify("READY=1" if code == 0 else "STOPPING=1")
        if self.detach and self.descriptors:
            with suppress(BrokenPipeError):      # the one who waited was killed
                os.write(self.descriptors[0], bytes([min(code & 0xFF, 1)]))
            os.close(self.descriptors[0])
            self.out.close()
            self.descriptors.clear()


def _announce(paths: Paths, settings, names: list[str], demo: bool, as_json: bool, outcome: _Outcome) -> int:
    """Run in the helper: wait for all daemons, make the demo's accounts, say that it is ready. Returns the exit code."""
    missing = ready.wait(paths, names, settings.server.start_timeout)
    if missing:
        outcome.out.write(f"fancymail: no answer from {', '.join(missing)} within {settings.server.start_timeout:g} s;"
                          f" see {paths.log}\n")
        outcome.out.flush()
        return 1
    accounts = demonstration.passwords(paths) if demo else {}
    if accounts and "auth" in names:
        with SyncClient(paths.endpoints("auth")[0], name="auth") as auth:
            demonstration.make_accounts(auth, accounts)
    facts = ready.report(paths, settings, names, accounts)
    if as_json:
        outcome.out.write(json_line(facts) + "\n")
        outcome.out.flush()
    else:
        ready.show(facts, settings, outcome.out)
    return 0


@main.command()
@STATE
def down(state: Path) -> None:
    """End the suite of a state folder: what is under way is finished, nothing is lost."""
    paths = Paths(state)
    pid = pidfile.holder(paths.pid_file) if paths.state.is_dir() else None
    if pid is None:
        click.echo(f"no suite is running in {paths.state}", err=True)
        sys.exit(3)
    _end(paths)
    click.echo(f"stopped (pid {pid})")


def _end(paths: Paths) -> None:
    """End the suite that runs. Raises ClickException."""
    pid = pidfile.holder(paths.pid_file)
    if pid is None:
        return
    patience = _stop_timeout(paths) * len(STAGES) + 5
    with suppress(ProcessLookupError):
        os.kill(pid, 15)
    if not pidfile.wait_released(paths.pid_file, patience):
        raise click.ClickException(f"the supervisor (pid {pid}) did not end within {patience:g} s")


def _stop_timeout(paths: Paths) -> float:
    """The seconds of each stage of a stop. A configuration that was broken since the start keeps nobody from ending what runs."""
    try:
        return load_settings(_config_of(paths), paths.state).server.stop_timeout
    except SettingsError:
        return Server().stop_timeout


@main.command()
@STATE
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="The configuration (default: STATE/fancymail.toml).")
@click.option("--to", required=True, metavar="DATABASE|FOLDER", help="postgresql://... (and a bucket, s3://..., behind it), or a state folder.")
@click.option("--copy-only", is_flag=True, help="Copy what is there now and end; nothing is stopped or switched. Go on at any time without it.")
@click.argument("bucket", required=False)
def migrate(state: Path, config: Path | None, to: str, copy_only: bool, bucket: str | None) -> None:
    """Move all mail from files to a cluster, or from a cluster to files.

    \b
    fancymail migrate --to postgresql://... s3://...    the files of --state to a cluster
    fancymail migrate --to FOLDER                       the cluster of --state's configuration to files

    Accounts, mailboxes with UIDs and flags, and queues are copied while the suite runs. Then, for the last part, the suite of --state is ended
    (nodes elsewhere are waited for), what is new is carried over, all is compared by count and hash, and the old side is closed: daemons refuse
    to start on it. Nothing is started. Killed at any moment, the same command goes on. docs/scale.md has more.
    """
    from fancymail.cli import migrate as moving
    paths = Paths(state)
    running = paths.state.is_dir() and pidfile.holder(paths.pid_file) is not None
    moving.migrate(paths, config or (_config_of(paths) if running else None), to, bucket, copy_only, _end)


def _config_of(paths: Paths) -> Path | None:
    found = (ready.running(paths) or {}).get("config")
    return Path(found) if found else None


@main.command()
@STATE
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def status(state: Path, as_json: bool) -> None:
    """Show what runs and whether it answers. Exit code: 0 all well, 1 something is missing, 3 nothing runs."""
    paths = Paths(state)
    facts = ready.running(paths) if paths.state.is_dir() and pidfile.holder(paths.pid_file) else None
    if facts is None:
        click.echo(json_line({"running": False, "state": str(paths.state)}) if as_json else f"no suite is running in {paths.state}")
        sys.exit(3)
    rows = {name: _look(paths, name, child) for name, child in facts["daemons"].items()}
    if as_json:
        click.echo(json_line({"running": True, "state": str(paths.state), "pid": facts["pid"], "daemons": rows}))
    else:
        table(console(), f"supervisor {facts['pid']}, up {duration(time.time() - facts['started'])}",
              ("daemon", "pid", "up", "restarts", "answers in", "memory", "listens"), [_row(name, row) for name, row in rows.items()])
    sys.exit(0 if all(row["answers"] for row in rows.values()) else 1)


def _look(paths: Paths, name: str, child: dict) -> dict:
    """Ask one daemon."""
    begun = time.monotonic()
    row = {"pid": child["pid"], "up": round(time.time() - child["since"], 1), "restarts": child["restarts"],
           "listeners": child["listeners"], "answers": False}
    try:
        with SyncClient(paths.endpoints(name)[0], name=name) as client:
            client.call("ping", timeout=3)
            row |= {"answers": True, "seconds": round(time.monotonic() - begun, 4), "resident": _resident(child["pid"])}
    except IpcError as error:
        row["error"] = error.text
    return row


def _row(name: str, row: dict) -> tuple:
    answer = f"{row['seconds'] * 1000:.1f} ms" if row["answers"] else "no answer"
    return (name, row["pid"] or "-", duration(row["up"]), row["restarts"], answer, octets(row.get("resident", 0)),
            " ".join(row["listeners"]))


def _resident(pid: int) -> int:
    """Octets that a process costs, shared pages divided among those who share them (PSS)."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
