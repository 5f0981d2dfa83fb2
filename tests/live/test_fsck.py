"""Somebody's hand in the files of a running suite: `fmctl audit` says what is wrong, `fmctl fsck` mends what is derived, and mail goes on."""

from __future__ import annotations

import signal
from contextlib import closing

import apsw
import pytest

from tests.live.suite import ALICE, BOB, POSTMASTER, Suite, message
from tests.suite_kit import wait_for

pytestmark = pytest.mark.timeout(180)

FAR = "someone@elsewhere.test"
SUBJECTS = [f"number {number} of them" for number in range(5)]
LARGE = "needle\n" + "A line of a text that goes on and on.\n" * 3000
CONFIG = """
[mailbox]
search-index = 1
[smtpout]
private-networks = true
retry-first = 600.0
[smtpout.transports."*"]
host = "127.0.0.1"
port = 9
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """One for all tests: what they break they have mended."""
    suite = Suite(tmp_path_factory.mktemp("fsck") / "state", config=CONFIG)
    for subject in SUBJECTS:
        send(suite, subject, "needle\n")
    suite.until_delivered(len(SUBJECTS))
    yield suite
    suite.down()


@pytest.fixture
def waiting(suite):
    """The id of a message for another server, which is away."""
    with suite.submission() as client:
        client.send_message(message("away", to=FAR, sender=ALICE))
    wait_for(lambda: [row["state"] for row in suite.ask("queue", "list")] == ["deferred"], "only this waits")
    yield suite.ask("queue", "list")[0]["id"]
    with suite.operator("queue") as door:
        door.call("drop", "outgoing", "all")


@pytest.fixture
def blob(suite):
    """The file of a large message of Bob's."""
    before = suite.listed(BOB)
    send(suite, "large", LARGE, to=BOB)
    suite.until_delivered(before + 1, BOB)
    with suite.operator("mailbox") as door:
        uid = door.rows("list", BOB)[1][-1].text(0)
        yield suite.state / door.call("blob", BOB, uid)[0].decode(), f"{BOB}/INBOX {uid}"
        door.call("expunge", BOB, uid)


def send(suite: Suite, subject: str, text: str = "Hello.\n", to: str = ALICE) -> None:
    with suite.smtp() as client:
        client.send_message(message(subject, text, to=to))


def canary(suite: Suite) -> None:
    """Mail arrives, once."""
    before = suite.listed(POSTMASTER)
    send(suite, "canary", to=POSTMASTER)
    suite.until_delivered(before + 1, POSTMASTER)
    assert b"Subject: canary" in suite.collect(POSTMASTER)[-1] and suite.listed(POSTMASTER) == before + 1


def seen(suite: Suite) -> list:
    """Whatever a client sees that is not the message itself, nor the modseq at which a rebuild began."""
    questions = ("STATUS INBOX (MESSAGES UNSEEN SIZE UIDNEXT)", "EXAMINE INBOX", "FETCH 1:* (ENVELOPE BODYSTRUCTURE PREVIEW)", "SEARCH TEXT needle",
                 'SEARCH SUBJECT "number 3"')
    with suite.imap() as wire:
        return [[line for line in wire.ask(question).untagged if b"HIGHESTMODSEQ" not in line] for question in questions]


def spoil(suite: Suite, database: str, *statements: str) -> None:
    """Change a database from outside, while its daemon has it open."""
    with closing(apsw.Connection(str(suite.state / database))) as connection:
        connection.set_busy_timeout(10_000)
        for statement in statements:
            connection.execute(statement)
            assert connection.changes(), statement


def mended(suite: Suite) -> dict:
    facts = suite.ask("fsck")
    assert facts["right"] and suite.ask("audit")["right"]
    return facts["mended"]


def audit_says(suite: Suite, word: str, *options: str) -> None:
    done = suite.fmctl("audit", *options, check=False)
    assert done.returncode == 1 and word in done.stdout and "NOT every message" in done.stdout, done.stdout


def test_nothing_is_wrong(suite, waiting):
    books = suite.ask("audit")["queues"]
    assert books["incoming"]["accepted"] == books["incoming"]["delivered"] >= len(SUBJECTS)
    assert books["outgoing"]["deferred"] == 1
    assert not any(count for part in mended(suite).values() for count in part.values())


@pytest.mark.parametrize("harm", ["deleted", "damaged"])
def test_an_index_of_the_queue_that_was_lost(suite, waiting, harm):
    suite.signal("queue", signal.SIGSTOP)
    for path in (suite.state / "queues").glob("index.db*"):
        path.unlink() if harm == "deleted" else path.write_bytes(b"no database " * 1000)
    suite.signal("queue", signal.SIGKILL)
    suite.wait_answers()
    assert [row["id"] for row in suite.ask("queue", "list")] == [waiting]
    mended(suite)
    canary(suite)


def test_an_index_of_the_queue_that_is_damaged_while_it_is_used(suite, waiting):
    index = suite.state / "queues" / "index.db"
    for path in (index, index.with_name("index.db-wal")):
        with open(path, "r+b") as file:
            file.seek(100)
            file.write(bytes(range(256)) * (max(path.stat().st_size - 100, 256) // 256))
    assert suite.fmctl("fsck", check=False).returncode == 1
    suite.wait_answers()
    assert [row["id"] for row in suite.ask("queue", "list")] == [waiting]
    mended(suite)
    canary(suite)


def test_a_message_whose_file_is_gone_is_named_and_ends_as_lost(suite, waiting):
    (suite.state / "queues" / "outgoing" / waiting).unlink()
    audit_says(suite, waiting)
    assert mended(suite)["queue"]["lost"] == 1
    canary(suite)


@pytest.mark.parametrize("change, said", [("word = 'accepted'", "accepted"), ("word = 'delivered' AND queue = 'incoming'", "accepted")])
def test_a_spoiled_tally(suite, waiting, change, said):
    spoil(suite, "queues/index.db", f"UPDATE tally SET messages = messages + 1000 WHERE {change}")
    audit_says(suite, "1000")
    done = suite.fmctl("fsck")
    assert f"incoming: {said}" in done.stdout and "every message is accounted for" in done.stdout
    assert "tally mended" in suite.log()
    assert not any(count for part in mended(suite).values() for count in part.values())
    canary(suite)


def test_wrong_counters_of_a_mailbox(suite):
    before = seen(suite)
    spoil(suite, "mail/shard-0.db", "UPDATE mailbox SET messages = 77, unseen = unseen + 1, octets = 1 WHERE name = 'INBOX' AND messages")
    audit_says(suite, f"{ALICE}/INBOX")
    assert mended(suite)["mailbox"]["recounted"] >= 1
    assert seen(suite) == before
    canary(suite)


def test_what_was_computed_of_messages(suite):
    before = seen(suite)
    spoil(suite, "mail/shard-0.db", "DELETE FROM derived", "DELETE FROM text")
    assert mended(suite)["mailbox"]["derived"] >= len(SUBJECTS)
    assert seen(suite) == before
    canary(suite)


@pytest.mark.parametrize("harm", ["deleted", "damaged"])
def test_the_index_of_words(suite, harm):
    before = seen(suite)
    for path in (suite.state / "mail").glob("text-0.db*"):
        path.unlink() if harm == "deleted" else path.write_bytes(b"no database " * 1000)
    assert mended(suite)["mailbox"]["texts"] == 1
    assert seen(suite) == before and (suite.state / "mail" / "text-0.db").exists()
    canary(suite)


def test_a_content_that_is_gone_is_named_and_cannot_be_mended(suite, blob):
    path, name = blob
    path.unlink()
    audit_says(suite, name)
    assert suite.fmctl("fsck", check=False).returncode == 1
    canary(suite)


def test_a_content_that_was_changed_is_found_by_reading_it(suite, blob):
    path, name = blob
    with open(path, "r+b") as file:
        file.seek(1000)
        file.write(b"#")
    assert suite.ask("audit")["right"]
    audit_says(suite, name, "--contents")
    canary(suite)


def test_the_next_audit_is_right(suite):
    assert suite.ask("audit", "--contents")["right"]
