"""A whole suite whose daemons are users of their own, with containment off, so that nothing else holds them: mail goes through, every daemon
comes back when it dies, settings and certificates that only root reads are lent, and what root leaves behind is taken over."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from fancymail.servers.running.launch import DAEMONS
from tests.live.suite import ALICE, BOB, Suite
from tests.own_users_kit import missing, opened
from tests.suite_kit import wait_for

pytestmark = [pytest.mark.live, pytest.mark.skipif(bool(missing()), reason=missing())]
SETTINGS = '[server]\ncontainment = "off"\nown-users = "require"\n'
LARGE = 300_000             # octets of a message whose slot becomes a content by a link


class OwnUsers(Suite):
    """A suite in a folder that other users can get to."""

    @property
    def prefix(self) -> list[str]:
        return opened()


@pytest.fixture(scope="module")
def suite():
    folder = Path(tempfile.mkdtemp(prefix="fancymail-test-"))
    folder.chmod(0o755)
    running = OwnUsers(folder / "state", config=SETTINGS)
    try:
        yield running
    finally:
        running.down()
        shutil.rmtree(folder)


def uids(suite: Suite, name: str) -> set[str]:
    """All user and group numbers that a daemon's process has."""
    facts = dict(line.split(":\t") for line in Path(f"/proc/{suite.pid(name)}/status").read_text().splitlines() if ":\t" in line)
    return {*facts["Uid"].split(), *facts["Gid"].split(), *facts["Groups"].split()} | {facts["CapEff"], facts["CapPrm"]} - {"0" * 16}


def send(suite: Suite, *sizes: int) -> None:
    with suite.smtp() as client:
        for size in sizes:
            client.sendmail("x@sender.test", [ALICE], f"Subject: {size} octets\r\n\r\n" + "text\r\n" * (size // 6))


def begin_again(suite: Suite, settings: str) -> None:
    """Stop, and start with other settings."""
    suite.down()
    Path(f"{suite.state}.toml").write_text(settings)
    suite.up()


def test_each_is_somebody_and_nobody_is_root(suite):
    found = {name: uids(suite, name) for name in (*DAEMONS, "imap-2")}
    assert all(len(numbers) == 1 and numbers != {"0"} for numbers in found.values()), found
    assert found["imap"] == found["imap-2"] and len({number for numbers in found.values() for number in numbers}) == len(DAEMONS)


def test_mail_goes_all_the_way(suite):
    send(suite, 60, LARGE)
    suite.until_delivered(2)
    assert sorted(len(content) > LARGE for content in suite.collect()) == [False, True]
    with suite.imap() as client:
        for lines in (10, LARGE // 6):
            client.append("INBOX", b"Subject: appended\r\n\r\n" + b"text\r\n" * lines)
        client.select("INBOX")
        assert client.ok("COPY 1:* INBOX") and client.ok("FETCH 1:* (BODYSTRUCTURE BODY.PEEK[])") and client.ok("SEARCH BODY text")
    assert len(suite.collect(remove=True)) == 8
    with suite.submission() as client:
        client.sendmail(ALICE, ["nobody@[127.0.0.1]"], "Subject: comes back\r\n\r\nx\r\n")
        client.sendmail(ALICE, [BOB], "Subject: stays\r\n\r\nx\r\n")
    suite.until_delivered(1, BOB)
    suite.until_delivered(1)
    assert b"nobody@[127.0.0.1]" in suite.collect(remove=True)[0]           # a notice that fm-smtpout wrote


def test_slots_go_round(suite):
    """A file that fm-smtpin wrote is used again; nobody else's could be read under its new name."""
    before = suite.listed(ALICE)
    for _ in range(3):
        send(suite, 60, 60, 60)
    suite.until_delivered(before + 9)
    owners = {path.stat().st_uid for path in (suite.state / "queues" / "incoming").iterdir()}
    assert owners == {int(next(iter(uids(suite, "queue"))))}


@pytest.mark.parametrize("name", DAEMONS)
def test_who_dies_comes_back(suite, name):
    before = uids(suite, name)
    pid = suite.kill(name)
    wait_for(lambda: suite.pid(name) not in (0, pid), f"{name} comes back")
    suite.wait_answers()
    assert uids(suite, name) == before
    count = suite.listed(ALICE)
    send(suite, 60)
    suite.until_delivered(count + 1)
    if name == "pop3":              # elsewhere it would still hold the maildrop when it is killed next
        assert len(suite.collect()) == count + 1
    with suite.imap() as client:
        client.select("INBOX")
        assert client.ok(f"FETCH {count + 1} BODY.PEEK[]")


def test_root_leaves_files_and_takes_them_back(suite):
    """Started without users of their own and then with them again: nothing that root made meanwhile is out of reach. What stays root's alone,
    the settings and a certificate in a closed folder, is lent."""
    closed = suite.state.parent / "closed"
    closed.mkdir(0o700)
    for name in ("cert.pem", "key.pem"):
        shutil.copy(suite.state / "tls" / name, closed / name)
    for settings in (SETTINGS.replace("require", "off"), f'[tls]\ncertificate = "{closed}/cert.pem"\nkey = "{closed}/key.pem"\n{SETTINGS}'):
        begin_again(suite, settings)
        count = suite.listed(ALICE)
        send(suite, 60, LARGE)
        suite.until_delivered(count + 2)
        assert len(suite.collect()) == count + 2
    assert uids(suite, "mailbox") != {"0"} and (suite.state / "fancymail.toml").stat().st_mode & 0o077 == 0
    assert suite.fmctl("reload").returncode == 0
    assert "certificates kept" not in suite.log() and "no TLS" not in suite.log()


def test_the_operator_is_served_and_the_log_is_complete(suite):
    assert suite.fmctl("account", "list").returncode == 0 and suite.status()["running"]
    (suite.state / "log" / "fancymail.log").rename(suite.state / "log" / "fancymail.log.1")
    os.kill(suite.pid("supervisor"), 1)
    count = suite.listed(ALICE)
    send(suite, 60)
    suite.until_delivered(count + 1)
    wait_for(lambda: " smtpin info accepted" in suite.log() and " mailbox info delivered" in suite.log(), "lines of all in the new file")
    assert " error " not in suite.log()
