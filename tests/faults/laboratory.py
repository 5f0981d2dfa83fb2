"""The laboratory: a whole suite of real daemons under load, a fault, and the reckoning afterwards.

    with Laboratory(folder, seed=7) as laboratory:
        with laboratory.load():
            ...                                     # what goes wrong
        verdict = laboratory.reckon()               # at rest: nothing lost, unexpected, damaged, duplicated

Mail goes to two mailboxes, by an alias to another server (a sink in this process, over a line that can be cut), and by another to
somebody whom that server refuses, which must end in a DSN. Everything is judged at the level of promises: verbs, protocols, and the
reader that fm-imap uses on the disk.
"""

from __future__ import annotations

import asyncio
import imaplib
import json
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from fancymail.ipc.message import IpcError
from fancymail.mail.mailbox import INBOX
from fancymail.mail.uidset import LARGEST
from fancymail.storage.ports.reader import CONTENT, Content
from fancymail.storage.sqlite.reader import SqliteReader
from tests import suite_kit
from tests.faults.evidence import evidence
from tests.faults.ledger import Ledger, Verdict
from tests.faults.load import Generator
from tests.faults.report import tell
from tests.faults.sink import Line, Sink
from tests.live.suite import Suite
from tests.suite_kit import wait_for

LOCAL = ("alice@example.test", "bob@example.test")
ALIASES = {"far@example.test": "far@elsewhere.test", "gone@example.test": "gone@elsewhere.test"}
RECIPIENTS = [*LOCAL, *ALIASES]
SENDER = "x@sender.test"
PATIENCE = 200          # seconds: longer than every wait of the suite, its leases included
BACKGROUND = ("derived", "texts")
DAEMONS = ("auth", "queue", "mailbox", "smtpin", "smtpout", "pop3", "imap", "imap-2")
CONFIG = """
[ipc]
poll-interval = 1.0
[queue]
free-octets = 1000000
free-files = 50
restart-grace = 2.0
[queue.queues.incoming]
lease = 30.0
deaths = 20
[queue.queues.outgoing]
lease = 30.0
deaths = 20
[smtpout]
private-networks = true
retry-first = 1.0
retry-longest = 2.0
dead-host = 0.0
connect-timeout = 3.0
command-timeout = 5.0
content-timeout = 5.0
final-timeout = 10.0
[smtpout.transports."*"]
host = "%s"
port = %d
"""


class Kept(Suite):
    """A suite whose processes begin with some Python of ours (`prelude`) and have some environment of ours."""

    def __init__(self, state: Path, config: str, prelude: str = "", environment: dict[str, str] | None = None) -> None:
        self.prelude, self.environment = prelude, dict(environment or {})
        super().__init__(state, config=config)

    def up(self) -> None:
        self.program = [*suite_kit.REAL[:2], f"import tests.faults.mutated\n{self.prelude}\n{suite_kit.REAL[2]}"]
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            super().up()
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.supervisor = self.pid("supervisor")

    def end_all(self) -> None:
        """Kill every process in the same moment, asking no file of the state folder: it may be gone."""
        pids = [self.supervisor, *children(self.supervisor)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(suite_kit.alive, pids)), "all are dead")


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, _, rest = stat.read_text().partition(" ")
            if int(rest.rpartition(")")[2].split()[1]) == parent:
                found.append(int(pid))
    return found


class Laboratory:
    """One suite, one ledger. `state` may lie elsewhere than `folder`, where the ledger is. `line`: what leads to the other server."""

    def __init__(self, folder: Path, *, seed: int = 0, state: Path | None = None, config: str = "", prelude: str = "",
                 environment: dict[str, str] | None = None, threads: int = 3, line: type[Line] = Line) -> None:
        self.folder, self.seed, self.threads = folder, seed, threads
        self.chance = random.Random(seed)
        self.state = state or folder / "state"
        self.sink, self.line, self.wire = Sink(), line, None
        self.ledger = Ledger(folder / "ledger", local=lambda recipient: recipient in LOCAL)
        self.config, self.prelude, self.environment = config, prelude, environment
        self.suite: Kept | None = None
        self.answers: Counter[int] = Counter()
        self.count: Counter[str] = Counter()            # what was done to it
        self.clock = folder / "clock"
        self.trigger = folder / "trigger"               # of a crash point
        self.set_clock(0)

    def __enter__(self) -> "Laboratory":
        self.sink.__enter__()
        self.wire = self.line(self.sink.port).__enter__()
        self.start()
        with self.suite.operator("auth") as auth:
            for alias, target in ALIASES.items():
                with suppress(IpcError):        # it is there already
                    auth.call("alias-add", alias, target)
        return self

    def __exit__(self, *exc) -> None:
        if self.suite:
            self.suite.down()
        self.wire.__exit__()
        self.sink.__exit__()

    def start(self) -> None:
        """Start the suite, as it is after a boot."""
        self.suite = Kept(self.state, CONFIG % (self.wire.host, self.wire.port) + self.config, self.prelude, self.environment)

    def kill(self, name: str) -> None:
        """Kill a daemon with -9, if it lives."""
        self.suite.signal(name, signal.SIGKILL)
        self.count["killed"] += 1

    def set_clock(self, seconds: int) -> None:
        """Have the suite's wall clock, if it is under libfaketime (`clock_environment`), be so far from ours."""
        self.clock.write_text(f"{seconds:+d}\n")

    def load(self) -> "Load":
        """Send until the end of the block."""
        return Load(self)

    def reckon(self, least: int = 10, broken: bool = False) -> Verdict:
        """Wait until all is settled, collect everything everywhere, and judge. broken: on purpose, so it is not counted."""
        self.settle()
        self.audit()
        self.fsck()
        self.collect()
        verdict = self.ledger.verdict()
        tell(f"seed {self.seed}: {verdict}; answers {dict(self.answers)}; {dict(self.count)}", **({} if broken else verdict.counts()))
        if verdict.lost and not broken:
            tell("\n".join(["what the log says of them:", *evidence(self.state / "log/fancymail.log", LOCAL)]))
        assert verdict.clean(), f"seed {self.seed}: {verdict}"
        assert verdict.acked >= least, f"seed {self.seed}: hardly anything was accepted: {verdict}; answers {dict(self.answers)}"
        return verdict

    def settle(self) -> None:
        """Wait until every daemon answers and nothing waits any more."""
        self.wire.mend()
        self.suite.wait_answers()
        end = time.monotonic() + PATIENCE
        while not self._is_empty():
            assert time.monotonic() < end, f"seed {self.seed}: still in the queues: {self.suite.fmctl('queue', 'list').stdout}"
            time.sleep(0.1)

    def _is_empty(self) -> bool:
        """Whether nothing waits; what was put off for later is tried now."""
        with suppress(IpcError), self.suite.operator("queue") as queue:
            rows = queue.rows("queues", timeout=5)[1]
            for row in rows:
                name, ready, leased, deferred, _, dead, corrupt, _ = (row.text(place) for place in range(8))
                assert (dead, corrupt) == ("0", "0"), f"seed {self.seed}: {dead} dead and {corrupt} corrupt messages in {name}"
                if deferred != "0":
                    queue.call("retry", name, "state=deferred", timeout=5)
            return not any(int(row.text(place)) for row in rows for place in (1, 2, 3, 4))
        return False

    def audit(self) -> dict:
        """The suite's own books must be right to the message."""
        done = self.suite.fmctl("--json", "audit", check=False)
        assert done.returncode == 0, f"seed {self.seed}: the audit says\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def fsck(self) -> None:
        """Nothing is left to be mended, but for what is computed of messages in the background."""
        done = self.suite.fmctl("--json", "fsck", check=False)
        assert done.returncode == 0, f"seed {self.seed}: fsck says\n{done.stdout}{done.stderr}"
        mended = {name: count for part in json.loads(done.stdout)["mended"].values() for name, count in part.items() if name not in BACKGROUND}
        assert not any(mended.values()), f"seed {self.seed}: fsck mended {mended}"

    def collect(self) -> None:
        """By POP3, by IMAP, from the disk, and from the sink: mailboxes must look alike from everywhere."""
        for user in LOCAL:
            by_pop3 = self.suite.collect(user)
            by_imap = self._by_imap(user)
            on_disk = asyncio.run(from_disk(self.state / "mail", user))
            assert Counter(by_pop3) == Counter(by_imap) == Counter(on_disk), f"seed {self.seed}: {user}: POP3, IMAP and disk differ"
            for content in by_pop3:
                self.ledger.found(user, content)
        for taken in self.sink.taken:
            if taken.sender:
                assert taken.recipients == (ALIASES["far@example.test"],), taken.recipients
                self.ledger.found("far@example.test", taken.content)
            else:
                assert taken.recipients == (SENDER,), taken.recipients
                self.ledger.told("gone@example.test", taken.content)

    def _by_imap(self, user: str) -> list[bytes]:
        with imaplib.IMAP4("127.0.0.1", self.suite.ports["imap"]) as client:
            client.login(user, self.suite.accounts[user])
            count = int(client.select(INBOX, readonly=True)[1][0])
            if not count:
                return []
            answers = client.fetch("1:*", "(BODY.PEEK[])")[1]
            return [answer[1] for answer in answers if isinstance(answer, tuple)]


class Load:
    """A generator of its own each time; what it was answered is added up."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.generator = Generator(laboratory.ledger, laboratory.suite.ports["smtp"], RECIPIENTS, threads=laboratory.threads,
                                   seed=laboratory.chance.randrange(1 << 30), sender=SENDER)

    def __enter__(self) -> Generator:
        return self.generator.__enter__()

    def __exit__(self, *exc) -> None:
        self.generator.__exit__(*exc)
        self.laboratory.answers.update(self.generator.refused)


async def from_disk(folder: Path, user: str, shards: int = 1) -> list[bytes]:
    """An INBOX as it lies on the disk, through the reader that fm-imap uses, with nobody's help."""
    reader = SqliteReader(folder, shards)
    try:
        mailbox = await reader.mailbox(user, INBOX)
        if mailbox is None:
            return []
        box = reader.open(user, mailbox.id)
        rows = await box.columns(CONTENT, [(1, LARGEST)])
        return [await box.octets(Content(*row)) for row in rows]
    finally:
        reader.close()
