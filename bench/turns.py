"""How measurements are taken: servers in turn (A B A B ...), each time on a fresh filesystem, with the peers' rooms made for them.

Given to every module of works/ as `bench`.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.filesystem import fresh_filesystem
from bench.load import Load
from bench.packages import Packages
from bench.processes import cpu_seconds
from bench.result import Row
from bench.room import Room

Maker = Callable[["Place"], object]


class Place:
    """A fresh folder for one server, and the rooms of it."""

    def __init__(self, folder: Path, packages: Packages) -> None:
        self.folder, self.packages = folder, packages

    @property
    def server(self) -> Path:
        return self.folder / "server"

    def room(self, peer: str) -> Room:
        """Return a room for a peer; its packages are fetched when they are not there."""
        return Room(self.packages.root(peer), self.folder / f"room-{peer}")


class Bench:
    """What a part needs to measure: `rounds`, `quick`, and `in_turn`."""

    def __init__(self, packages: Packages, rounds: int = 3, quick: bool = False, folder: Path | None = None, plain: bool = False) -> None:
        self.packages, self.rounds, self.quick, self.folder, self.plain = packages, 1 if quick else rounds, quick, folder, plain
        self.load = Load(packages.root("postfix"))
        self.peers: set[str] = {"postfix"}

    def count(self, many: int, least: int = 20) -> int:
        """Return how many of something to do: a tenth with --quick."""
        return max(many // 10, least) if self.quick else many

    def say(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        """Make a folder for one server, removed afterwards: a filesystem of its own, unless plain folders are wanted."""
        with tempfile.TemporaryDirectory(prefix="fancymail-bench-", dir=self.folder) as name:
            Path(name).chmod(0o755)
            with contextlib.nullcontext(Path(name)) if self.plain else fresh_filesystem(Path(name)) as folder:
                yield Place(folder, self.packages)

    def in_turn(self, work: str, makers: dict[str, Maker], measure: Callable[[object], dict[str, float]], rounds: int = 0, **facts: int) -> list[Row]:
        """Run `measure` on each server in turn, as often as there are rounds; return a row for each."""
        rows = [Row(work=work, server=name, facts=facts, rounds=[]) for name in makers]
        for _ in range(rounds or self.rounds):
            for row, make in zip(rows, makers.values()):
                with self.place() as place, make(place) as server:
                    row.rounds.append(measure(server))
                self.say(f"  {work} {facts or ''} {row.server}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.rounds[-1].items()))
        return rows


class Spent:
    """Wall and CPU time of a server over a piece of work: `with Spent(server) as spent: ...`, then spent.seconds and spent.cpu."""

    def __init__(self, server) -> None:
        self.roots = server.roots

    def __enter__(self) -> Spent:
        self._cpu, self._began = cpu_seconds(*self.roots), time.perf_counter()
        return self

    def __exit__(self, *exc) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu = cpu_seconds(*self.roots) - self._cpu

    def each(self, count: int) -> dict[str, float]:
        """Return the round of a row: operations a second, and CPU microseconds of one."""
        return {"rate": count / self.seconds, "cpu": self.cpu / count * 1e6}
