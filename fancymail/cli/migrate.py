"""`fancymail migrate`: a whole installation from files to a cluster and back, while its mail goes on for all but the last moments.

A command of cli/suite.py over servers/moving. It asks people nothing, shows where it is, and prints in the end what to change in the configuration.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from fancymail.base.settings import Paths, Settings, SettingsError, load_settings
from fancymail.cli import pidfile
from fancymail.cli.terminal import Plain, console
from fancymail.servers.moving import files
from fancymail.servers.moving.move import Move, Pass, Summary, clean, to_cluster, to_files
from fancymail.servers.running.launch import DAEMONS, instances

PASSES = 4                      # at most, while mail goes on
LITTLE = 50                     # letters left to carry after which the last part may begin
POLL = 0.5


class Screen:
    """What people see: a bar on a terminal, a line for each part elsewhere."""

    def __init__(self) -> None:
        self.out, self._bar, self._tasks = console(), None, {}

    def told(self, what: str, done: int, total: int) -> None:
        """How many messages of how many were looked at."""
        if self._bar is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bar.add_task(what, total=total)
            self._bar.update(self._tasks[what], completed=done, total=total)

    def say(self, text: str) -> None:
        self.out.print(text)

    def again(self) -> None:
        """The next part has a bar of its own."""
        self._tasks.clear()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw the bar meanwhile."""
        if isinstance(self.out, Plain):
            yield
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("messages"), TimeElapsedColumn(),
                   TimeRemainingColumn())
        with Progress(*columns, console=self.out) as self._bar:
            yield


class Installation:
    """The suite of a state folder, as far as a move has to end it and keep it ended."""

    def __init__(self, paths: Paths, settings: Settings, end) -> None:
        self.paths, self.settings, self._end = paths, settings, end
        self.lock: int | None = None

    def runs(self) -> bool:
        """Whether its supervisor is there."""
        return self.paths.state.is_dir() and pidfile.holder(self.paths.pid_file) is not None

    def end(self) -> None:
        """End it, and have its lock until this command is over. Raises ClickException."""
        if self.runs():
            self._end(self.paths)
        self.paths.run.mkdir(mode=0o700, exist_ok=True)
        self.lock = pidfile.take(self.paths.pid_file)
        if self.lock is None:
            raise click.ClickException(f"somebody started the suite of {self.paths.state} again: once more, please")
        for name in instances(self.settings, DAEMONS):
            if pidfile.is_held(self.paths.lock(name)):
                raise click.ClickException(f"fm-{name} runs by itself in {self.paths.state}; end it first")

    def close(self) -> None:
        if self.lock is not None:
            os.close(self.lock)


def migrate(paths: Paths, config: Path | None, to: str, blobs: str | None, copy_only: bool, end) -> None:
    """What the command does; `end` ends the suite of a state folder. Raises ClickException."""
    screen = Screen()
    try:
        settings = load_settings(config, paths.state)
        place = Paths(paths.state if is_database(to) else Path(to))
        if files.place(place) or files.put_aside(paths):
            clean(place)
            screen.say("All had been moved and verified before; what was left to do is done.")
            return
        if is_database(to):
            if not blobs or not blobs.startswith("s3://"):
                raise click.UsageError("a database needs a bucket beside it: --to postgresql://... s3://...")
            moving = to_cluster(paths, settings, to, blobs, screen.told)
        else:
            if blobs or not settings.storage.database:
                raise click.UsageError("--to FOLDER moves the cluster that the configuration of --state names to files, and needs nothing else")
            moving = to_files(settings, place, load_settings(None, place.state) if place.config.exists() else settings, screen.told)
        installation = Installation(paths, settings, end)
        try:
            with moving as move:
                if move.target.is_over():
                    screen.say(f"All had been moved and verified before. What was moved lies in {move.source.end()} until you delete it.")
                    return
                summary = _through(move, installation, screen, copy_only)
                aside = None if summary is None else move.source.end()
        finally:
            installation.close()
    except SettingsError as error:
        raise click.ClickException("the configuration cannot be used:\n  " + "\n  ".join(error.problems)) from None
    except click.ClickException:
        raise
    except Exception as error:          # every engine has its own; nothing was switched, and the same command goes on
        raise click.ClickException(f"{error or type(error).__name__}\nNothing was switched; the same command goes on from here.") from error
    if summary is not None:
        clean(place)
        _tell(screen, summary, to, blobs, place, aside)


def is_database(address: str) -> bool:
    """Whether it is no folder."""
    return address.startswith(("postgresql://", "postgres://"))


def _through(move: Move, installation: Installation, screen: Screen, copy_only: bool) -> Summary | None:
    """All parts; None when only the first were asked for."""
    for number in range(1, PASSES + 1):
        with screen.shown():
            done = move.copy(f"copying, {number}")
        screen.again()
        _say(screen, f"pass {number}", done)
        if copy_only:
            screen.say("Nothing was switched. The same command without --copy-only does the rest, and carries only what is new.")
            return None
        if done.letters <= LITTLE or not (installation.runs() or move.source.alive()):
            break
    if installation.runs():
        screen.say(f"Ending the suite of {installation.paths.state} for the last part.")
    installation.end()
    _wait_for_nodes(move, screen)
    with screen.shown():
        summary = move.finish()
    _say(screen, "last part", summary.last)
    return summary


def _wait_for_nodes(move: Move, screen: Screen) -> None:
    """Nodes on other machines are ended by those who run them."""
    told: list[str] = []
    while alive := move.source.keep():
        if alive != told:
            screen.say(f"Waiting for nodes to end (`fancymail down` there): {', '.join(alive)}")
            told = alive
        time.sleep(POLL)


def _say(screen: Screen, what: str, done: Pass) -> None:
    rest = f", {done.unfinished} of them changed meanwhile" if done.unfinished else ""
    screen.say(f"{what}: {done.accounts} accounts, {done.messages} messages; carried {done.letters} messages of {done.changed} accounts{rest}")


def _tell(screen: Screen, summary: Summary, to: str, blobs: str | None, place: Paths, aside: Path | None) -> None:
    last = summary.last
    screen.say(f"Moved and verified: {summary.directory} rows of accounts, domains and aliases; {last.accounts} accounts with "
               f"{last.messages} messages; {summary.contents} contents; {summary.queued} messages in queues. "
               f"SHA-256 of all rows of mail, on both sides: {summary.digest}")
    if is_database(to):
        with suppress(ValueError):
            aside = aside.relative_to(Path.cwd())
        screen.say(f"What was moved lies in {aside} until you delete it. Put this into {place.config}, then `fancymail up`:\n\n[storage]\n"
                   f'database = "{to}"\nblobs = "{blobs}"')
    else:
        screen.say(f"Take `database` and `blobs` of [storage] out of {place.config}, then `fancymail up`. The database and the bucket are "
                   "as they were, and no node starts on them any more.")
