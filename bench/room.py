"""Where a peer runs: a mount namespace in which its unpacked packages lie over the machine's own files, or the machine itself.

    room = Room(packages.root("postfix"), folder); room.run(["postfix", "-c", ..., "start"])

In a Room, /usr and /etc show the packages above what is there (an overlay that nobody can write), and /var/spool, /var/lib, /var/log and
/run are folders of the peer's own, on the filesystem that is measured. Each command gets such a namespace; what it starts stays in it.
A Machine runs installed programs, for tests that only want a server. Needs root.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from bench.packages import ACCOUNTS

OWN = ("var/spool", "var/lib", "var/log", "run")
SCRIPT = """set -e
root=$1 own=$2; shift 2
for part in usr etc; do [ ! -d "$root/$part" ] || mount -t overlay overlay -o "lowerdir=$root/$part:/$part" "/$part"; done
for part in var/spool var/lib var/log run; do mount --bind "$own/$part" "/$part"; done
exec "$@"
"""


class Room:
    """A peer's own view of the filesystem."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.own = Path(root).resolve(), Path(folder).resolve() / "room"
        for name in OWN:
            (self.own / name).mkdir(parents=True, exist_ok=True)
        reachable(self.own)

    def command(self, argv: list[str]) -> list[str]:
        """Return the command that runs `argv` in the room."""
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh", str(self.root), str(self.own), *argv]

    def run(self, argv: list[str], check: bool = True) -> None:
        """Run a command to its end. Raises CalledProcessError."""
        run_quietly(self.command(argv), check)

    def identity(self, account: str) -> tuple[int, int]:
        """Return (uid, gid) of an account of the packages."""
        return ACCOUNTS[account], ACCOUNTS[account]

    def make(self, path: str, account: str = "root", mode: int = 0o755) -> Path:
        """Make a folder below one of the room's own, as a package's script would; returns its real path."""
        made = self.own / path.lstrip("/")
        made.mkdir(parents=True, exist_ok=True)
        if account != "root":
            os.chown(made, *self.identity(account))
        made.chmod(mode)
        return made


class Machine:
    """The machine with its installed programs."""

    def command(self, argv: list[str]) -> list[str]:
        return argv

    def run(self, argv: list[str], check: bool = True) -> None:
        run_quietly(argv, check)

    def identity(self, account: str) -> tuple[int, int]:
        """Return (uid, gid) of an account; mail belongs to `mail`, which every Debian has."""
        entry = pwd.getpwnam("mail" if account == "benchmail" else account)
        return entry.pw_uid, entry.pw_gid


def run_quietly(argv: list[str], check: bool) -> None:
    """Run a command without its words; when it fails they are in the error. Output goes to a file: a daemon may keep it open."""
    with open(os.devnull) as nothing, subprocess.Popen(argv, stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        code = process.wait()
        if check and code != 0:
            os.set_blocking(process.stdout.fileno(), False)
            raise RuntimeError(f"{argv[-3:]} ended with {code}: {(process.stdout.read() or b'').decode(errors='replace').strip()[-400:]}")


def reachable(folder: Path) -> None:
    """Let the peers' accounts walk into a folder, as far as it lies in a temporary directory."""
    for part in (folder, *folder.parents):
        if str(part).startswith(("/tmp/", "/var/tmp/")):
            part.chmod(part.stat().st_mode | 0o755)
