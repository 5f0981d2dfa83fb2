"""What a daemon may touch: declared beside the daemon, and turned into the files and calls that its process needs.

    @classmethod
    def reach(cls, settings, paths) -> Reach:
        return Reach(keeps=(paths.queues,))

Read by cell.py, which adds what every daemon needs (its own key, the log, its programs), by owners.py, where each daemon is a user of its own,
and by the tests, which try to reach further.
Values only. What is not named here a daemon cannot open, however its code is turned against it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reach:
    """Folders (all below them too) and files of one daemon, and whether it calls others.

    reads: read and listed. opens: read by whoever knows the name, not listed. fills: written and removed by whoever knows the name, neither read nor
    listed: a slot's name is 130 random bits, so it is as good as a key. shares: read, listed, written, files made, nothing removed. keeps:
    all of that, and removed, renamed, linked. calls: it connects to hosts beyond this machine. answers: it may connect to subscribers that
    listen at TCP addresses. certificates: it serves TLS. Landlock adds up what a folder and those above it are given; for users of their own the
    nearest folder counts.
    """

    reads: tuple[Path, ...] = ()
    opens: tuple[Path, ...] = ()
    fills: tuple[Path, ...] = ()
    shares: tuple[Path, ...] = ()
    keeps: tuple[Path, ...] = ()
    calls: bool = False
    answers: bool = False
    certificates: bool = False


def database(path: Path) -> tuple[Path, ...]:
    """The files of one SQLite database in WAL mode, for a `keeps` that is not a whole folder."""
    return path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def certificate_files(settings, paths) -> list[Path]:
    """The certificates and their keys, as the settings name them."""
    return [paths.state / file for pair in (settings.tls, *settings.tls.domains.values()) for file in (pair.certificate, pair.key)]


def complete(reach: Reach, settings, paths) -> Reach:
    """What a daemon declared, and what all need with engines over the network: contents and slots of this node are files beside them."""
    if not settings.storage.database:
        return reach
    return replace(reach, keeps=(*reach.keeps, paths.mail, paths.queues), calls=True)


def converses_by_tcp(settings, name: str) -> bool:
    """Whether the settings lead this daemon's conversation beyond this machine."""
    beyond = [*settings.ipc.peers.values(), settings.ipc.listen.get(name, "")]
    return any(endpoint.startswith("tcp:") for endpoint in beyond)
