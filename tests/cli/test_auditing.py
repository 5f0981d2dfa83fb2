"""`fmctl audit` and `fmctl fsck` against real daemons: right when all is right, and wrong, by name, when something was taken away."""

from __future__ import annotations

import pytest

from fancymail.ipc.sync import SyncClient
from tests.suite_kit import Suite, wait_for

pytestmark = pytest.mark.live

ALICE = "alice@example.test"
LARGE = b"Subject: kept\r\n\r\n" + b"A line of a text.\r\n" * 10_000


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    suite = Suite(tmp_path_factory.mktemp("audit") / "state", only="auth,queue,mailbox,smtpin", real=True)
    with SyncClient(suite.facts["ipc"]["mailbox"]) as door:
        door.write_raw("store", ALICE, ALICE, len(LARGE), content=LARGE)
    with SyncClient(suite.facts["ipc"]["smtpin"]) as door:
        for recipient in (ALICE, "someone@elsewhere.test"):
            door.write_raw("inject", "", len(LARGE), recipient, content=LARGE)
    wait_for(lambda: suite.ask("audit")["queues"]["incoming"]["delivered"] == 1, "it is delivered")
    yield suite
    suite.down()


def test_every_message_is_accounted_for(suite):
    facts = suite.ask("audit", "--contents")
    incoming, outgoing = facts["queues"]["incoming"], facts["queues"]["outgoing"]
    assert facts["right"] and (incoming["accepted"], incoming["delivered"], incoming["difference"]) == (1, 1, 0)
    assert (outgoing["accepted"], outgoing["ready"]) == (1, 1)
    assert facts["mailboxes"]["messages"] == 2
    assert "every message is accounted for" in suite.fmctl("audit").stdout
    suite.fmctl("fsck")                         # what came by hand was not derived yet
    assert "nothing, all was right" in suite.fmctl("fsck").stdout


def test_what_was_taken_away_is_named_and_given_up(suite):
    waiting, = suite.ask("queue", "list")
    (suite.state / "queues" / "outgoing" / waiting["id"]).unlink()
    said = suite.fmctl("audit", check=False)
    assert said.returncode == 1 and waiting["id"] in said.stdout and "NOT every message" in said.stdout
    facts = suite.ask("fsck")
    assert facts["right"] and facts["mended"]["queue"]["lost"] == facts["queues"]["outgoing"]["lost"] == 1


def test_a_missing_content_cannot_be_mended(suite):
    with SyncClient(suite.facts["ipc"]["mailbox"]) as door:
        path = door.call("blob", ALICE, 1)[0].decode()
    (suite.state / path).unlink()
    said = suite.fmctl("fsck", check=False)
    assert said.returncode == 1 and f"{ALICE}/INBOX 1" in said.stdout
