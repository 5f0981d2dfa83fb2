"""Mail with headers in UTF-8, for poplib with and without UTF8: small and large, RETR and TOP (RFC 6856 2, RFC 6858)."""

from __future__ import annotations

import poplib

import pytest

from fancymail.servers.pop3.letters import Letters
from tests.servers.pop3.kit import PASSWORD

ALICE = "alice@example.test"
HEADER = "From: Zo\u00eb <zoe@x.test>\r\nSubject: Gr\u00fc\u00dfe\r\nX-Odd: \u00e4\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n".encode()
PLAIN = (b"From: =?utf-8?q?Zo=C3=AB?= <zoe@x.test>\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\nX-Odd: =?utf-8?b?w6Q=?=\r\n"
         b"Content-Type: text/plain; charset=utf-8\r\n\r\n")
BODY = ".gr\u00fcn\r\n".encode()
NESTED = (b"Subject: outer\r\nContent-Type: message/rfc822\r\n\r\n", HEADER + BODY)


@pytest.fixture(params=[1, 3000, 40_000], ids=["small", "file", "streamed"])
def body(request) -> bytes:
    return BODY * request.param


def fetched(suite, utf8: bool) -> tuple:
    """All that poplib is told of the first message."""
    client = poplib.POP3("127.0.0.1", suite.port, timeout=10)
    if utf8:
        client.utf8()
    client.user(ALICE)
    client.pass_(PASSWORD)
    found = client.list()[1], client.retr(1)[1], client.top(1, 1)[1], client.top(1, 0)[1]
    client.quit()
    return found


def lines(content: bytes) -> list[bytes]:
    return content.split(b"\r\n")[:-1]


async def test_headers_in_utf8(suite, body):
    stored = await suite.store(HEADER + body)
    listed, whole, top, head = await suite.client(fetched, suite, True)
    assert listed == [b"1 %d" % len(stored)] and whole == lines(stored)
    assert (top, head) == (lines(stored)[:7], lines(stored)[:6])
    prefix = stored[:len(stored) - len(HEADER + body)]
    listed, whole, top, head = await suite.client(fetched, suite, False)
    assert listed == [b"1 %d" % len(stored)] and whole == lines(prefix + PLAIN + body)
    assert (top, head) == (whole[:7], whole[:6]) and b"".join(head).isascii()


async def test_headers_of_a_message_in_a_message(suite, body):
    outer, inner = NESTED
    stored = await suite.store(outer + inner + body)
    _, whole, *_ = await suite.client(fetched, suite, False)
    assert whole == lines(stored[:len(stored) - len(outer + inner + body)] + outer + PLAIN + BODY + body)


async def test_nothing_is_asked_about_mail_in_ascii(suite, monkeypatch):
    """Nearly all of it is, and goes out as fast as before."""
    stored = await suite.store(b"Subject: x\r\n\r\ntext\r\n")
    monkeypatch.setattr(Letters, "_downgrade", None)
    assert (await suite.client(fetched, suite, False))[1] == lines(stored)


async def test_what_is_not_derived_yet_is_derived(suite, body):
    stored = await suite.store(HEADER + body)
    await suite.mailbox.call("rebuild", ALICE)
    _, whole, *_ = await suite.client(fetched, suite, False)
    assert whole == lines(stored[:len(stored) - len(HEADER + body)] + PLAIN + body)
