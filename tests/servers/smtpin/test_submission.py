"""Mail from users: logins, who may send as whom, and what is completed."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from base64 import b64encode

import pytest

from tests.servers.smtpin.kit import PASSWORD, canary, connected, smtpin, until

PLAIN = b64encode(f"\0alice\0{PASSWORD}".encode()).decode()


@contextlib.asynccontextmanager
async def logged_in(folder, **options):
    """A server and a client whose user is alice."""
    async with smtpin(folder, **options) as server:
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        async with connected(server, "submissions", context) as talk:
            await talk.hello()
            assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("235")
            yield server, talk


async def test_a_user_sends_to_the_world(tmp_path):
    async with logged_in(tmp_path) as (server, talk):
        reply = await talk.bring("From: Alice <alice@us.test>\r\nSubject: x\r\nBcc: secret@x.test\r\n\r\nhi", "alice@us.test",
                                 "v@x.test", "bob@us.test")
        assert reply.startswith("250 2.0.0")
        (one, local, content), (two, remote, copy) = server.queue.messages
        assert (one, two) == ("incoming", "outgoing") and content == copy
        assert local.account == "alice@us.test" and local.protocol == "ESMTPSA"
        head, _, body = content.partition(b"\r\n\r\n")
        names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b"\t "]
        assert names == [b"Received", b"Message-ID", b"Date", b"From", b"Subject"] and body == b"hi\r\n"


async def test_what_is_there_is_not_completed(tmp_path):
    async with logged_in(tmp_path) as (server, talk):
        text = "Date: Fri, 21 Nov 2025 10:00:00 +0000\r\nMessage-ID: <1@us.test>\r\nFrom: alice@us.test\r\n\r\nhi"
        await talk.bring(text, "alice@us.test", "v@x.test")
        assert server.queue.messages[0][2].endswith(b"\r\n" + text.encode() + b"\r\n")


async def test_a_missing_from_is_the_sender(tmp_path):
    async with logged_in(tmp_path) as (server, talk):
        await talk.bring("just words", "alice@us.test", "v@x.test")
        assert server.queue.messages[0][2].endswith(b"From: <alice@us.test>\r\n\r\njust words\r\n")


@pytest.mark.parametrize("content, code", [
    ("From: bob@us.test\r\n\r\nx", "550 5.7.1"),
    ("From: alice@us.test, bob@us.test\r\n\r\nx", "550 5.7.1"),
    ("From: alice@us.test\r\nFrom: bob@us.test\r\n\r\nx", "550 5.6.0"),
    ("From: ceo@x.test <alice@us.test>, ceo@x.test\r\n\r\nx", "550 5.7.1"),
    ("From: nonsense\r\n\r\nx", "550 5.6.0"),
    ("From:\r\n\r\nx", "550 5.6.0"),
    ("From: alice@us.test)bob@us.test\r\n\r\nx", "550 5.6.0"),
    ("From : bob@us.test\r\n\r\nx", "550 5.7.1"),
    ("fRoM:\r\n bob@us.test\r\n\r\nx", "550 5.7.1"),
    ("From: friends: bob@us.test;\r\n\r\nx", "550 5.7.1"),
])
async def test_nobody_writes_as_another(tmp_path, content, code):
    async with logged_in(tmp_path) as (server, talk):
        assert (await talk.bring(content, "alice@us.test", "v@x.test")).startswith(code)
        assert not server.queue.messages
        assert (await talk.bring("From: alice@us.test\r\n\r\nx", "alice@us.test", "v@x.test")).startswith("250")


async def test_the_sender_is_the_users_own(tmp_path):
    async with logged_in(tmp_path) as (server, talk):
        assert (await talk.say("MAIL FROM:<bob@us.test>")).startswith("553 5.7.1")
        assert (await talk.say("MAIL FROM:<>")).startswith("550 5.7.1")
        assert (await talk.say("MAIL FROM:<ALICE@us.test>")).startswith("250")
        assert (await talk.say("RCPT TO:<nobody@us.test>")).startswith("550 5.1.1")


async def test_null_sender_where_the_settings_allow_it(tmp_path):
    async with logged_in(tmp_path, null_sender=True) as (server, talk):
        assert (await talk.bring("From: alice@us.test\r\n\r\nreceipt", "", "v@x.test")).startswith("250")
        assert (await talk.bring("From: bob@us.test\r\n\r\nreceipt", "", "v@x.test")).startswith("550 5.7.1")
        assert (await talk.bring("Subject: from nobody\r\n\r\nreceipt", "", "v@x.test")).startswith("550 5.6.0")


async def test_no_login_no_mail(tmp_path):
    async with smtpin(tmp_path) as server, connected(server, "submission") as talk:
        assert "AUTH" not in await talk.hello()
        assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("538 5.7.11")
        assert (await talk.say("MAIL FROM:<alice@us.test>")).startswith("530 5.7.0")
        assert (await talk.say("STARTTLS")).startswith("220")
        await talk.start_tls(ssl.create_default_context(cafile=str(tmp_path / "cert.pem")))
        assert "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN" in await talk.say("EHLO c")
        assert (await talk.say("MAIL FROM:<alice@us.test>")).startswith("530 5.7.0 Authentication")
        assert not [one for one in server.auth.asked if one[0] == "sasl"]


async def test_port_25_offers_no_login(tmp_path):
    async with smtpin(tmp_path) as server, connected(server) as talk:
        await talk.hello()
        await talk.say("STARTTLS")
        await talk.start_tls(ssl.create_default_context(cafile=str(tmp_path / "cert.pem")))
        assert "AUTH" not in await talk.say("EHLO c")
        assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("502")


async def test_scram_and_its_binding_are_ferried(tmp_path):
    async with smtpin(tmp_path) as server:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        async with connected(server, "submissions", context) as talk:
            await talk.hello()
            assert await talk.say("AUTH SCRAM-SHA-256-PLUS cA==") == f"334 {b64encode(b'r=nonce').decode()}\r\n"
            assert await talk.say("c3RlcA==") == f"334 {b64encode(b'v=proof').decode()}\r\n"
            assert (await talk.say("")).startswith("235")
            first, second = [one for one in server.auth.asked if one[0] == "sasl"]
            assert first[1] == second[1] and len(first[1]) == 32
            assert first[2:] == ("SCRAM-SHA-256-PLUS", b"cA==", "127.0.0.1", True, first[6]) and len(first[6]) == 32
            assert (await talk.bring("x", "alice@us.test", "v@x.test")).startswith("250")


async def test_a_cancelled_exchange_is_forgotten_by_auth(tmp_path):
    async with smtpin(tmp_path) as server:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        async with connected(server, "submissions", context) as talk:
            await talk.hello()
            await talk.say("AUTH SCRAM-SHA-256 cA==")
            assert (await talk.say("*")).startswith("501 5.7.0")
            assert (await talk.say("MAIL FROM:<alice@us.test>")).startswith("530")
            await talk.say("AUTH SCRAM-SHA-256 cA==")
        await until(lambda: not server.auth.scram)


@pytest.mark.parametrize("status", ["4.4.1", "4.3.0", "4.7.0"])
async def test_auth_away_is_never_a_verdict(tmp_path, status):
    async with smtpin(tmp_path) as server:
        server.auth.down = status
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        async with connected(server, "submissions", context) as talk:
            await talk.hello()
            for _ in range(4):
                assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("454 4.7.0")
            server.auth.down = ""
            assert (await talk.say(f"AUTH PLAIN {PLAIN}")).startswith("235")
            server.auth.down = status
            assert (await talk.say("MAIL FROM:<alice@us.test>")).startswith("451")
            server.auth.down = ""
            assert (await talk.say("MAIL FROM:<alice@us.test>")).startswith("250")
            server.auth.down = status
            assert (await talk.say("RCPT TO:<v@x.test>")).startswith("451 4.4.3")
        server.auth.down = ""
        await canary(server)


async def test_failed_logins_end_the_session(tmp_path):
    async with smtpin(tmp_path) as server:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        async with connected(server, "submissions", context) as talk:
            await talk.hello()
            wrong = b64encode(b"\0alice\0wrong").decode()
            assert (await talk.say(f"AUTH PLAIN {wrong}")).startswith("535 5.7.8")
            assert (await talk.say(f"AUTH PLAIN {wrong}")).startswith("535 5.7.8")
            assert (await talk.say(f"AUTH PLAIN {wrong}")).startswith("535 5.7.8")
            assert (await talk.ended()).startswith(b"421 4.7.0")
        server.log.flush()
        assert PASSWORD not in server.paths.log.read_text() and wrong not in server.paths.log.read_text()


async def test_smtplib_logs_in(tmp_path):
    async with smtpin(tmp_path) as server:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))

        def bring():
            with smtplib.SMTP("127.0.0.1", server.ports["submission"]) as client:
                client._host = "127.0.0.1"
                client.starttls(context=context)
                client.login("alice@us.test", PASSWORD)
                client.sendmail("alice@us.test", ["v@x.test"], "From: alice@us.test\n\nhello")
            with smtplib.SMTP_SSL("127.0.0.1", server.ports["submissions"], context=context) as client:
                client.user, client.password = "bob", PASSWORD
                client.ehlo()
                client.auth("LOGIN", client.auth_login)
                client.sendmail("bob@us.test", ["v@x.test"], "From: bob@us.test\n\nhello")
        await asyncio.to_thread(bring)
        assert [envelope.account for _, envelope, _ in server.queue.messages] == ["alice@us.test", "bob@us.test"]
