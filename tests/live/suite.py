"""The whole suite, started as a stranger starts it: bin/fancymail up --demo --detach, with its own state folder and ports."""

from __future__ import annotations

import json
import os
import poplib
import random
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from email.message import EmailMessage
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
USUAL_PORTS = (25, 587, 465, 24, 110, 995, 143, 993, 80, 4190, 5222, 5269)


class Suite:
    """A running suite; everything that it started ends with stop()."""

    def __init__(self, state: Path, *, config: str = "", only: str = "") -> None:
        self.state = Path(state)
        self.options = ["--only", only] if only else []
        if config:
            path = self.state.parent / f"{self.state.name}.toml"
            path.write_text(config)
            self.options += ["--config", str(path)]

    def start(self) -> "Suite":
        """Start it and wait until every daemon answers."""
        command = [sys.executable, ROOT / "bin/fancymail", "up", "--demo", "--state", self.state, "--port-base", str(free_base()), "--json", "--detach"]
        run = subprocess.run([*map(str, command), *self.options], capture_output=True, text=True, timeout=90)
        assert run.returncode == 0, run.stdout + run.stderr + self.log()[-3000:]
        self.ready = json.loads(run.stdout.splitlines()[-1])
        self.ports, self.accounts, self.ipc, self.ca = (self.ready[key] for key in ("ports", "accounts", "ipc", "ca"))
        return self

    def stop(self) -> None:
        """End it; a suite that is gone already is no error."""
        subprocess.run([sys.executable, ROOT / "bin/fancymail", "down", "--state", self.state], capture_output=True, timeout=120)

    def log(self) -> str:
        """Return the log so far."""
        path = self.state / "log/fancymail.log"
        return path.read_text() if path.exists() else ""

    def fmctl(self, *words: str, check: bool = True) -> str:
        """Run fmctl against it and return what it prints."""
        run = subprocess.run([sys.executable, ROOT / "bin/fmctl", "--state", self.state, *words], capture_output=True, text=True, timeout=60)
        assert not check or run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def pids(self) -> dict[str, int]:
        """Return daemon -> pid, as the supervisor knows it now."""
        path = self.state / "run/supervisor.json"
        return {name: child["pid"] for name, child in json.loads(path.read_text())["daemons"].items()}

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to one daemon."""
        pid = self.pids().get(name)
        if pid:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    # -- as a client -------------------------------------------------------------------------------------------------------

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts the demo's authority, and nobody else."""
        return ssl.create_default_context(cafile=self.ca)

    def smtp(self) -> smtplib.SMTP:
        """Connect to port 25."""
        return smtplib.SMTP("localhost", self.ports["smtp"], timeout=30)

    def submission(self, user: str = "alice@example.test") -> smtplib.SMTP:
        """Connect to 587, with TLS, logged in."""
        client = smtplib.SMTP("localhost", self.ports["submission"], timeout=30)
        client.starttls(context=self.tls())
        client.login(user, self.accounts[user])
        return client

    def pop3(self, user: str = "alice@example.test") -> poplib.POP3:
        """Connect to POP3S, logged in."""
        client = poplib.POP3_SSL("localhost", self.ports["pop3s"], context=self.tls(), timeout=30)
        client.user(user)
        client.pass_(self.accounts[user])
        return client

    def collect(self, user: str = "alice@example.test", remove: bool = False) -> list[bytes]:
        """Return all messages of a user, CRLF line ends, as POP3 gives them."""
        client = self.pop3(user)
        count = client.stat()[0]
        found = [b"\r\n".join(client.retr(number + 1)[1]) + b"\r\n" for number in range(count)]
        for number in range(count if remove else 0):
            client.dele(number + 1)
        client.quit()
        return found

    def until_delivered(self, count: int, user: str = "alice@example.test", seconds: float = 30.0) -> None:
        """Return when the user has at least `count` messages."""
        until(lambda: int(self.listed(user)) >= count, seconds, f"{count} messages for {user}")

    def listed(self, user: str) -> int:
        """Return how many messages the mailbox server lists."""
        first = self.fmctl("send", "mailbox", "list", user).splitlines()[0]
        return int(first.rsplit(None, 1)[-1])


def until(condition, seconds: float = 30.0, what: str = "") -> None:
    """Return when the condition holds; it is asked again and again, because what it waits for happens in other processes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to pass: {what or condition}"
        time.sleep(0.05)


def free_base() -> int:
    """Return a port base above which the suite's ports are free."""
    bases = list(range(21_000, 59_000, 40))
    random.shuffle(bases)
    for base in bases:
        probes = []
        try:
            for usual in USUAL_PORTS:
                probes.append(socket.socket())
                probes[-1].bind(("127.0.0.1", base + usual))
            return base
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise OSError("no free ports")


def message(subject: str, text: str = "Hello.\n", sender: str = "x@sender.test", to: str = "alice@example.test") -> EmailMessage:
    """Return a small message."""
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = subject, sender, to
    mail.set_content(text)
    return mail
