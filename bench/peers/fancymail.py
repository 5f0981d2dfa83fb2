"""Our suite, as `fancymail up --demo` starts it, with a configuration of one's own."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from bench.peers.peer import Peer
from fancymail.ipc.sync import SyncClient

ROOT = Path(__file__).resolve().parents[2]
USER, DOMAIN = "alice", "example.test"
LOOK = 8.0                      # seconds between two looks whether the index grew; fm-mailbox itself looks every 5 for new mail


class FancyMail(Peer):
    """The suite on loopback; `only` names the daemons (all of them otherwise), `config` is TOML that goes over the demo's."""

    name = "FancyMail"

    def __init__(self, folder: Path, only: str = "", config: str = "") -> None:
        self.folder, self.only, self.config = Path(folder), only, config
        self.state = self.folder / "state"

    def start(self) -> None:
        command = ["up", "--demo", "--port-base", str(_port_base()), "--json", "--detach"]
        if self.only:
            command += ["--only", self.only]
        if self.config:
            (self.folder / "bench.toml").write_text(self.config)
            command += ["--config", str(self.folder / "bench.toml")]
        ready = json.loads(self.fancymail(*command).splitlines()[-1])
        self.ports, self.accounts, self.doors = ready["ports"], ready["accounts"], ready["ipc"]
        self.port = self.ports["smtp"] if "smtp" in self.ports else next(iter(self.ports.values()))
        self.imap_port, self.pop3_port = self.ports.get("imap", 0), self.ports.get("pop3", 0)
        self.user = f"{USER}@{DOMAIN}"
        self.password = self.accounts[self.user]
        self.roots = [int((self.state / "run/supervisor.pid").read_text().split()[0])]

    def fancymail(self, *words: str) -> str:
        """Run bin/fancymail on our state folder; return what it printed. Raises RuntimeError."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}     # every start would compile all anew
        run = subprocess.run([sys.executable, str(ROOT / "bin/fancymail"), words[0], "--state", str(self.state), *words[1:]],
                             capture_output=True, text=True, env=kept)
        if run.returncode != 0:
            raise RuntimeError(f"fancymail {words[0]}: {run.stdout}{run.stderr}")
        return run.stdout

    def delivered(self) -> int:
        with SyncClient(self.doors["mailbox"]) as mailbox:
            return json.loads(mailbox.call("stats")[0]).get("delivered", 0)

    def rest(self) -> None:
        """The full-text index is filled behind: wait until it grows no more."""
        with SyncClient(self.doors["mailbox"]) as mailbox:
            before = -1
            while (now := json.loads(mailbox.call("stats")[0]).get("indexed", 0)) != before:
                before = now
                time.sleep(LOOK)

    def waiting(self) -> int:
        with SyncClient(self.doors["queue"]) as queue:
            return sum(int(count) for row in queue.rows("queues")[1] for count in row.params[1:4])      # ready, leased, deferred

    def stop(self) -> None:
        with suppress(RuntimeError):
            self.fancymail("down")


def _port_base() -> int:
    """Return a base above which the suite's ports are free."""
    for base in random.sample(range(24_000, 60_000, 1_000), 36):       # two that start at once seldom choose the same
        try:
            for usual in (25, 587, 465, 24, 110, 995, 143, 993):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + usual))
            return base
        except OSError:
            continue
    raise OSError("no free port base")
