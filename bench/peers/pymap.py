"""pymap, an IMAP server in Python, over its Maildir; installed from PyPI into build/peers/pymap. It does not sync what APPEND brings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.packages import PackagesMissing
from bench.peers.peer import Peer, free_port

USER, PASSWORD = "alice", "secret"
RELEASE = "pymap==0.36.7"
HASH = "from passlib.hash import pbkdf2_sha256; print(pbkdf2_sha256.using(rounds=1000).hash({!r}))"


class Pymap(Peer):
    """One process that serves one Maildir."""

    name = "pymap"
    lenient = True                      # it has no command for some of the works

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = Path(folder), Path(programs) / "bin"
        self.user, self.password = USER, PASSWORD

    def start(self) -> None:
        for name in ("cur", "new", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        hashed = subprocess.run([str(self.programs / "python"), "-c", HASH.format(PASSWORD)], check=True, capture_output=True, text=True).stdout
        for name, line in (("passwd", f"{USER}:x:::::.\n"), ("shadow", f"{USER}:{hashed.strip()}\n"), ("group", "")):
            (self.folder / f"pymap-etc-{name}").write_text(line)
        self.port = self.imap_port = free_port()
        self._process = subprocess.Popen([str(self.programs / "pymap"), "--host", "127.0.0.1", "--port", str(self.imap_port), "--no-tls", "maildir",
                                          str(self.folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         env={**os.environ, "TMPDIR": str(self.folder / "tmp")})        # it moves files from there into the Maildir
        self.roots = [self._process.pid]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def installed(folder: Path) -> Path:
    """Return the environment of pymap below the peers' folder, made at the first call. Raises PackagesMissing."""
    root = Path(folder) / "pymap"
    if not (root / "bin/pymap").exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(root)], capture_output=True, text=True)
        install = [str(root / "bin/pip"), "install", "-q", RELEASE, "passlib"]
        done = made if made.returncode else subprocess.run(install, capture_output=True, text=True)
        if done.returncode:
            raise PackagesMissing(f"{RELEASE} cannot be installed: {done.stderr.strip()[-300:]}")
    return root
