"""How a daemon that is shut in reads a configuration that took the old one's place: the supervisor opens it and hands over the descriptor.

Editors write a new file and give it the old name; Landlock's rule is about the old file. Where daemons are users of their own, certificates
may be files that only root reads. The supervisor (`Lender`) answers the word `settings`, and the names of those files that the settings give to
that daemon, never a path of the daemon's choice. A daemon without a supervisor has nobody to ask: it is told to start again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WORD = b"settings"
PATIENCE = 2.0              # seconds that a daemon waits for the supervisor
LIMIT = 4 << 20             # octets of a file
NAME = 4096                 # octets of its name

_lender: socket.socket | None = None       # this daemon's line to the supervisor


class Lender:
    """The supervisor's ends of the lines, one per daemon."""

    def __init__(self, path: Callable[[], Path], others: Callable[[str], Iterable[Path]] = lambda name: ()) -> None:
        """path: the configuration; others: what else a daemon may have."""
        self.path, self.others = path, others
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
            word = line.recv(NAME)
        except OSError:
            word = b""
        name = next(name for name, other in self.lines.items() if other is line)
        if not word:
            self.forget(name)
        elif word == WORD:
            self._lend(line, self.path())
        elif file := next((path for path in self.others(name) if os.fsencode(path) == word), None):
            self._lend(line, file)

    def _lend(self, line: socket.socket, path: Path) -> None:
        with suppress(OSError):
            try:
                with open(path, "rb") as file:
                    socket.send_fds(line, [b"ok"], [file.fileno()])
            except (FileNotFoundError, PermissionError):
                line.send(b"no")


def borrow_from(line: socket.socket) -> None:
    """In a daemon: this is the line to the supervisor."""
    global _lender
    _lender = line


def read(path: Path) -> bytes:
    """Return the content of the configuration: opened here, or lent. Raises OSError."""
    return _read(path, WORD)


def read_file(path: Path) -> bytes:
    """Return the content of another file that the settings name. Raises OSError."""
    return _read(path, os.fsencode(path))


@contextmanager
def opened(path: Path) -> Iterator[str]:
    """A name under which a file that the settings name can be opened by those who only take names. Raises OSError."""
    try:
        with open(path, "rb"):
            pass
    except PermissionError:
        descriptor = os.memfd_create("lent", os.MFD_CLOEXEC)
        with open(descriptor, "wb") as copy:
            copy.write(read_file(path))
            copy.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:
        yield os.fspath(path)


def _read(path: Path, word: bytes) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError:
        if _lender is None:
            raise
    _forget_late_answers(_lender)
    _lender.settimeout(PATIENCE)
    _lender.send(word)
    _, descriptors, _, _ = socket.recv_fds(_lender, 16, 1)
    if not descriptors:
        raise PermissionError(f"{path}: the supervisor cannot read it either")
    with open(descriptors[0], "rb") as file:
        return file.read(LIMIT)


def _forget_late_answers(line: socket.socket) -> None:
    """What lies here answers a question that was given up: from then on each would get the answer to the one before."""
    line.setblocking(False)
    with suppress(BlockingIOError):
        while (answer := socket.recv_fds(line, 16, 1))[0]:
            for descriptor in answer[1]:
                os.close(descriptor)
