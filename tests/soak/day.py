"""A day under siege: a real suite, honest clients, hostile ones beside them; python -m tests.soak.day MINUTES, or `bin/test --soak MINUTES`.

Honest clients send, log in, read, delete, and note how long each of it took. At the end all that was promised with 250 is collected. Prints
what was measured; `complaints` are what must not be, and what the exit code tells. No number of seconds is judged: machines differ.
"""

from __future__ import annotations

import imaplib
import json
import os
import poplib
import re
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.live.suite import BOB, Suite

ROOT = Path(__file__).parents[2]
DAEMONS = ("auth", "queue", "mailbox", "smtpout", "smtpin", "pop3", "imap", "imap-2")
MEMORY = 64 << 20           # octets by which a daemon may have grown when the siege is over
DESCRIPTORS = 48            # by so many more than before: files and slots that are open ahead


@dataclass
class Day:
    """What was measured."""

    seconds: dict[str, list[float]] = field(default_factory=dict)       # honest work: kind -> how long each took
    failures: list[str] = field(default_factory=list)                   # honest work that was refused or broke
    acked: set[str] = field(default_factory=set)
    found: list[str] = field(default_factory=list)
    hostile: dict[str, int] = field(default_factory=dict)
    before: dict[str, tuple[int, int]] = field(default_factory=dict)    # daemon -> (octets of memory, descriptors)
    after: dict[str, tuple[int, int]] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)                     # lines of level error in the log

    def complaints(self) -> list[str]:
        """All that must not be."""
        found = [f"honest work failed: {failure}" for failure in self.failures[:5]]
        found += [f"lost: {name}" for name in sorted(self.acked - set(self.found))[:5]]
        found += [f"twice: {name}" for name in sorted({name for name in self.found if self.found.count(name) > 1})[:5]]
        found += [f"{name} was started again {count} times" for name, count in self.restarts.items() if count]
        for name, (memory, descriptors) in self.after.items():
            if memory - self.before[name][0] > MEMORY:
                found.append(f"{name} keeps {memory - self.before[name][0] >> 20} MiB more than before")
            if descriptors - self.before[name][1] > DESCRIPTORS:
                found.append(f"{name} keeps {descriptors - self.before[name][1]} descriptors more than before")
        return found + [f"in the log: {line}" for line in self.errors[:5]]

    def report(self) -> str:
        """A page for people."""
        lines = ["honest work        count    p50 ms    p99 ms   most ms"]
        for kind, taken in sorted(self.seconds.items()):
            ranked = sorted(taken)
            p50, p99 = (ranked[min(int(len(ranked) * share), len(ranked) - 1)] * 1000 for share in (0.5, 0.99))
            lines.append(f"{kind:16}{len(ranked):>8}{p50:>10.1f}{p99:>10.1f}{ranked[-1] * 1000:>10.1f}")
        lines.append(f"acked {len(self.acked)}, delivered {len(set(self.found))}, failures {len(self.failures)}")
        lines.append("hostile clients: " + ", ".join(f"{kind} {count}" for kind, count in sorted(self.hostile.items())))
        lines.append("daemon      MiB before  after   descriptors before  after   restarts")
        for name in self.before:
            (memory, files), (later, more) = self.before[name], self.after[name]
            lines.append(f"{name:12}{memory / 2**20:>10.1f}{later / 2**20:>7.1f}{files:>21}{more:>7}{self.restarts[name]:>11}")
        return "\n".join(lines)


class Honest(threading.Thread):
    """One honest client that does its work again and again until the day is over."""

    def __init__(self, day: Day, kind: str, work, over: threading.Event, pause: float) -> None:
        super().__init__(name=kind)
        self.day, self.kind, self.work, self.over, self.pause = day, kind, work, over, pause
        self.taken = day.seconds.setdefault(kind, [])

    def run(self) -> None:
        while not self.over.wait(self.pause):
            begun = time.monotonic()
            try:
                self.work()
                self.taken.append(time.monotonic() - begun)
            except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto, EOFError) as error:
                self.day.failures.append(f"{self.kind}: {type(error).__name__} {error}")


class Clients:
    """What honest people do; one method per kind."""

    def __init__(self, suite: Suite, day: Day) -> None:
        self.suite, self.day, self.number = suite, day, 0

    def send(self) -> None:
        """A message by SMTP, as another server brings it."""
        self.number += 1
        name = f"soak{self.number:08d}"
        with smtplib.SMTP("127.0.0.1", self.suite.ports["smtp"], timeout=60) as client:
            client.sendmail("x@sender.test", [BOB], f"Subject: {name}\r\n\r\n{'text ' * 100}\r\n")
        self.day.acked.add(name)

    def submit(self) -> None:
        """A login on 587; nothing is sent, since nobody is outside."""
        with self.suite.submission() as client:
            assert client.mail("alice@example.test")[0] == 250
            client.rset()

    def read(self) -> None:
        """IMAP: log in, look, go."""
        client = imaplib.IMAP4("127.0.0.1", self.suite.ports["imap"], timeout=60)
        client.login("alice@example.test", self.suite.accounts["alice@example.test"])
        client.select("INBOX")
        client.fetch("1:*", "(FLAGS)")
        client.logout()

    def fetch(self) -> None:
        """POP3: take all that is there, and delete it."""
        self.day.found += [name.decode() for content in self.suite.collect(BOB, remove=True) for name in re.findall(rb"Subject: (soak\d+)", content)]


def spend(suite: Suite, seconds: float) -> Day:
    """Let the day go by."""
    day, over = Day(), threading.Event()
    clients = Clients(suite, day)
    people = [Honest(day, kind, work, over, pause) for kind, work, pause in (
        ("send", clients.send, 0.05), ("submit", clients.submit, 0.5), ("read", clients.read, 0.3), ("fetch", clients.fetch, 1.0))]
    clients.send(), clients.submit(), clients.read(), clients.fetch()               # warm, before anything is measured
    for name in DAEMONS:
        day.before[name] = measured(suite.pid(name))
    command = [sys.executable, "-m", "tests.soak.hostiles", json.dumps(suite.ports), str((suite.state / "run").resolve()), str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as siege:
        for person in people:
            person.start()
        day.hostile = json.loads(siege.communicate()[0])
    over.set()
    for person in people:
        person.join()
    settle(suite, clients, day)
    return day


def settle(suite: Suite, clients: Clients, day: Day) -> None:
    """The siege is over: take what still comes, see what is left."""
    deadline = time.monotonic() + 60
    while not day.acked <= set(day.found) and time.monotonic() < deadline:
        clients.fetch()
    while any(measured(suite.pid(name))[1] - day.before[name][1] > DESCRIPTORS for name in DAEMONS) and time.monotonic() < deadline:
        clients.fetch()
    rows = suite.status()["daemons"]
    for name in DAEMONS:
        day.after[name], day.restarts[name] = measured(suite.pid(name)), rows[name]["restarts"]
    day.errors = [line[:300] for line in suite.log().splitlines() if " error " in line]


def measured(pid: int) -> tuple[int, int]:
    """Resident octets that are the process's own, and its descriptors."""
    private = sum(int(kib) << 10 for kib in re.findall(r"^Private_\w+: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
    return private, len(os.listdir(f"/proc/{pid}/fd"))


def main() -> int:
    """Run a day of so many minutes in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        with Suite(Path(folder) / "state") as suite:
            day = spend(suite, float(sys.argv[1]) * 60)
    print(day.report())
    for complaint in day.complaints():
        print(complaint)
    return 1 if day.complaints() else 0


if __name__ == "__main__":
    sys.exit(main())
