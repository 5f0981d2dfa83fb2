"""How a daemon that is shut in reads a configuration that took the old one's place: the supervisor opens it and hands over the descriptor.

Editors write a new file and give it the old name; Landlock's rule is about the old file. The supervisor (`Lender`) answers one word, `settings`,
with one file, never a path of the daemon's choice. A daemon without a supervisor has nobody to ask: it is told to start again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

WORD = b"settings"
PATIENCE = 2.0              # seconds that a daemon waits for the supervisor
LIMIT = 4 << 20             # octets of a configuration

_lender: socket.socket | None = None       # this daemon's line to the supervisor


class Lender:
    """The supervisor's ends of the lines, one per daemon."""

    def __init__(self, path: Callable[[], Path]) -> None:
        self.path = path
        self.lines: dict[str, socket.socket] = {}

    def line(self, name: str) -> socket.socket:
        """Make the line of a daemon that is about to be forked; returns the daemon's end."""
        self.forget(name)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.lines[name] = ours
        return theirs

    def forget(self, name: str) -> None:
        """The daemon is gone."""
        if line := self.lines.pop(name, None):
            line.close()

    def close(self) -> None:
        """In a child: the other daemons' lines are none of its business."""
        for name in list(self.lines):
            self.forget(name)

    def serve(self, line: socket.socket) -> None:
        """Answer one question; a daemon that asks for anything else gets nothing."""
        try:
            word = line.recv(64)
        except OSError:
            word = b""
        if word == WORD:
            self._lend(line)
        elif not word:
            for name in [name for name, other in self.lines.items() if other is line]:
                self.forget(name)

    def _lend(self, line: socket.socket) -> None:
        with suppress(OSError):
            try:
                with open(self.path(), "rb") as file:
                    socket.send_fds(line, [b"ok"], [file.fileno()])
            except (FileNotFoundError, PermissionError):
                line.send(b"no")


def borrow_from(line: socket.socket) -> None:
    """In a daemon: this is the line to the supervisor."""
    global _lender
    _lender = line


def read(path: Path) -> bytes:
    """Return the content of the configuration: opened here, or lent. Raises OSError."""
    try:
        return path.read_bytes()
    except PermissionError:
        if _lender is None:
            raise
    _lender.settimeout(PATIENCE)
    _lender.send(WORD)
    _, descriptors, _, _ = socket.recv_fds(_lender, 16, 1)
    if not descriptors:
        raise PermissionError(f"{path}: the supervisor cannot read it either")
    with open(descriptors[0], "rb") as file:
        return file.read(LIMIT)
