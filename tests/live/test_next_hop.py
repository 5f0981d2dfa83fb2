"""Mail that goes out: to smtp-sink, to a real Postfix as next hop; and a real Postfix that sends to us."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from bench.peers import Postfix, free_port, wait_for_port
from tests.live.conftest import needs
from tests.live.suite import ALICE, Suite
from tests.suite_kit import wait_for

needs_postfix = pytest.mark.skipif(shutil.which("postfix") is None or os.geteuid() != 0, reason="Postfix is not installed, or we are not root")


@pytest.fixture
def folder():
    """A folder that Postfix's own users may enter, which pytest's is not."""
    path = Path(tempfile.mkdtemp(prefix="fancymail-live-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def sending_to(folder: Path, port: int, more: str = "") -> Suite:
    """Start a suite whose mail goes out to a port of this machine."""
    way = f'[smtpout.transports."*"]\nhost = "127.0.0.1"\nport = {port}\n'
    return Suite(folder / "state", config=f"[smtpout]\nprivate-networks = true\n{more}{way}")


@needs("smtp-sink")
def test_smtp_sink_gets_what_alice_sends(folder):
    port = free_port()
    sink = subprocess.Popen(["smtp-sink", "-u", "nobody", "-d", str(folder / "sink") + "/%s.", f"127.0.0.1:{port}", "100"], cwd=folder)
    (folder / "sink").mkdir()
    shutil.chown(folder / "sink", "nobody")
    folder.chmod(0o755)
    suite = None
    try:
        wait_for_port(port)
        suite = sending_to(folder, port)
        with suite.submission() as client:
            for number in range(20):
                client.sendmail(ALICE, ["a@one.test", "b@two.test"], f"Subject: out {number}\r\n\r\n.hello\r\n".encode())
        wait_for(lambda: suite.waiting() == 0, "an empty queue")
        transactions = [path.read_bytes() for path in (folder / "sink").iterdir()]
        assert len(transactions) == 20                       # one way for both domains, so one transaction for both recipients
        assert all(b"a@one.test" in content and b"b@two.test" in content and b"\n.hello" in content for content in transactions)
    finally:
        sink.kill()
        sink.wait()
        if suite:
            suite.down()


@needs_postfix
def test_postfix_as_next_hop_and_its_refusals_come_back_as_dsn(folder):
    with Postfix(folder / "postfix", mode="mailbox") as postfix:
        suite = sending_to(folder, postfix.port)
        try:
            with suite.submission() as client:
                client.sendmail(ALICE, ["someone@not-there.test"], b"Subject: will bounce\r\n\r\nhello\r\n")
            suite.until_delivered(1)
            notice = email.message_from_bytes(suite.collect(ALICE)[-1])
            assert notice.get_content_type() == "multipart/report"
            assert notice["Auto-Submitted"] == "auto-replied"
            assert notice["Return-Path"] == "<>"
            status = notice.get_payload(1).as_string()
            assert "Action: failed" in status and "someone@not-there.test" in status
        finally:
            suite.down()


@needs_postfix
def test_postfix_sends_to_us(folder):
    suite = Suite(folder / "state")
    try:
        with Postfix(folder / "postfix", mode="relay", relay_port=suite.ports["smtp"]) as postfix:
            source = ["smtp-source", "-m", "30", "-s", "3", "-l", "2000", "-f", "x@sender.test", "-t", ALICE]
            subprocess.run([*source, f"127.0.0.1:{postfix.port}"], check=True)
            suite.until_delivered(30, ALICE)
        assert suite.listed(ALICE) == 30
        assert b"by mail.example.test (Postfix)" in suite.collect(ALICE)[0]
    finally:
        suite.down()
