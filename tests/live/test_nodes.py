"""Two whole nodes over one PostgreSQL, one bucket and one NATS: one mail system, of which any part may die at any time."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.cluster_kit import KILLED, LastingS3, Nats, Postgres, bucket, nats, open_folder, postgres
from tests.faults.ledger import Ledger
from tests.faults.load import Generator
from tests.live.suite import ALICE, BOB, POSTMASTER, Suite, message
from tests.suite_kit import alive, wait_for

pytestmark = pytest.mark.timeout(240)

LEASE = 2                               # seconds until a dead node's queue is taken over
BURST = 40                              # messages that are acked before something is killed


class Node(Suite):
    """A node; all of them have the accounts and passwords of the first."""

    def __init__(self, folder, name: str, engines: dict[str, str], first: Node | None = None, only: str | None = None) -> None:
        state = folder / name
        state.mkdir(mode=0o700)
        if first is not None:
            shutil.copy(first.state / "demo.json", state / "demo.json")
        lines = [f'{option} = "{address}"' for option, address in engines.items()]
        super().__init__(state, config="\n".join(["[storage]", *lines, f'node = "{name}"', f"lease = {LEASE}", "[imap]", "processes = 1"]), only=only)

    def processes(self) -> list[int]:
        """All of this node."""
        children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and self._is_child(pid)]
        return [self.pid("supervisor"), *children]

    def _is_child(self, pid: str) -> bool:
        try:
            with open(f"/proc/{pid}/stat") as file:
                return int(file.read().rpartition(")")[2].split()[1]) == self.pid("supervisor")
        except (FileNotFoundError, ProcessLookupError):
            return False

    def die(self) -> None:
        """As if the machine lost its power: nobody of it says another word."""
        pids = self.processes()
        for pid in pids:                # the supervisor first: it would start the others again
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, pids)), "all of the node is dead")


@pytest.fixture(scope="module")
def engines():
    return {"database": postgres().schema(), "blobs": bucket(), "hints": nats().url()}


@pytest.fixture(scope="module")
def nodes(engines, tmp_path_factory):
    folder, running = tmp_path_factory.mktemp("nodes"), []
    try:
        running.append(Node(folder, "one", engines))
        running.append(Node(folder, "two", engines, running[0]))
        yield running
    finally:
        for node in running:
            node.down()


def send(node: Suite, *subjects: str, to: str = ALICE) -> None:
    with node.smtp() as client:
        for subject in subjects:
            client.send_message(message(subject, to=to))


def subjects(node: Suite, user: str = ALICE) -> list[str]:
    """What a user finds on a node."""
    with node.imap(user) as wire:
        wire.select("INBOX", "EXAMINE")
        rows = wire.ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").of("FETCH")
    return [line.removeprefix(b"Subject: ").decode() for row in rows for line in row.split(b"\r\n") if line.startswith(b"Subject:")]


def collect(ledger: Ledger, node: Suite, users: tuple[str, ...]) -> None:
    for user in users:
        for content in node.collect(user):
            ledger.found(user, content)


def test_what_one_accepts_idle_clients_of_all_see(nodes):
    one, two = nodes
    with one.imap() as here, two.imap() as there:
        for wire in (here, there):
            wire.select("INBOX")
            wire.idle()
        send(one, "seen by all")
        for wire in (here, there):
            while b" EXISTS" not in (heard := wire.response()):
                pass
            assert heard.startswith(b"* ")
    assert subjects(one)[-1] == subjects(two)[-1] == "seen by all"
    assert one.collect() == two.collect()


def test_flags_set_on_one_are_seen_on_the_other(nodes):
    one, two = nodes
    send(two, "to be marked", to=BOB)
    two.until_delivered(1, BOB)
    with one.imap(BOB) as here, two.imap(BOB) as there:
        here.select("INBOX")
        there.select("INBOX")
        there.idle()
        here.ok(r"STORE 1 +FLAGS (\Flagged $Forwarded)")
        while b"FETCH" not in (heard := there.response()):
            pass
    assert rb"\Flagged" in heard and b"$Forwarded" in heard


def test_an_account_made_on_one_gets_mail_and_logs_in_on_the_other(nodes):
    one, two = nodes
    with one.operator("auth") as auth:
        auth.call("account-add", "carol@example.test", "carol carols")
    two.accounts["carol@example.test"] = "carol carols"
    send(two, "welcome", to="carol@example.test")
    one.until_delivered(1, "carol@example.test")
    assert subjects(two, "carol@example.test") == ["welcome"]


def test_the_queue_of_a_node_that_died_is_taken_over(nodes, engines, tmp_path):
    """The third accepts, and has nobody who delivers: what it answered 250 to is in its queue when it dies."""
    one, _ = nodes
    third = Node(tmp_path, "three", engines, one, only="auth,queue,smtpin")
    before = set(one.collect(POSTMASTER))
    try:
        send(third, *(f"left behind {number}" for number in range(5)), to=POSTMASTER)
        assert set(one.collect(POSTMASTER)) == before
    finally:
        third.die()
    one.until_delivered(len(before) + 5, POSTMASTER)
    assert sorted(subjects(one, POSTMASTER)[len(before):]) == [f"left behind {number}" for number in range(5)]


def test_nothing_is_lost_when_a_node_dies_under_load(engines, tmp_path):
    engines = engines | {"database": postgres().schema(), "blobs": bucket()}
    users, ledger = (ALICE, BOB), Ledger(tmp_path / "ledger")
    one = Node(tmp_path, "one", engines)
    two = Node(tmp_path, "two", engines, one)
    try:
        with Generator(ledger, one.ports["smtp"], list(users)), Generator(ledger, two.ports["smtp"], list(users), seed=1):
            wait_for(lambda: len(ledger.acked_) >= BURST, "mail is accepted")
            one.die()
            acked = len(ledger.acked_)
            wait_for(lambda: len(ledger.acked_) >= acked + BURST, "the other goes on")
        settle(ledger, two, users)
    finally:
        two.down()


def settle(ledger: Ledger, node: Suite, users: tuple[str, ...]) -> None:
    """Wait until all that was promised arrived; then nothing was lost, damaged, invented or delivered twice."""
    def wanting():
        ledger.arrived.clear()
        collect(ledger, node, users)
        return not ledger.verdict().lost
    wait_for(wanting, "all that was acked arrives")
    verdict = ledger.verdict()
    assert verdict.clean(), verdict


@pytest.fixture
def own():
    """Engines that may be killed."""
    folder = open_folder()              # pytest's own folders are closed to PostgreSQL's user whenever another pytest begins
    database, hints, objects = Postgres(folder / "postgres", KILLED), Nats(folder), LastingS3(folder)
    for engine in (database, hints, objects):
        engine.start()
    yield database, hints, objects
    for engine in (database, hints, objects):
        engine.kill()
    shutil.rmtree(folder)


def test_engines_may_die_and_come_back_under_load(own, tmp_path):
    """Clients see temporary errors, and nothing that was acked is lost: whatever of them is killed, restarted or silent."""
    database, hints, objects = own
    users, ledger = (ALICE, BOB), Ledger(tmp_path / "ledger")
    node = Node(tmp_path, "one", {"database": database.schema(), "blobs": objects.url("contents"), "hints": hints.url()})
    try:
        with Generator(ledger, node.ports["smtp"], list(users), patience=30.0) as load:         # a silent bucket is waited for, 10 seconds
            def goes_on(what: str) -> None:
                acked = len(ledger.acked_)
                wait_for(lambda: len(ledger.acked_) >= acked + BURST, what)

            def put_off(what: str) -> None:
                acked, refused = len(ledger.acked_), load.put_off()
                wait_for(lambda: load.put_off() > refused, f"mail is put off while {what}")
                assert len(ledger.acked_) <= acked + 4         # what each connection had under way
            goes_on("mail is accepted")
            for end in (database.kill, database.stop):
                end()
                put_off("the database is away")
                database.start()
                goes_on("the database is back")
            hints.kill()
            goes_on("nobody needs hints")
            hints.start()
            objects.pause()
            put_off("the bucket is silent")
            objects.go_on()
            goes_on("the bucket is back")
            objects.kill()
            put_off("the bucket is dead")
            objects.start()
            goes_on("the bucket has started again")
        assert all(code == 250 or 400 <= code < 500 for code in load.refused), load.refused
        settle(ledger, node, users)
    finally:
        node.down()
