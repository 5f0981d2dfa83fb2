"""Mail programs from everywhere else, as a user would set them up: swaks, curl, msmtp, fetchmail, getmail, smtp-source."""

from __future__ import annotations

import subprocess

import pytest

from tests.live.conftest import needs
from tests.live.suite import ALICE, BOB
from tests.suite_kit import wait_for


def run(*words, stdin: str | None = None, code: int = 0) -> str:
    """Run a program and return what it says; its exit code must be `code`."""
    done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f"{words[0]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def delivered(suite, user: str, subject: str) -> bytes:
    """Wait for a message with this subject and return it."""
    found: list[bytes] = []

    def there() -> bool:
        found[:] = [content for content in suite.collect(user) if f"Subject: {subject}".encode() in content]
        return bool(found)
    wait_for(there, f"{subject!r} for {user}")
    return found[0]


@needs("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_submits_with_starttls(suite, mechanism):
    said = run("swaks", "--server", "localhost", "--port", suite.ports["submission"], "-tls", "--tls-ca-path", suite.ca, "--tls-verify",
               "--auth", mechanism, "--auth-user", ALICE, "--auth-password", suite.accounts[ALICE], "--from", ALICE, "--to", BOB,
               "--h-Subject", f"swaks {mechanism}")
    assert " 250 2.0.0" in said
    delivered(suite, BOB, f"swaks {mechanism}")


@needs("swaks")
def test_swaks_over_implicit_tls_and_pipelined(suite):
    run("swaks", "--server", "localhost", "--port", suite.ports["submissions"], "--tlsc", "--auth", "PLAIN", "--auth-user", ALICE, "--auth-password",
        suite.accounts[ALICE], "--from", ALICE, "--to", BOB, "--pipeline", "--h-Subject", "swaks pipelined")
    assert b"with ESMTPSA" in delivered(suite, BOB, "swaks pipelined")


@needs("swaks")
def test_swaks_over_lmtp(suite):
    run("swaks", "--protocol", "LMTP", "--server", "localhost", "--port", suite.ports["lmtp"], "--from", "x@sender.test", "--to", BOB,
        "--h-Subject", "by lmtp")
    assert b"with LMTP" in delivered(suite, BOB, "by lmtp")


@needs("swaks")
def test_swaks_is_refused_what_is_not_ours(suite):
    said = run("swaks", "--server", "localhost", "--port", suite.ports["smtp"], "--from", "x@sender.test", "--to", "y@elsewhere.test", code=24)
    assert "<** 55" in said


@needs("curl")
def test_curl_sends_and_reads(suite, tmp_path):
    (tmp_path / "mail").write_text("From: alice@example.test\r\nTo: bob@example.test\r\nSubject: by curl\r\n\r\ncurl was here\r\n", newline="")
    run("curl", "-sS", "--url", f"smtp://localhost:{suite.ports['submission']}", "--ssl-reqd", "--cacert", suite.ca, "--mail-from", ALICE,
        "--mail-rcpt", BOB, "--upload-file", tmp_path / "mail", "--user", f"{ALICE}:{suite.accounts[ALICE]}")
    delivered(suite, BOB, "by curl")
    login = ["--user", f"{BOB}:{suite.accounts[BOB]}", "--cacert", suite.ca]
    listed = run("curl", "-sS", f"pop3s://localhost:{suite.ports['pop3s']}/", *login)
    numbers = [line.split()[0] for line in listed.splitlines() if line.strip()]
    texts = [run("curl", "-sS", f"pop3s://localhost:{suite.ports['pop3s']}/{number}", *login) for number in numbers]
    assert any("curl was here" in text for text in texts)


@needs("curl")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl_over_stls_with_sasl(suite, mechanism):
    listed = run("curl", "-sS", f"pop3://localhost:{suite.ports['pop3']}/", "--ssl-reqd", "--cacert", suite.ca,
                 "--user", f"{BOB}:{suite.accounts[BOB]}", "--login-options", f"AUTH={mechanism}")
    assert len(listed.splitlines()) == suite.listed(BOB)


@needs("curl")
def test_http_on_a_mail_port_is_hung_up_on(suite):
    command = ["curl", "-sS", "--http0.9", "-m", "10", "-d", "x" * 100, f"http://localhost:{suite.ports['smtp']}/"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.count("\n") <= 3


@needs("msmtp")
@pytest.mark.parametrize("tls, port", [("on", "submission"), ("off", "submissions")], ids=["STARTTLS", "TLS"])
def test_msmtp(suite, tmp_path, tls, port):
    (tmp_path / "msmtprc").write_text(
        f"account default\nhost localhost\nport {suite.ports[port]}\ntls on\ntls_starttls {tls}\ntls_trust_file {suite.ca}\nauth on\n"
        f"user {ALICE}\npassword {suite.accounts[ALICE]}\nfrom {ALICE}\n")
    (tmp_path / "msmtprc").chmod(0o600)
    run("msmtp", "-C", tmp_path / "msmtprc", BOB, stdin=f"From: {ALICE}\nTo: {BOB}\nSubject: msmtp {port}\n\nhello\n")
    assert b"hello" in delivered(suite, BOB, f"msmtp {port}")


@needs("fetchmail")
def test_fetchmail_empties_the_maildrop(suite, tmp_path):
    with suite.smtp() as client:
        for number in range(5):
            client.sendmail("x@sender.test", ["postmaster@example.test"], f"Subject: fetch {number}\r\n\r\nbody\r\n".encode())
    suite.until_delivered(5, "postmaster@example.test")
    box = tmp_path / "box"
    (tmp_path / "rc").write_text(
        f'poll localhost protocol pop3 port {suite.ports["pop3s"]} user "postmaster@example.test"\n'
        f'  password "{suite.accounts["postmaster@example.test"]}"\n'
        f'  ssl sslcertck sslcertfile "{suite.ca}" fetchall mda "cat >> {box}; echo >> {box}"\n')
    (tmp_path / "rc").chmod(0o600)
    run("fetchmail", "-f", tmp_path / "rc", "--nodetach", "--nosyslog", "-i", tmp_path / "ids", "--pidfile", tmp_path / "pid")
    assert all(f"Subject: fetch {number}" in box.read_text() for number in range(5))
    assert suite.listed("postmaster@example.test") == 0


@needs("getmail")
def test_getmail_leaves_mail_on_the_server(suite, tmp_path):
    with suite.smtp() as client:
        client.sendmail("x@sender.test", [BOB], b"Subject: for getmail\r\n\r\nbody\r\n")
    delivered(suite, BOB, "for getmail")
    (tmp_path / "rc").write_text(
        f"[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = {suite.ports['pop3s']}\nusername = {BOB}\n"
        f"password = {suite.accounts[BOB]}\nca_certs = {suite.ca}\n[destination]\ntype = MDA_external\npath = /usr/bin/tee\n"
        f"arguments = ('-a', '{tmp_path / 'box'}')\nallow_root_commands = true\n[options]\nread_all = false\ndelete = false\n")
    before = suite.listed(BOB)
    first = run("getmail", "-g", tmp_path, "-r", tmp_path / "rc")
    assert f"{before} messages" in first
    second = run("getmail", "-g", tmp_path, "-r", tmp_path / "rc")
    assert "0 messages (0 bytes) retrieved" in second
    assert suite.listed(BOB) == before


@needs("smtp-source")
def test_smtp_source_in_parallel(suite):
    before = suite.listed(ALICE)
    run("smtp-source", "-s", "10", "-m", "200", "-l", "3000", "-f", "x@sender.test", "-t", ALICE, f"127.0.0.1:{suite.ports['smtp']}")
    run("smtp-source", "-s", "10", "-m", "200", "-d", "-l", "100", "-f", "x@sender.test", "-t", ALICE, f"127.0.0.1:{suite.ports['smtp']}")
    suite.until_delivered(before + 400, ALICE)
    assert suite.listed(ALICE) == before + 400
