"""What all servers have in common: a folder, a port, a start that returns when somebody answers, an end.

A subclass has `start` and `stop`, sets `roots`, and tells by `delivered` and `waiting` how far it is with its mail.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.room import Machine, reachable


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition: Callable[[], bool], seconds: float = 300.0, what: str = "the server did not finish") -> None:
    """Return when the condition holds; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def answers(port: int) -> bool:
    """Whether somebody accepts on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def wait_for_port(port: int, seconds: float = 20.0) -> None:
    """Return when somebody accepts on the port; raises TimeoutError."""
    wait_until(lambda: answers(port), seconds, f"nobody listens on port {port}")


def written(path: Path, seconds: float = 10.0) -> str:
    """Return what a starting program writes into a file, once it did."""
    wait_until(lambda: path.is_file() and path.read_text().strip() != "", seconds, f"{path} is not written")
    return path.read_text().strip()


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def maildir_count(folder: Path) -> int:
    """Return how many messages lie in a Maildir."""
    return sum(len(os.listdir(folder / part)) for part in ("new", "cur") if (folder / part).is_dir())


class Peer:
    """A server in a folder, started on entry, ended on exit."""

    name = ""
    roots: list[int] = []

    def __init__(self, folder: Path, room=None) -> None:
        self.folder, self.room = Path(folder), room or Machine()
        self.port = free_port()

    def start(self) -> None:
        raise LookupError(f"{self.name} has no start")

    def stop(self) -> None:
        """End by a signal to the first process; a subclass with a better way has its own."""
        for root in self.roots:
            with suppress(ProcessLookupError):
                os.kill(root, signal.SIGTERM)
        with suppress(TimeoutError):
            wait_until(lambda: not any(os.path.exists(f"/proc/{root}") for root in self.roots), 10)

    def delivered(self) -> int:
        """Return how many messages are in mailboxes."""
        return 0

    def waiting(self) -> int:
        """Return how many messages wait in the queue."""
        return 0

    def rest(self) -> None:
        """Return when what it does behind, with the mail that it has, is done."""

    def own(self, folder: Path, account: str = "benchmail") -> Path:
        """Make a folder that belongs to an account."""
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, *self.room.identity(account))
        return folder

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        reachable(self.folder)
        self.start()
        wait_for_port(self.port)
        return self

    def __exit__(self, *exc) -> None:
        self.stop()
