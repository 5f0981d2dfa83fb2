"""Starting a suite of stand-ins (fake_suite.py) and talking to it through the real commands."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
FAKE = [sys.executable, str(Path(__file__).parent / "fake_suite.py")]
REAL = [sys.executable, "-c", "import sys; sys.argv[0] = 'fancymail'; from fancymail.cli.suite import main; main()"]
FMCTL = [sys.executable, "-c", "import sys; sys.argv[0] = 'fmctl'; from fancymail.cli.fmctl import main; main()"]
OFFSETS = (24, 25, 110, 465, 587, 995)
PATIENCE = 60


def free_base() -> int:
    """Return a port base whose ports are free on loopback."""
    for _ in range(200):
        base = random.randrange(21_000, 31_000, 7)      # below the range that the kernel hands out by itself
        if all(_is_free(base + offset) for offset in OFFSETS):
            return base
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def run(command: list[str], *words: str, check: bool = True, **more) -> subprocess.CompletedProcess:
    """Run a command to its end; with `check` it has to end with 0."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE, env=environment, **more)
    assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Suite:
    """A suite, of stand-ins or `real`, that runs in the background; `facts` is what `up --json` printed."""

    def __init__(self, state: Path, *options: str, only: str = "auth,queue,smtpin", real: bool = False) -> None:
        self.state, self.base = state, free_base()
        done = run(REAL if real else FAKE, "up", "--demo", "--state", state, "--port-base", self.base, "--only", only, "--json", "--detach", *options)
        self.facts = json.loads(done.stdout)

    def fancymail(self, *words: str, **more) -> subprocess.CompletedProcess:
        return run(FAKE, *words, "--state", self.state, **more)

    def fmctl(self, *words: str, **more) -> subprocess.CompletedProcess:
        return run(FMCTL, "--state", self.state, *words, **more)

    def status(self) -> dict:
        return json.loads(self.fancymail("status", "--json", check=False).stdout)

    def log(self) -> str:
        return (self.state / "log" / "fancymail.log").read_text()

    def down(self) -> None:
        run(FAKE, "down", "--state", self.state, check=False)
