"""What `fancymail up --demo` prints is pasted into a shell, line by line, and works."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from tests.live.conftest import needs
from tests.suite_kit import CHECKOUT, PATIENCE, REAL, free_base, run, wait_for


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The words that a person sees, of a suite that runs meanwhile."""
    state = tmp_path_factory.mktemp("first") / "state"
    done = run(REAL, "up", "--demo", "--state", state, "--port-base", free_base(), "--detach")
    yield done.stdout
    run(REAL, "down", "--state", state)


def line_with(printed: str, word: str) -> str:
    return next(line.strip() for line in printed.splitlines() if word in line)


def paste(line: str, **more) -> subprocess.CompletedProcess:
    """Run a line as a shell would, with our own commands run by this Python (bin/ would make an environment of its own)."""
    words = shlex.split(line)
    if words[0].endswith("fmctl"):
        return run([*REAL[:2], "import sys; sys.argv[0] = 'fmctl'; from fancymail.cli.fmctl import main; main()"], *words[1:], **more)
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, cwd=CHECKOUT, env=os.environ, **more)


def test_the_table_names_every_service_and_account(printed):
    services = ("smtp", "submission", "submissions", "lmtp", "pop3", "pop3s", "imap", "imaps")
    for word in (*services, "alice@example.test", "bob@example.test", "postmaster@"):
        assert word in printed
    assert "down --state" in printed


@needs("swaks")
@needs("curl")
def test_the_lines_to_try(printed):
    sent = paste(line_with(printed, "swaks"))
    assert "250 2.0.0 queued as " in sent.stdout, sent.stdout + sent.stderr

    def fetched():
        return paste(line_with(printed, "curl") + " --silent --show-error").stdout

    message = wait_for(fetched, "the message is in bob's mailbox")
    assert "Subject: test" in message and "by mail.example.test with ESMTPSA" in message
    talk = paste(line_with(printed, "shell queue"), input="ping\nqueues\n")
    assert talk.stdout.splitlines()[0] == "ok: queue" and "queue: incoming" in talk.stdout


@needs("swaks")
def test_one_message_is_followed_through_the_daemons(suite):
    done = subprocess.run(["swaks", "--server", f"127.0.0.1:{suite.ports['smtp']}", "--from", "stranger@elsewhere.test",
                           "--to", "alice@example.test", "--header", "Subject: traced"], capture_output=True, text=True, timeout=PATIENCE)
    id = done.stdout.partition("queued as ")[2].split()[0]
    events = wait_for(lambda: (found := suite.ask("trace", id)) and found[-1]["event"] == "delivered" and found, "it is delivered")
    said = [(event["daemon"], event["event"]) for event in events]
    assert ("smtpin", "accepted") in said and said[-1] == ("mailbox", "delivered")
    message = suite.fmctl("send", "mailbox", "retr", "alice", events[-1]["uid"]).stdout
    assert message.startswith("ok: ")


def test_the_demo_listens_on_loopback_only(suite):
    listeners = [address for row in suite.status()["daemons"].values() for address in row["listeners"]]
    assert len(listeners) >= 6 and all(address.startswith("127.0.0.1:") for address in listeners)


def test_passwords_are_in_no_log(suite):
    log = suite.log()
    assert not [address for address, password in suite.accounts.items() if password in log]
