"""Attacks on a whole suite of real processes, at every port and every socket that it has.

After each the same processes are there, and an honest message goes all the way: SMTP, queue, mailbox, IMAP, POP3.
"""

from __future__ import annotations

import errno
import poplib
import secrets
import signal
import smtplib
import socket
import time

import pytest

from fancymail.servers.running.launch import DAEMONS
from tests.attacks import canary
from tests.attacks.canary import Silenced
from tests.attacks.test_ipc import GARBAGE
from tests.imap_kit import Wire
from tests.live.suite import BOB, Suite
from tests.suite_kit import OFFSETS, wait_for

PORTS = ("smtp", "submission", "submissions", "lmtp", "pop3", "pop3s", "imap", "imaps")
RELAY = b"EHLO c\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<v@elsewhere.test>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"
WORDS = {
    "nothing": b"", "ssh": b"SSH-2.0-x\r\n",
    "get": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "post": b"POST / HTTP/1.1\r\nContent-Length: 999\r\n\r\n" + RELAY,
    "half a hello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), "zeros": bytes(65_536), "octets": bytes(range(128, 256)) * 64,
    "newlines": b"\n" * 10_000, "a line without end": b"x" * (1 << 20), "relay": RELAY, "a message before the greeting": b"EHLO c\r\n" + RELAY * 20,
    "plain text behind starttls": b"EHLO c\r\nSTARTTLS\r\n" + RELAY + b"a STARTTLS\r\nb LOGIN x y\r\nSTLS\r\nUSER x\r\nPASS y\r\n",
    "literals": b"a LOGIN {99999999999+}\r\nx {5}\r\n" * 20, "depth": b"a SEARCH " + b"(" * 60_000 + b"\r\n"}
YES = (b"250 2.0.0", b"235 ", b"+OK 0 ", b"\nb OK", b"\na OK [")


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    with Suite(tmp_path_factory.mktemp("attacked") / "state") as running:
        yield running


@pytest.fixture(autouse=True)
def processes(suite, canaries):
    """The processes of before the attack; behind it, honest mail."""
    before = suite.pids()
    yield before
    honest(suite, before)
    canaries.append("suite")


def honest(suite: Suite, before: dict[str, int]) -> None:
    """Send a message to bob and have it read and removed, in time. Raises Silenced."""
    deadline, word = time.monotonic() + canary.BOUND, secrets.token_hex(8)
    try:
        with smtplib.SMTP("localhost", suite.ports["smtp"], timeout=canary.BOUND) as client:
            client.sendmail("honest@x.test", [BOB], f"Subject: {word}\r\n\r\nsings\r\n")
        with Wire(suite.ports["imap"], deadline=canary.BOUND) as client:
            client.login(BOB, suite.accounts[BOB])
            while not (client.select("INBOX") and (found := client.ok(f"SEARCH SUBJECT {word}").numbers("SEARCH"))):
                assert time.monotonic() < deadline, "it does not arrive"
            assert client.ok(f"FETCH {found[0]} BODY.PEEK[]").untagged[0].endswith(f"Subject: {word}\r\n\r\nsings\r\n)".encode())
        reader = poplib.POP3("localhost", suite.ports["pop3"], timeout=canary.BOUND)
        reader.user(BOB)
        reader.pass_(suite.accounts[BOB])
        assert f"Subject: {word}".encode() in reader.retr(found[0])[1]
        for number in range(reader.stat()[0]):          # what it waited for in vain may be there, too
            reader.dele(number + 1)
        reader.quit()
        assert time.monotonic() < deadline, "too late"
        assert suite.pids() == before, "another process answers"
    except Exception as error:
        raise Silenced(repr(error)) from error


def heard(peer: socket.socket, words: bytes) -> bytes:
    """Say it all, hang up on our side, and hear what comes until the server does, too."""
    answer = b""
    try:
        with peer:
            peer.settimeout(10)
            peer.sendall(words)
            peer.shutdown(socket.SHUT_WR)
            while piece := peer.recv(65_536):
                answer += piece
    except OSError as error:            # it did not want to hear the rest, and may be gone before we say that we are through
        assert isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN, error
    return answer


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words_at_every_port(suite, port, words):
    answer = heard(socket.create_connection(("127.0.0.1", suite.ports[port])), words)
    assert len(answer) < 65_536 and not any(yes in answer for yes in YES)


@pytest.mark.parametrize("door", ["operator", "daemons"])
@pytest.mark.parametrize("name", DAEMONS)
@pytest.mark.parametrize("octets", GARBAGE.values(), ids=GARBAGE)
def test_garbage_at_every_socket(suite, name, door, octets):
    peer = socket.socket(socket.AF_UNIX)
    path = suite.ipc[name].removeprefix("ipc://")
    peer.connect(path if door == "operator" else path.removesuffix(".ipc") + ".curve.ipc")
    assert len(heard(peer, octets)) < 1024


def test_every_port_is_attacked(suite):
    assert set(suite.ports) >= set(PORTS) and len(PORTS) == len(OFFSETS)


# The canary of processes can fall silent

def test_another_process_is_noticed(suite, processes):
    pid = suite.kill("queue")
    wait_for(lambda: suite.pid("queue") not in (0, pid), "queue comes back")
    suite.wait_answers()
    with pytest.raises(Silenced, match="another process answers"):
        honest(suite, processes)
    processes.update(suite.pids())


@pytest.mark.parametrize("name", ["smtpin", "queue", "mailbox", "auth"])
def test_a_process_that_stands_still_is_noticed(suite, processes, monkeypatch, name):
    suite.kill(name, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(canary, "BOUND", 0.5)
        with pytest.raises(Silenced):
            honest(suite, processes)
    suite.kill(name, signal.SIGCONT)
