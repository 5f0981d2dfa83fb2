"""Where everything lies in a state folder (docs/house.md section 3 has the picture).

Used by the daemons, the supervisor and the tools, so that no other file spells a path. `create()` makes the folders;
nothing here deletes. Folders are made 0700; where daemons are users of their own these may enter what they need (containment/owners.py).
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

ENDPOINT_LIMIT = 100    # octets of an ipc path; sun_path holds 107 and ZeroMQ wants some for itself
LISTED = 0o066          # bits of a folder that lets others list or change what is in it
LONGEST_NAME = len("smtpout.curve.ipc")


class Paths:
    """The paths of one state folder; `state` is made absolute, nothing is touched before `create()`."""

    def __init__(self, state: Path | str) -> None:
        self.state = Path(os.path.abspath(state))
        self.config = self.state / "fancymail.toml"
        self.keys = self.state / "keys"
        self.tls = self.state / "tls"
        self.ca = self.tls / "ca.pem"
        self.certificate = self.tls / "cert.pem"
        self.private_key = self.tls / "key.pem"
        self.accounts = self.state / "accounts.db"
        self.logins = self.state / "logins.db"
        self.queues = self.state / "queues"
        self.mail = self.state / "mail"
        self.blobs = self.mail / "blobs"
        self.log = self.state / "log" / "fancymail.log"
        self.demo = self.state / "demo.json"

    @property
    def run(self) -> Path:
        """The folder of sockets, locks and pid files."""
        return run_directory(self.state)

    @property
    def supervisor(self) -> Path:
        """What runs here: JSON written by the supervisor, read by status and down."""
        return self.run / "supervisor.json"

    @property
    def pid_file(self) -> Path:
        """The supervisor's pid; whoever holds its flock is the supervisor."""
        return self.run / "supervisor.pid"

    def key(self, role: str) -> Path:
        """The CURVE key pair of a role."""
        return self.keys / f"{role}.key"

    def lock(self, name: str) -> Path:
        """The file a daemon holds an flock on while it runs."""
        return self.run / f"{name}.lock"

    def socket(self, name: str) -> Path:
        """A unix socket of the suite, `name` as in "lmtp"."""
        return self.run / f"{name}.sock"

    def endpoints(self, name: str) -> tuple[str, str]:
        """Return (operator's door, daemons' door) of a daemon as ZeroMQ endpoints."""
        run = self.run
        return f"ipc://{run}/{name}.ipc", f"ipc://{run}/{name}.curve.ipc"

    def create(self) -> None:
        """Make the folders, closed to everyone else. Raises OSError."""
        self.state.mkdir(parents=True, exist_ok=True)
        for folder in (self.keys, self.tls, self.queues, self.mail, self.blobs, self.log.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = run_directory(self.state)
        run.mkdir(mode=0o700, exist_ok=True)
        if run.stat().st_mode & LISTED:         # searching is what daemons of other users may be allowed
            run.chmod(0o700)


def run_directory(state: Path | str) -> Path:
    """Return the folder of sockets of a state folder, short enough for a unix socket.

    Where STATE/run is too long, it is a symbolic link to a private folder in the temporary directory. The link is what is
    read afterwards, so a tool with another TMPDIR still finds the daemons. Raises PermissionError when someone else owns it.
    """
    run = Path(os.path.abspath(state)) / "run"
    if run.is_symlink():
        return _owned(Path(os.readlink(run)), run.parent)
    if len(os.fsencode(run)) + 1 + LONGEST_NAME <= ENDPOINT_LIMIT:
        return run
    return _private_folder(run)


def _private_folder(run: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(run)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"fancymail-{os.geteuid()}-{digest}"
    if len(os.fsencode(folder)) + 1 + LONGEST_NAME > ENDPOINT_LIMIT:
        folder = Path("/tmp") / folder.name
    folder.mkdir(mode=0o700, exist_ok=True)
    _owned(folder, run.parent)
    if run.parent.is_dir() and not run.exists():
        run.symlink_to(folder)
    return folder


def _owned(folder: Path, state: Path) -> Path:
    """Refuse a folder that someone else made, or may list: the doors in it ask no more of a caller than to reach them."""
    try:
        facts = os.lstat(folder)
    except FileNotFoundError:    # the temporary directory was cleaned; make it anew
        folder.mkdir(mode=0o700)
        facts = os.lstat(folder)
    owners = {os.geteuid(), os.stat(state).st_uid} if state.exists() else {os.geteuid()}
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid not in owners or facts.st_mode & LISTED:
        raise PermissionError(f"{folder} is not a private folder of this user")
    return folder
