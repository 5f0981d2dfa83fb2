"""A suite of real processes for tests: started, asked and killed through the same commands that people use.

`Suite(state, real=True)` is `fancymail up --demo` with every daemon; without `real` the daemons are stand-ins (tests/cli).
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
FAKE = [sys.executable, str(Path(__file__).parent / "cli" / "fake_suite.py")]
REAL = [sys.executable, "-c", "import sys; sys.argv[0] = 'fancymail'; from fancymail.cli.suite import main; main()"]
FMCTL = [sys.executable, "-c", "import sys; sys.argv[0] = 'fmctl'; from fancymail.cli.fmctl import main; main()"]
OFFSETS = (24, 25, 110, 143, 465, 587, 993, 995)
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


def wait_for(condition, what: str) -> object:
    """Poll a fact of another process until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        select.select([], [], [], 0.02)
    return found


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Suite:
    """A suite, of stand-ins or `real`, that runs in the background; `facts` is what `up --json` printed. `prefix`: a command in front."""

    prefix: list[str] = []

    def __init__(self, state: Path, *options: str, only: str | None = None, real: bool = False) -> None:
        self.state, self.base = Path(state), free_base()
        self.program = [*self.prefix, *(REAL if real else FAKE)]
        only = only or (None if real else "auth,queue,smtpin")
        self.options = [*options, *(["--only", only] if only else [])]
        self.facts: dict = {}
        self.up()

    def up(self) -> None:
        """Start it, again after down()."""
        done = run(self.program, "up", "--demo", "--state", self.state, "--port-base", self.base, "--json", "--detach", *self.options)
        self.facts = json.loads(done.stdout)
        self.ports, self.accounts, self.ipc = self.facts["ports"], self.facts["accounts"], self.facts["ipc"]

    def fancymail(self, *words: str, **more) -> subprocess.CompletedProcess:
        """Run `fancymail WORDS --state ...`."""
        return run(self.program, *words, "--state", self.state, **more)

    def fmctl(self, *words: str, **more) -> subprocess.CompletedProcess:
        """Run `fmctl --state ... WORDS`."""
        return run(FMCTL, "--state", self.state, *words, **more)

    def ask(self, *words: str) -> object:
        """Run `fmctl --json WORDS` and return what it printed."""
        return json.loads(self.fmctl("--json", *words).stdout)

    def status(self) -> dict:
        """Return what `fancymail status --json` says."""
        return json.loads(self.fancymail("status", "--json", check=False).stdout)

    def pid(self, daemon: str) -> int:
        """Return the pid of a daemon, as the supervisor knows it."""
        facts = json.loads((self.state / "run" / "supervisor.json").read_text())
        return facts["pid"] if daemon == "supervisor" else facts["daemons"][daemon]["pid"]

    def kill(self, daemon: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a daemon; return the pid that it had."""
        pid = self.pid(daemon)
        if pid:      # 0: it is dead already, and not yet started again
            os.kill(pid, number)
        return pid

    def wait_answers(self) -> None:
        """Wait until every daemon answers again."""
        wait_for(lambda: all(row["answers"] for row in self.status()["daemons"].values()), "every daemon answers")

    def log(self) -> str:
        """Return the whole log."""
        return (self.state / "log" / "fancymail.log").read_text()

    def client_tls(self) -> ssl.SSLContext:
        """Return a context that trusts the demo's CA and nothing else."""
        return ssl.create_default_context(cafile=self.facts["ca"])

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.down()

    def down(self) -> None:
        """End it, if it runs."""
        run(self.program, "down", "--state", self.state, check=False)
