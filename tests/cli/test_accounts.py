"""fmctl's account tools against the real fm-auth, and mail injected through the real fm-smtpin."""

from __future__ import annotations

import pytest

from fancymail.ipc.message import IpcError
from fancymail.ipc.sync import SyncClient
from tests.suite_kit import Suite, wait_for

pytestmark = pytest.mark.live

PASSWORD = "correct horse battery\n"


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    with Suite(tmp_path_factory.mktemp("accounts") / "state", only="auth,queue,smtpin", real=True) as suite:
        yield suite


@pytest.fixture
def carol(suite):
    """An account of the test's own."""
    suite.fmctl("account", "add", "carol@example.test", "--password-stdin", "--quota", "1G", input=PASSWORD)
    yield "carol@example.test"
    suite.fmctl("account", "remove", "carol@example.test", "--yes", check=False)


def test_the_demo_made_its_accounts(suite):
    assert [row["address"] for row in suite.ask("account", "list")] == sorted(suite.accounts)
    assert suite.ask("domain", "list") == ["example.test"]


def test_an_account_comes_changes_and_goes(suite, carol):
    facts = suite.ask("account", "show", carol)
    assert (facts["address"], facts["enabled"], facts["quota"]) == (carol, True, 1 << 30)
    assert "right: carol@" in suite.fmctl("auth", "check", "carol", "--password-stdin", input=PASSWORD).stdout
    suite.fmctl("account", "password", carol, "--password-stdin", input="another long one\n")
    done = suite.fmctl("auth", "check", carol, "--password-stdin", input=PASSWORD, check=False)
    assert done.returncode == 1 and "(5.7.8)" in done.stderr
    suite.fmctl("account", "disable", carol)
    assert suite.ask("account", "show", carol)["enabled"] is False
    suite.fmctl("account", "enable", carol)
    suite.fmctl("account", "quota", carol, "0")
    assert suite.ask("account", "show", carol)["quota"] == 0
    suite.fmctl("account", "remove", carol, "--yes")
    assert suite.fmctl("account", "show", carol, check=False).returncode == 1


def test_what_auth_refuses_is_said(suite):
    done = suite.fmctl("account", "add", "x@elsewhere.test", "--no-password", check=False)
    assert done.returncode == 1 and "not a domain of ours" in done.stderr
    done = suite.fmctl("account", "add", "dave@example.test", "--password-stdin", input="short\n", check=False)
    assert done.returncode == 1 and "5.5.4" in done.stderr
    done = suite.fmctl("account", "add", "dave@example.test", "--password-stdin", input="", check=False)
    assert done.returncode == 2 and "no password" in done.stderr


def test_removing_asks(suite, carol):
    assert suite.fmctl("account", "remove", carol, input="n\n", check=False).returncode == 1
    assert suite.ask("account", "show", carol)["address"] == carol


def test_domains_aliases_and_rights(suite, carol):
    suite.fmctl("domain", "add", "second.test")
    suite.fmctl("alias", "add", "sales@second.test", "alice@example.test", carol)
    assert suite.ask("alias", "list", "--domain", "second.test") == [
        {"alias": "sales@second.test", "targets": ["alice@example.test", carol]}]
    assert suite.fmctl("domain", "remove", "second.test", check=False).returncode == 1
    suite.fmctl("account", "grant", carol, "send", "sales@second.test")
    assert suite.ask("account", "show", carol)["grants"]
    suite.fmctl("account", "revoke", carol, "send", "sales@second.test")
    suite.fmctl("alias", "remove", "sales@second.test")
    suite.fmctl("domain", "remove", "second.test")
    assert suite.ask("domain", "list") == ["example.test"]


def test_accounts_are_imported_line_by_line(suite, tmp_path):
    file = tmp_path / "passwd"
    file.write_text("# from another server\n\nerin@example.test:{PLAIN}a long password:1000:1000::/home\nno colon\n"
                    "frank@elsewhere.test:{PLAIN}a long password\n")
    done = suite.fmctl("account", "import", str(file), check=False)
    assert done.returncode == 1 and done.stdout == "accounts made: 1, lines refused: 2\n"
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["line 4", "line 5"]
    suite.fmctl("auth", "check", "erin", "--password-stdin", input="a long password\n")
    suite.fmctl("account", "remove", "erin", "--yes")


def test_failed_logins_are_listed_and_forgotten(suite, carol):
    with SyncClient(suite.facts["ipc"]["auth"]) as client:
        for number in range(12):      # not from loopback, which is never made to wait, and each with another password
            with pytest.raises(IpcError):
                client.call("auth", carol, f"wrong {number}", "192.0.2.9")
    assert carol in [ban["name"] for ban in suite.ask("auth", "bans")]
    assert suite.ask("auth", "unban", carol)["forgotten"] >= 1
    assert carol not in [ban["name"] for ban in suite.ask("auth", "bans")]


def test_a_message_is_injected_and_traced(suite, tmp_path):
    file = tmp_path / "message.eml"
    file.write_text("Subject: injected\nFrom: root@example.test\n\nHello.\n")
    id = suite.ask("inject", str(file), "--from", "alice@example.test", "--to", "bob@example.test", "--to", "far@away.invalid")["id"]
    assert ("smtpin", "injected") in [(event["daemon"], event["event"]) for event in suite.ask("trace", id)]
    found = wait_for(lambda: [row for row in suite.ask("queue", "list") if row["sender"] == "alice@example.test"], "it is queued")
    assert {row["queue"]: row["recipients"] for row in found} == {"incoming": "bob@example.test", "outgoing": "far@away.invalid"}
    content = (suite.state / "queues" / "incoming" / id).read_bytes()[64:]
    assert content.startswith(b"Received: ") and b"\r\nSubject: injected\r\nFrom: root@example.test\r\n\r\nHello.\r\n" in content
    suite.fmctl("queue", "drop", "--all", "--yes")


@pytest.mark.parametrize("words, reason", [
    (["--to", "nobody@example.test"], "nobody@example.test: "), (["--to", "not an address"], "not an address: ")])
def test_what_cannot_be_injected(suite, tmp_path, words, reason):
    file = tmp_path / "message.eml"
    file.write_text("Subject: x\n\nHello.\n")
    done = suite.fmctl("inject", str(file), *words, check=False)
    assert done.returncode == 1 and reason in done.stderr
    assert suite.ask("queue", "list") == []
