"""fm-imap as a daemon: logins of all kinds, TLS, COMPRESS, what becomes of sessions when accounts or daemons go, and of uploads that break off."""

from __future__ import annotations

import asyncio
import imaplib
import json
import ssl
import time
import zlib
from base64 import b64decode, b64encode

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from fancymail.protocol.sasl import ScramClient
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.imap import ImapDaemon, session
from fancymail.servers.mailbox.daemon import MailboxServer
from tests.servers.imap import kit
from tests.servers.imap.kit import PASSWORD, TABLES, Client
from tests.servers_kit import running

ALICE = "alice@example.test"
KEY = ECKey.generate_key("P-256", {"kid": "one"}, auto_kid=False)
ISSUER = {"issuer": "https://id.example.test", "audience": "mail", "keys": json.dumps({"keys": [KEY.as_dict(private=False)]})}


async def ended(client: Client) -> bytes:
    """Wait for the end of a session; return its last words."""
    last = b""
    while True:
        try:
            last = await client.response()
        except (EOFError, ConnectionError):
            return last


# -- logging in --------------------------------------------------------------------------------------------------------

async def test_wrong_passwords_end_the_session(suite):
    client = await suite.connect()
    for _ in range(3):
        assert (await client.ask(f'LOGIN {ALICE} "wrong"'))[-1].startswith(b"NO [AUTHENTICATIONFAILED]")
    assert (await ended(client)).startswith(b"* BYE")


async def test_scram(suite):
    client, scram = await suite.connect(), ScramClient("SCRAM-SHA-256", ALICE, PASSWORD, "abcdef")
    tag = client.start(b"AUTHENTICATE SCRAM-SHA-256 " + b64encode(scram.first()))
    challenge = await client.response()
    client.send(b64encode(scram.final(b64decode(challenge[2:]))) + b"\r\n")
    scram.verify(b64decode((await client.response())[2:]))
    client.send(b"\r\n")
    assert (await client.finish(tag))[-1].startswith(b"OK [CAPABILITY IMAP4rev1")


async def test_cancelled_exchange(suite):
    client = await suite.connect()
    tag = client.start("AUTHENTICATE PLAIN")
    assert await client.response() == b"+ "
    client.send("*\r\n")
    assert (await client.finish(tag))[-1].startswith(b"BAD")
    await client.ok(f'LOGIN {ALICE} "{PASSWORD}"')


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_oauth(tmp_path, monkeypatch, mechanism):
    monkeypatch.setitem(TABLES["auth"], "oauth", {"one": ISSUER})
    async with kit.AsyncExitStack() as stack:
        suite = await kit.start(tmp_path, stack)
        claims = {"iss": "https://id.example.test", "aud": "mail", "email": ALICE, "exp": int(time.time()) + 600}
        for token, right in ((jwt.encode({"alg": "ES256", "kid": "one"}, claims, KEY, algorithms=["ES256"]), True), ("a.b.c", False)):
            client = await suite.connect()
            assert b"AUTH=OAUTHBEARER" in client.greeting and b"AUTH=XOAUTH2" in client.greeting
            shown = f"n,a={ALICE},\x01auth=Bearer {token}\x01\x01" if mechanism == "OAUTHBEARER" else f"user={ALICE}\x01auth=Bearer {token}\x01\x01"
            tag = client.start(f"AUTHENTICATE {mechanism} ".encode() + b64encode(shown.encode()))
            if not right:
                assert json.loads(b64decode((await client.response())[2:]))["status"] == "invalid_token"
                client.send(b64encode(b"\x01") + b"\r\n" if mechanism == "OAUTHBEARER" else b"\r\n")
            assert (await client.finish(tag))[-1].startswith(b"OK" if right else b"NO [AUTHENTICATIONFAILED]")
        await kit.stop(suite)


async def test_no_oauth_without_an_issuer(suite):
    client = await suite.connect()
    assert b"OAUTH" not in client.greeting.upper()


def _foreign(port: int, tls_port: int, context: ssl.SSLContext) -> list[str]:
    plain = imaplib.IMAP4("127.0.0.1", port, timeout=10)
    plain.starttls(context)
    plain.login(ALICE, PASSWORD)
    secure = imaplib.IMAP4_SSL("127.0.0.1", tls_port, ssl_context=context, timeout=10)
    secure.login(ALICE, PASSWORD)
    said = [secure.select()[0], plain.noop()[0], secure.logout()[0], plain.logout()[0]]
    return said


async def test_tls_both_ways(suite):
    context = ssl.create_default_context(cafile=suite.state / "tls" / "cert.pem")
    context.check_hostname = False
    tls_port = next(iter(suite.imap.listeners[1]._doors.values()))
    assert await asyncio.to_thread(_foreign, suite.port, tls_port, context) == ["OK", "OK", "BYE", "BYE"]


async def test_no_password_without_tls_where_it_is_not_allowed(suite):
    await suite.restart(**{"plaintext-login": "never"})
    client = await suite.connect()
    assert b"LOGINDISABLED" in client.greeting and b"AUTH=PLAIN" not in client.greeting
    assert (await client.ask(f'LOGIN {ALICE} "{PASSWORD}"'))[-1].startswith(b"NO [PRIVACYREQUIRED]")


async def test_too_slow_to_log_in(suite):
    await suite.restart(**{"login-timeout": 1.0})
    assert b"* BYE" in await ended(await suite.connect())


# -- COMPRESS ----------------------------------------------------------------------------------------------------------

async def test_compress(suite):
    client = await suite.login()
    await client.append("INBOX", b"Subject: x\r\n\r\n" + b"text that repeats itself\r\n" * 1000)
    await client.ok("COMPRESS DEFLATE")
    packer, unpacker = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
    client.send(packer.compress(b"x SELECT INBOX\r\ny FETCH 1 BODY.PEEK[]\r\n") + packer.flush(zlib.Z_SYNC_FLUSH))
    heard, came = b"", 0
    while b"y OK" not in heard:
        data = await asyncio.wait_for(client.reader.read(65536), 10)
        came += len(data)
        heard += unpacker.decompress(data)
    assert heard.count(b"text that repeats itself\r\n") == 1000 and came < 3000
    client.send(packer.compress(b"z COMPRESS DEFLATE\r\n") + packer.flush(zlib.Z_SYNC_FLUSH))
    heard = unpacker.decompress(await client.reader.read(65536))
    assert heard.startswith(b"z NO [COMPRESSIONACTIVE]") or heard.startswith(b"z BAD")


async def test_no_compress_where_it_is_off(suite):
    await suite.restart(compress=False)
    client = await suite.login()
    assert b"COMPRESS" not in (await client.ok("CAPABILITY"))[0]
    assert (await client.ask("COMPRESS DEFLATE"))[-1].startswith(b"BAD")


# -- accounts that change ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("verb, words", [("account-password", ("another password",)), ("account-disable", ()), ("account-remove", ())])
async def test_sessions_of_a_changed_account_end(suite, verb, words):
    idle, between, other = await suite.login(), await suite.login(), await suite.login("bob@example.test")
    await idle.ok("SELECT INBOX")
    idle.start("IDLE")
    assert (await idle.response()).startswith(b"+")
    async with asyncio.timeout(5):
        await suite.auth.call(verb, ALICE, *words)
        assert (await ended(idle)).startswith(b"* BYE") and (await ended(between)).startswith(b"* BYE")
    await other.ok("NOOP")


# -- other daemons that go ---------------------------------------------------------------------------------------------

async def test_a_restart_of_the_mailboxes_costs_a_delay(tmp_path):
    async with kit.AsyncExitStack() as stack:
        (tmp_path / "tls").mkdir()
        await stack.enter_async_context(running(AuthServer, tmp_path, TABLES))
        auth = stack.enter_context(kit.operator(tmp_path, "auth"))
        await auth.call("domain-add", "example.test")
        await auth.call("account-add", ALICE, PASSWORD)
        await stack.enter_async_context(running(kit.QueueServer, tmp_path, TABLES))
        suite = kit.Suite(tmp_path, stack)
        async with running(MailboxServer, tmp_path, TABLES):
            await suite.open()
            client, watcher = await suite.login(), await suite.login()
            await client.append("INBOX", b"Subject: one\r\n\r\n1")
            await client.ok("SELECT INBOX")
            await watcher.ok("SELECT INBOX")
        assert (await client.ok("FETCH 1 BODY.PEEK[TEXT]"))[0].endswith(b"{1}\r\n1)"), "reading goes on by itself"
        tag = client.start("STORE 1 +FLAGS.SILENT (\\Flagged)")
        async with running(MailboxServer, tmp_path, TABLES):
            assert (await client.finish(tag))[-1].startswith(b"OK")
            watcher.start("IDLE")
            while not (await watcher.response()).startswith(b"+"):
                pass
            await client.append("INBOX", b"Subject: two\r\n\r\n2")
            async with asyncio.timeout(15):
                assert await watcher.response() == b"* 2 EXISTS"
            await kit.stop(suite)


async def test_two_processes_tell_each_other(suite):
    async with running(ImapDaemon, suite.state, TABLES, instance="imap-2") as second:
        here = await suite.login()
        there = await suite.connect(next(iter(second.listeners[0]._doors.values())))
        await there.ok(f'LOGIN {ALICE} "{PASSWORD}"')
        await here.ok("SELECT INBOX")
        here.start("IDLE")
        await here.response()
        await there.append("INBOX", b"Subject: x\r\n\r\ny")
        assert await here.response() == b"* 1 EXISTS"
        there.close()


async def test_mailboxes_of_two_shards_have_the_same_number(tmp_path, monkeypatch):
    monkeypatch.setitem(TABLES, "mailbox", {"shards": 2})
    async with kit.AsyncExitStack() as stack:
        suite = await kit.start(tmp_path, stack)
        alice, bob = await suite.login(), await suite.login("bob@example.test")
        for client, name in ((alice, "Mine"), (bob, "Common")):
            await client.ok(f"CREATE {name}")
        await bob.ok(f"SETACL Common {ALICE} lx")
        await alice.ok("SELECT Mine")
        mine, common = await suite.imap.reader.mailbox(ALICE, "Mine"), await suite.imap.reader.mailbox("bob@example.test", "Common")
        assert mine.id == common.id, "the test is of no use"
        await alice.ok('DELETE "Other Users/bob@example.test/Common"')
        assert await alice.ok("CHECK") == []            # and the own one is still selected
        await kit.stop(suite)


async def test_who_is_there_hears_that_the_daemon_goes(suite):
    client = await suite.login()
    await suite.restart()
    assert (await ended(client)).startswith(b"* BYE [UNAVAILABLE]")


# -- uploads -----------------------------------------------------------------------------------------------------------

def incoming(suite) -> list[str]:
    """What lies in the folder of messages that come."""
    folder = suite.state / "mail" / "incoming"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_a_long_message_goes_through_a_file(suite):
    content = b"Subject: long\r\n\r\n" + b"0123456789abcdef" * 50_000
    client = await suite.login()
    assert b"APPENDUID" in await client.append("INBOX", content)
    await client.ok("SELECT INBOX")
    assert (await client.ok("FETCH 1 BODY.PEEK[]"))[0] == b"* 1 FETCH (BODY[] {%d}\r\n%b)" % (len(content), content)
    assert incoming(suite) == []


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(suite):
    client = await suite.login()
    client.start(b"APPEND INBOX {500000+}\r\n" + b"x" * 300_000)
    await client.writer.drain()
    while not incoming(suite):
        await asyncio.sleep(0)
    client.close()
    while incoming(suite):
        await asyncio.sleep(0)
    other = await suite.login()
    assert b"* 0 EXISTS" in await other.ok("SELECT INBOX")


async def test_too_big_and_over_quota(suite):
    await suite.restart(**{"append-limit": 1 << 16})
    client = await suite.login()
    client.start("APPEND INBOX {65537}")
    assert b"NO [TOOBIG]" in await client.response()
    await suite.auth.call("account-quota", ALICE, 20_000)
    await ended(client)
    client = await suite.login()
    assert (await client.append("INBOX", b"x" * 30_000)).startswith(b"NO [OVERQUOTA]")
    assert (await client.append("INBOX", b"Subject: x\r\n\r\n")).startswith(b"OK")
    await client.ok("SELECT INBOX")
    assert (await client.ok("GETQUOTAROOT INBOX"))[-1] == b"* QUOTA user (STORAGE 1 19)"


async def test_a_message_of_a_session_that_does_not_read(suite):
    """Who does not read is stopped, not buffered."""
    client = await suite.login()
    content = b"Subject: long\r\n\r\n" + b"0123456789abcdef" * 60_000
    await client.append("INBOX", content)
    await client.ok("SELECT INBOX")
    for _ in range(50):
        client.start("FETCH 1 BODY.PEEK[]")
    await client.writer.drain()
    connection = next(one for one in suite.imap.listeners[0].connections)
    while not connection.stalled:
        await asyncio.sleep(0)
    assert connection._unsent < 2_000_000
    total, data = 0, b""
    async with asyncio.timeout(30):
        while b"t53 OK" not in data:
            data = data[-20:] + (read := await client.reader.read(1 << 20))
            total += len(read)
    assert total > 50 * len(content)


# -- what takes long ---------------------------------------------------------------------------------------------------

COMMANDS = ["STORE 1 +FLAGS (\\Seen)", "COPY 1 Archive", "MOVE 1 Archive", "EXPUNGE", "UID EXPUNGE 1", "CREATE Slow", "RENAME Archive Old", "CLOSE",
            "APPEND INBOX {3+}\r\nabc", "REPLACE 1 INBOX {3+}\r\nabc", "DELETE Archive", "SUBSCRIBE INBOX"]


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_change_that_takes_long_tells_of_itself(suite, monkeypatch, command):
    """RFC 9585: fm-mailbox holds the change back until the client has been told three times that it is under way."""
    told, turn = asyncio.Event(), suite.mailbox_daemon.turn.run

    async def held(work):
        await told.wait()
        return await turn(work)
    await suite.deliver(b"Subject: one\r\n\r\n")
    client = await suite.login()
    await client.ok("SELECT INBOX")
    await client.ok("STORE 1 +FLAGS (\\Deleted)")
    monkeypatch.setattr(suite.mailbox_daemon.turn, "run", held)
    monkeypatch.setattr(session, "PATIENCE", 0.001)
    tag = client.start(command)
    for _ in range(3):
        assert await client.response() == b'* OK [INPROGRESS ("%b" NIL NIL)] still at it' % tag
    monkeypatch.setattr(session, "PATIENCE", 60)
    told.set()
    assert (await client.finish(tag))[-1].startswith(b"OK")


@pytest.mark.parametrize("command", ["SEARCH TEXT hello", "SORT (DATE) UTF-8 TEXT hello", "THREAD REFERENCES UTF-8 TEXT hello",
                                     'ESEARCH IN (mailboxes INBOX) TEXT hello'])
async def test_a_search_that_takes_long_tells_of_itself(suite, monkeypatch, command):
    told = asyncio.Event()

    async def pause(own):
        await told.wait()
    await suite.deliver(b"Subject: one\r\n\r\nhello\r\n")
    client = await suite.login()
    await client.ok("SELECT INBOX")
    monkeypatch.setattr(session.ImapSession, "pause", pause)
    monkeypatch.setattr(session, "PATIENCE", 0.001)
    tag = client.start(command)
    for _ in range(3):
        assert await client.response() == b'* OK [INPROGRESS ("%b" NIL NIL)] still at it' % tag
    told.set()
    assert (await client.finish(tag))[-1].startswith(b"OK")
