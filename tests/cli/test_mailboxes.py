"""fmctl's mailbox tools against the real daemons: what was deleted comes back, what is rebuilt is as it was."""

from __future__ import annotations

import pytest

from fancymail.ipc.sync import SyncClient
from tests.suite_kit import Suite, wait_for

pytestmark = pytest.mark.live

ALICE = "alice@example.test"
CONTENT = b"Subject: kept\r\n\r\nText.\r\n"


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    with Suite(tmp_path_factory.mktemp("mailboxes") / "state", only="auth,queue,mailbox", real=True) as suite:
        yield suite


def mailboxes(suite) -> dict[str, dict]:
    return {row["mailbox"]: row for row in suite.ask("mailbox", "list", ALICE)}


def test_deleted_mail_comes_back(suite):
    with SyncClient(suite.facts["ipc"]["mailbox"]) as door:
        door.write_raw("store", ALICE, ALICE, len(CONTENT), content=CONTENT)
        door.call("dele", ALICE, 1)
    assert mailboxes(suite)["INBOX"]["messages"] == 0
    assert suite.ask("mailbox", "undelete", ALICE)["count"] == 1
    assert (mailboxes(suite)["INBOX"]["messages"], mailboxes(suite)["INBOX"]["uidnext"]) == (1, 3)
    assert suite.ask("mailbox", "undelete", ALICE, "--since", "2h")["count"] == 0


def test_a_removed_mailbox_comes_back(suite):
    with SyncClient(suite.facts["ipc"]["mailbox"]) as door:
        door.call("make", ALICE, "Work")
        door.call("append", ALICE, "Work", '[{"date":1,"octets":3}]', "null", b"abc")
        door.call("remove", ALICE, "Work")
    assert "Work" not in mailboxes(suite)
    assert suite.ask("mailbox", "undelete", ALICE, "--mailbox", "Work")["count"] == 1
    assert mailboxes(suite)["Work"]["messages"] == 1
    refused = suite.fmctl("mailbox", "undelete", ALICE, "--mailbox", "Never", check=False)
    assert refused.returncode and "no such mailbox" in refused.stderr


def test_rebuild(suite):
    before = mailboxes(suite)
    count = suite.ask("mailbox", "rebuild", ALICE)["count"]
    assert count == sum(row["messages"] for row in before.values())
    assert suite.ask("mailbox", "rebuild", "--all")["count"] == count
    assert mailboxes(suite) == before
    with SyncClient(suite.facts["ipc"]["mailbox"]) as door:
        wait_for(lambda: door.call("derive", ALICE, 1, "1:*") == [b"0"], "all is derived")
    assert suite.fmctl("mailbox", "rebuild", check=False).returncode == 2


def test_usage_and_purge(suite):
    facts = suite.ask("mailbox", "usage", ALICE)
    assert facts["messages"] == sum(row["messages"] for row in mailboxes(suite).values())
    assert "messages in" in suite.fmctl("mailbox", "usage", ALICE).stdout
    assert suite.ask("mailbox", "purge")["count"] == 0
