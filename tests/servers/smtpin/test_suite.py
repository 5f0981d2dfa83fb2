"""fm-smtpin with the real fm-auth and fm-queue, over ZeroMQ: the verbs fit, and a restart of either is a delay."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from base64 import b64encode

from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.queue.daemon import QueueServer
from fancymail.servers.smtpin import SmtpInServer
from fancymail.storage.slots import read_slot
from tests.servers.doors.lines import make_certificate
from tests.servers.smtpin.kit import HOST, Talk, until
from tests.servers_kit import operator, running


def tables(folder) -> dict:
    ports = {f"listen-{port}": ["127.0.0.1:0"] for port in ("smtp", "submission", "submissions", "lmtp")}
    return {"server": {"hostname": HOST, "default-domain": "us.test"}, "smtpin": ports,
            "tls": {"certificate": str(folder / "cert.pem"), "key": str(folder / "cert.key")}}


@contextlib.asynccontextmanager
async def talking(server, port: str, context=None):
    listener = next(one for one in server.listeners if one.name.split()[1] == port)
    options = {"ssl": context, "server_hostname": "127.0.0.1"} if context else {}
    talk = Talk(*await asyncio.open_connection("127.0.0.1", next(iter(listener._doors.values())), **options))
    try:
        yield talk
    finally:
        talk.close()


async def taken(state, queue: str) -> list:
    """The envelopes and contents that a consumer gets."""
    with operator(state, "queue") as client:
        answer = await client.call("take", queue, 100)
    found = []
    for path in answer[::2]:
        with read_slot(path.decode()) as slot:
            slot.verify()
            found.append((slot.envelope, slot.read()))
    return found


async def test_accounts_logins_and_queues(tmp_path):
    make_certificate(tmp_path, HOST)
    state, settings = tmp_path / "state", tables(tmp_path)
    async with running(AuthServer, state, settings), running(QueueServer, state, settings), running(SmtpInServer, state, settings) as server:
        with operator(state, "auth") as admin:
            await admin.call("domain-add", "us.test")
            await admin.call("account-add", "alice@us.test", "correct horse", timeout=30)
            await admin.call("account-add", "bob@us.test", "battery staple", timeout=30)
        async with talking(server, "smtp") as talk:
            await talk.hello()
            assert (await talk.bring("Subject: in\r\n\r\nx", "s@x.test", "bob@us.test", "Bob+tag@US.test")).startswith("250 2.0.0")
            await talk.say("MAIL FROM:<s@x.test>")
            assert (await talk.say("RCPT TO:<nobody@us.test>")).startswith("550 5.1.1")
            assert (await talk.say("RCPT TO:<v@x.test>")).startswith("550 5.7.1")
            assert (await talk.say("RCPT TO:<v%x.test@us.test>")).startswith("550 5.1.1")
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        async with talking(server, "submissions", context) as talk:
            await talk.hello()
            assert (await talk.say("AUTH PLAIN " + b64encode(b"\0alice\0wrong").decode())).startswith("535 5.7.8")
            plain = "AUTH PLAIN " + b64encode(b"\0alice\0correct horse").decode()
            assert (await talk.say(plain)).startswith("235 2.7.0")
            assert (await talk.say("MAIL FROM:<bob@us.test>")).startswith("553 5.7.1")
            assert (await talk.bring("From: bob@us.test\r\n\r\nx", "alice@us.test", "v@x.test")).startswith("550 5.7.1")
            assert (await talk.bring("From: alice@us.test\r\n\r\nx", "alice@us.test", "v@x.test", "bob@us.test")).startswith("250 2.0.0")
        await until(lambda: server.outbox.waiting == 0)
        incoming, outgoing = await taken(state, "incoming"), await taken(state, "outgoing")
        assert [[one.address for one in envelope.recipients] for envelope, _ in incoming] == [["bob@us.test"], ["bob@us.test"]]
        assert [[one.address for one in envelope.recipients] for envelope, _ in outgoing] == [["v@x.test"]]
        assert outgoing[0][0].id == incoming[1][0].id and outgoing[0][0].account == "alice@us.test"
        assert outgoing[0][1] == incoming[1][1]


async def test_restarts_of_auth_and_queue_are_a_delay(tmp_path):
    make_certificate(tmp_path, HOST)
    state, settings = tmp_path / "state", tables(tmp_path)
    async with running(SmtpInServer, state, settings) as server, talking(server, "smtp") as talk:
        await talk.hello()
        talk.send("MAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nDATA\r\n")
        assert (await talk.reply()).startswith("250 2.1.0")
        async with running(AuthServer, state, settings):
            with operator(state, "auth") as admin:
                await admin.call("domain-add", "us.test")
                await admin.call("account-add", "bob@us.test", "battery staple", timeout=30)
            reply = await talk.reply()
            if reply.startswith("550"):              # it was asked between the daemon's start and the account's making
                await talk.reply()
                server.directory.forget()
                talk.send("RSET\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<bob@us.test>\r\nDATA\r\n")
                reply = (await talk.replies(3))[-1]
            assert reply.startswith("250 2.1.5"), reply
            async with running(QueueServer, state, settings):
                assert (await talk.reply()).startswith("354")
            talk.send("Subject: x\r\n\r\nx\r\n.\r\n")           # and now the queue is gone
            await asyncio.sleep(0)
            async with running(QueueServer, state, settings):
                assert (await talk.reply()).startswith("250 2.0.0")
                await until(lambda: server.outbox.waiting == 0)
                async with asyncio.timeout(10):         # the queue may be about to adopt the file by itself: then `enter` has nothing to add
                    while not (found := await taken(state, "incoming")):
                        await asyncio.sleep(0)
                assert len(found) == 1 and not await taken(state, "incoming")
