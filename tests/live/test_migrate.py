"""`fancymail migrate`: a suite moves to a cluster and back under load, killed wherever it hurts, and whoever uses it finds what was there."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from tests import suite_kit
from tests.cluster_kit import bucket, free_port, nats, postgres
from tests.faults.ledger import Ledger
from tests.faults.load import Generator
from tests.live.suite import ALICE, BOB, POSTMASTER, Suite, message
from tests.suite_kit import wait_for

pytestmark = pytest.mark.timeout(300)

TO_CLUSTER = ("migrate.contents", "migrate.letters", "migrate.account", "migrate.letters", "migrate.queue", "migrate.verified", "migrate.left",
              "migrate.arrived", "migrate.aside")
TO_FILES = ("migrate.contents", "migrate.letters", "migrate.account", "migrate.letters", "migrate.queue", "migrate.verified", "migrate.left",
            "migrate.placed")
FEW = ("migrate.letters", "migrate.queue", "migrate.left", "migrate.aside", "migrate.placed")       # each costs seconds
BURST = 20
BOXES = ("INBOX", "Work", "Work/Deep", "Sent")


class Movable(Suite):
    """A suite that can be started on files and on a cluster, at the same ports."""

    def __init__(self, folder) -> None:
        self.addresses = {"database": postgres().schema(), "blobs": bucket(), "hints": nats().url()}
        self.file, self.nobody = folder / "state.toml", free_port()
        super().__init__(folder / "state", config=self.options_of(cluster=False))

    def to_cluster(self, *options: str, **more) -> subprocess.CompletedProcess:
        return self.fancymail("migrate", "--to", self.addresses["database"], self.addresses["blobs"], *options, **more)

    def to_files(self, **more) -> subprocess.CompletedProcess:
        return self.fancymail("migrate", "--to", self.state, **more)

    def on(self, cluster: bool) -> None:
        """Start it as the last move said."""
        self.file.write_text(self.options_of(cluster))
        self.up()

    def options_of(self, cluster: bool) -> str:
        """The configuration; other servers' mail goes to where nobody listens."""
        lines = [f'{name} = "{value}"' for name, value in self.addresses.items()] if cluster else []
        return "\n".join(["[storage]", *lines, "[smtpout]", "private-networks = true", '[smtpout.transports."*"]', 'host = "127.0.0.1"',
                          f"port = {self.nobody}", ""])


@pytest.fixture
def suite(tmp_path):
    running = Movable(tmp_path)
    try:
        yield running
    finally:
        running.down()


def furnish(suite: Suite, user: str = BOB) -> None:
    """Mailboxes as people have them, and queues in every state."""
    with suite.smtp() as client:
        for number in range(8):
            client.send_message(message(f"letter {number}", "x" * (60_000 if number == 3 else 30), to=user))
        client.send_message(message("for another"))
    suite.until_delivered(8, user)
    suite.until_delivered(1)
    with suite.imap(user) as wire:
        for name in BOXES[1:3]:
            wire.ok(f"CREATE {name}")
        wire.select("INBOX")
        wire.ok(r"STORE 1:3 +FLAGS (\Seen $Important)")
        wire.ok("COPY 2:4 Work")
        wire.ok("MOVE 5 Work/Deep")
        wire.ok(r"STORE 1 +FLAGS (\Deleted)")
        wire.ok("EXPUNGE")
        wire.ok("UNSUBSCRIBE Sent")
        wire.ok('SETMETADATA Work (/private/comment "mine")')
        wire.ok(f"SETACL Work {ALICE} lrs")
    with suite.submission() as client:                          # to where nobody is: deferred, and some of them held
        for number in range(6):
            client.send_message(message(f"out {number}", sender=ALICE, to=f"x{number}@nowhere.test"))
    wait_for(lambda: {row["state"] for row in suite.ask("queue", "list", "--queue", "outgoing")} == {"deferred"}, "all are deferred")
    suite.fmctl("queue", "hold", "--queue", "outgoing", "--recipient", "x1@*")
    suite.fmctl("account", "grant", ALICE, "send", POSTMASTER)
    suite.fmctl("alias", "add", "all@example.test", ALICE, BOB)


def picture(suite: Suite, user: str = BOB) -> dict:
    """All that a user's client can find out, and what waits in the queue."""
    found: dict = {words: suite.ask(*words) for words in (("account", "show", ALICE), ("account", "list"), ("alias", "list"), ("domain", "list"))}
    waiting = suite.ask("queue", "list", "--queue", "outgoing")
    found["queue"] = sorted((row["id"], row["state"] == "held", row["sender"], row["recipients"]) for row in waiting)
    with suite.imap(user) as wire:
        wire.ok("ENABLE QRESYNC")
        found["subscribed"] = sorted(wire.ok('LSUB "" *').of("LSUB"))
        found["quota"] = wire.ok("GETQUOTAROOT INBOX").untagged
        for name in BOXES:
            found[name] = (wire.ok(f"STATUS {name} (MESSAGES UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID SIZE)").untagged,
                           wire.ok(f"GETACL {name}").untagged, wire.ok(f"GETMETADATA {name} (/private/comment)").untagged)
            validity = re.search(rb"UIDVALIDITY (\d+)", found[name][0][0])[1].decode()
            wire.ok(f"EXAMINE {name} (QRESYNC ({validity} 1))")
            items = "(UID FLAGS MODSEQ INTERNALDATE SAVEDATE EMAILID THREADID RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])"
            found[name] += (wire.ok(f"UID FETCH 1:* {items}").untagged, wire.ok("UID FETCH 1:* (UID) (CHANGEDSINCE 1 VANISHED)").untagged)
    return found


def settled(suite: Suite, ledger: Ledger, users: tuple[str, ...]) -> None:
    """All that was promised is there once, whole."""
    def all_there() -> bool:
        ledger.arrived.clear()
        for user in users:
            for content in suite.collect(user):
                if b"X-Ledger: " in content:
                    ledger.found(user, content)
        return not ledger.verdict().lost
    wait_for(all_there, "all that was acked arrives")
    verdict = ledger.verdict()
    assert verdict.clean(), verdict


def test_a_suite_moves_to_a_cluster_and_back_while_mail_comes_in(suite, tmp_path):
    users, ledger = (ALICE, POSTMASTER), Ledger(tmp_path / "ledger")
    furnish(suite)
    before = picture(suite)
    with Generator(ledger, suite.ports["smtp"], list(users), pause=0.4):
        def goes_on(where: str) -> None:
            acked = len(ledger.acked_)
            wait_for(lambda: len(ledger.acked_) >= acked + BURST, f"mail is accepted on {where}")
        goes_on("files")
        assert "Moved and verified" in suite.to_cluster().stdout
        suite.on(cluster=True)
        goes_on("a cluster")
        assert picture(suite) == before
        assert "Moved and verified" in suite.to_files().stdout
        suite.on(cluster=False)
        goes_on("files again")
        assert picture(suite) == before
    settled(suite, ledger, users)


def killed(suite: Movable, point: str, *words: str) -> None:
    """Run `fancymail migrate` and have it killed at a point."""
    environment = os.environ | {"PYTHONPATH": str(suite_kit.CHECKOUT), "FM_CRASH_AT": point}
    done = subprocess.run([*suite.program, "migrate", "--state", suite.state, *words], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, f"{point}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("points", [FEW, pytest.param((*TO_CLUSTER, *TO_FILES), marks=pytest.mark.slow)], ids=["few", "all"])
def test_killed_anywhere_it_goes_on(suite, points):
    furnish(suite)
    before = picture(suite)
    suite.down()
    for point in (point for point in TO_CLUSTER if point in points):
        killed(suite, point, "--to", suite.addresses["database"], suite.addresses["blobs"])
    assert "done" in suite.to_cluster().stdout and "moved already" in suite.to_cluster(check=False).stderr
    suite.on(cluster=True)
    assert picture(suite) == before
    suite.down()
    for point in (point for point in TO_FILES if point in points):
        killed(suite, point, "--to", suite.state)
    assert "done" in suite.to_files().stdout
    suite.on(cluster=False)
    assert picture(suite) == before


def test_nobody_starts_where_the_mail_is_not(suite):
    """Not on files that were moved away, not on a database that was; and not twice into the same one."""
    suite.down()
    suite.to_cluster()
    assert "storage.database" in suite.fancymail("up", check=False).stderr
    assert "moved already" in suite.to_cluster(check=False).stderr
    suite.on(cluster=True)
    suite.to_files()
    suite.file.write_text(suite.options_of(cluster=True) + "[server]\nstart-timeout = 3.0\n")
    refused = suite_kit.run(suite.program, "up", "--demo", "--state", suite.state, "--config", suite.file, "--port-base", suite.base,
                            "--only", "auth", check=False)
    assert refused.returncode != 0 and "moved away" in suite.log()
    suite.on(cluster=False)
    suite.down()
    assert "give an empty one" in suite.to_cluster(check=False).stderr


def test_copies_first_and_the_rest_later(suite):
    with suite.smtp() as client:
        client.send_message(message("first", to=BOB))
    suite.until_delivered(1, BOB)
    assert "Nothing was switched" in suite.to_cluster("--copy-only").stdout
    with suite.smtp() as client:
        client.send_message(message("second", to=BOB))
    suite.until_delivered(2, BOB)
    assert "carried 1 messages of 1 accounts" in suite.to_cluster().stdout
    suite.on(cluster=True)
    assert len(suite.collect(BOB)) == 2
