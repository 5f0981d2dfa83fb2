"""fm-auth over its doors: users, logins, SASL, names, accounts, budgets; every verb as it is said on the wire."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import weakref
from base64 import b64decode, b64encode

import passlib.hash
import pytest
import scramp
from joserfc import jwt
from joserfc.jwk import ECKey

from fancymail.base.settings.load import parse_settings
from fancymail.ipc.message import IpcError
from fancymail.protocol.sasl import ScramClient, plain_message
from fancymail.servers.auth.daemon import AuthServer
from tests.servers_kit import operator, running

QUICK = {"argon2-memory": 64, "argon2-passes": 1, "scram-iterations": 4096, "failure-delay": 0.02, "workers": 2}
PASSWORD = "wonderland"
STRANGER = "192.0.2.7"
BINDING = bytes(range(32))


class World:
    """A running daemon, the operator's client, and short words for both."""

    def __init__(self, daemon, client):
        self.daemon, self.client = daemon, client

    async def say(self, verb, *params):
        return [frame.decode() for frame in await self.client.call(verb, *params)]

    async def refused(self, verb, *params):
        with pytest.raises(IpcError) as error:
            await self.client.call(verb, *params)
        return error.value.status

    async def rows(self, verb, *params):
        _, rows = await self.client.rows(verb, *params)
        return [[frame.decode() for frame in row.params] for row in rows]

    async def fill(self):
        await self.say("domain-add", "example.test")
        await self.say("domain-add", "other.test")
        await self.say("account-add", "alice@example.test", PASSWORD)
        await self.say("account-add", "bob@other.test", PASSWORD)
        return self


def tables(**options):
    return {"server": {"default-domain": "example.test"}, "auth": {**QUICK, **options}}


@pytest.fixture
async def world(tmp_path):
    async with running(AuthServer, tmp_path, tables()) as daemon:
        with operator(tmp_path, "auth") as client:
            yield await World(daemon, client).fill()


async def scram(world, mechanism="SCRAM-SHA-256", user="alice@example.test", password=PASSWORD, binding=b"", address=STRANGER):
    """Log in by SCRAM with our client; returns the account."""
    client, session = ScramClient(mechanism, user, password, "cnonce", binding), secrets.token_hex(8)

    async def step(data):
        return await world.client.call("sasl", session, mechanism, b64encode(data), address, bool(binding), binding)
    verb, challenge = await step(client.first())
    assert verb == b"challenge"
    account, final = await step(await asyncio.to_thread(client.final, b64decode(challenge)))
    client.verify(b64decode(final))
    return account.decode()


# -- users and passwords


async def test_verify(world):
    assert await world.say("verify", "alice@example.test") == ["alice@example.test"]
    assert await world.say("verify", "ALICE") == ["alice@example.test"]
    for user in ("nobody", "bob", "alice@nowhere.test", "../../etc/passwd", "alice+tag@example.test"):
        assert await world.refused("verify", user) == "5.1.1"


async def test_auth(world):
    assert await world.say("auth", "alice", PASSWORD) == ["alice@example.test"]
    assert await world.say("auth", "Bob@Other.Test", PASSWORD, STRANGER) == ["bob@other.test"]
    for user, password in (("alice", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), ("alice", ""), ("alice", b"\xff"), ("alice", b"a\0b"),
                           ("alice", PASSWORD.upper()), ("alice", b"x" * 60_000), ("root", ""), ("queue", "queue"), ("a@b@c", "x")):
        assert await world.refused("auth", user, password, STRANGER) == "5.7.8"


async def test_wrong_and_unknown_get_the_same_words(world):
    await world.say("account-add", "nologin")
    await world.say("account-add", "gone", PASSWORD)
    await world.say("account-disable", "gone")
    words = set()
    for user in ("alice", "nobody", "nologin", "gone", "alice@nowhere.test", "not an address"):
        with pytest.raises(IpcError) as error:
            await world.client.call("auth", user, "wrong password", STRANGER)
        words.add((error.value.status, error.value.text, error.value.more))
    assert len(words) == 1


async def test_a_right_password_is_hashed_once_a_minute(world, monkeypatch):
    checked = []
    real = world.daemon.passwords.verify
    monkeypatch.setattr(world.daemon.passwords, "verify", lambda *args: checked.append(1) or real(*args))
    for _ in range(5):
        await world.say("auth", "alice", PASSWORD)
    assert len(checked) == 1
    await world.refused("auth", "alice", "wrong one")
    assert len(checked) == 2
    await world.say("account-password", "alice", "another one")
    assert await world.refused("auth", "alice", PASSWORD) == "5.7.8"
    await world.say("auth", "alice", "another one")
    await world.say("account-disable", "alice")
    assert await world.refused("auth", "alice", "another one") == "5.7.8"
    await world.say("account-enable", "alice")
    await world.say("auth", "alice", "another one")


async def test_the_same_login_many_times_at_once_is_checked_once(world, monkeypatch):
    checked = []
    real = world.daemon.passwords.verify
    monkeypatch.setattr(world.daemon.passwords, "verify", lambda *args: checked.append(1) or real(*args))
    answers = await asyncio.gather(*(world.client.call("auth", "alice", PASSWORD, STRANGER) for _ in range(200)))
    assert {answer[0] for answer in answers} == {b"alice@example.test"} and len(checked) == 1


async def test_a_password_changed_while_it_is_checked_does_not_pass(world, monkeypatch):
    real = world.daemon.passwords.verify

    def slowly(account, password):
        verdict = real(account, password)
        world.daemon.directory.change("alice", password=world.daemon.passwords.make("new password").password, scram={})
        return verdict
    monkeypatch.setattr(world.daemon.passwords, "verify", slowly)
    assert await world.refused("auth", "alice", PASSWORD, STRANGER) == "5.7.8"


async def test_an_imported_hash_is_renewed_at_login(world):
    await world.say("account-import", "carol", "{SHA512-CRYPT}" + passlib.hash.sha512_crypt.using(rounds=1000).hash(PASSWORD))
    assert json.loads((await world.say("account-show", "carol"))[0])["password"] == "sha512_crypt"
    assert await world.refused("auth", "carol", "wrong", STRANGER) == "5.7.8"
    await world.say("auth", "carol", PASSWORD)
    await world.say("account-quota", "bob@other.test", 1)           # behind the renewal in the keeper's queue
    shown = json.loads((await world.say("account-show", "carol"))[0])
    assert shown["password"] == "argon2" and shown["scram"] == ["SCRAM-SHA-1", "SCRAM-SHA-256"]
    assert await scram(world, user="carol") == "carol@example.test"
    assert await world.refused("account-import", "dave", "no hash") == "5.5.4"


async def test_a_flood_of_logins_is_put_off_not_queued_without_end(tmp_path):
    async with running(AuthServer, tmp_path, tables(waiting=4, workers=1, **{"argon2-memory": 4096})) as daemon:
        with operator(tmp_path, "auth") as client:
            world = await World(daemon, client).fill()
            answers = await asyncio.gather(*(client.call("auth", f"user{n}", "x" * 10, f"192.0.2.{n}") for n in range(100)),
                                           return_exceptions=True)
            statuses = [answer.status for answer in answers]
            assert set(statuses) == {"5.7.8", "4.7.0"} and statuses.count("4.7.0") >= 80
            assert await world.say("auth", "alice", PASSWORD) == ["alice@example.test"]
            assert daemon.pool.pending == 0


# -- SASL


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
async def test_scram(world, mechanism):
    binding = BINDING if mechanism.endswith("-PLUS") else b""
    assert await scram(world, mechanism, binding=binding) == "alice@example.test"
    assert await scram(world, mechanism, user="ALICE", binding=binding) == "alice@example.test"
    for user, password in (("alice", "wrong"), ("nobody", PASSWORD)):
        with pytest.raises(IpcError, match="5.7.8 authentication credentials invalid"):
            await scram(world, mechanism, user, password, binding)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
async def test_scramp_logs_in(world, mechanism):
    binding = BINDING if mechanism.endswith("-PLUS") else b""
    client = scramp.ScramClient([mechanism], "alice@example.test", PASSWORD,
                                channel_binding=("tls-server-end-point", binding) if binding else None)

    async def step(data):
        return await world.client.call("sasl", "session", mechanism, b64encode(data.encode()), STRANGER, 1, binding)
    _, challenge = await step(client.get_client_first())
    client.set_server_first(b64decode(challenge).decode())
    account, final = await step(await asyncio.to_thread(client.get_client_final))
    client.set_server_final(b64decode(final).decode())
    assert account == b"alice@example.test"


async def test_a_stripped_plus_is_noticed(world):
    first = b64encode(b"y,,n=alice,r=cnonce")
    assert await world.refused("sasl", "s1", "SCRAM-SHA-256", first, STRANGER, 1, BINDING) == "5.7.8"
    verb, _ = await world.client.call("sasl", "s2", "SCRAM-SHA-256", first, STRANGER, 1, b"")
    assert verb == b"challenge"


async def test_unknown_users_get_a_salt_that_stays(world):
    async def first(user, session):
        message = b64encode(b"n,,n=%s,r=cnonce" % user)
        _, challenge = await world.client.call("sasl", session, "SCRAM-SHA-256", message, STRANGER, 1)
        return b64decode(challenge).split(b",")
    one, again, real = await first(b"nobody", "s1"), await first(b"nobody@EXAMPLE.test", "s2"), await first(b"alice", "s3")
    assert one[1] == again[1] != real[1] and one[2] == real[2] == b"i=4096" and len(one[1]) == len(real[1])
    assert one[0] != again[0] and one[0].startswith(b"r=cnonce")


async def test_plain_and_login(world):
    message = b64encode(plain_message("alice", PASSWORD))
    assert await world.say("sasl", "s1", "PLAIN", message, STRANGER, 1) == ["alice@example.test", ""]
    assert await world.say("sasl", "s2", "plain", "", STRANGER, 1) == ["challenge", ""]
    assert await world.say("sasl", "s2", "PLAIN", message, STRANGER, 1) == ["alice@example.test", ""]
    assert await world.say("sasl", "s3", "LOGIN", "", STRANGER, 1) == ["challenge", b64encode(b"Username:").decode()]
    assert await world.say("sasl", "s3", "LOGIN", b64encode(b"alice"), STRANGER, 1) == ["challenge", b64encode(b"Password:").decode()]
    assert await world.say("sasl", "s3", "LOGIN", b64encode(PASSWORD.encode()), STRANGER, 1) == ["alice@example.test", ""]
    assert await world.refused("sasl", "s4", "PLAIN", b64encode(plain_message("alice", "wrong")), STRANGER, 1) == "5.7.8"


async def test_an_authzid_needs_to_be_equal_or_granted(world):
    async def act(authzid):
        return b64encode(plain_message("alice", PASSWORD, authzid))
    assert await world.say("sasl", "s", "PLAIN", await act("alice@EXAMPLE.test"), STRANGER, 1) == ["alice@example.test", ""]
    assert await world.refused("sasl", "s", "PLAIN", await act("bob@other.test"), STRANGER, 1) == "5.7.8"
    assert await world.refused("sasl", "s", "PLAIN", await act("nobody"), STRANGER, 1) == "5.7.8"
    await world.say("grant", "alice", "act", "bob@other.test")
    assert await world.say("sasl", "s", "PLAIN", await act("bob@other.test"), STRANGER, 1) == ["bob@other.test", ""]
    await world.say("revoke", "alice", "act", "bob@other.test")
    assert await world.refused("sasl", "s", "PLAIN", await act("bob@other.test"), STRANGER, 1) == "5.7.8"


async def test_passwords_in_the_clear_need_tls_or_loopback(world):
    message = b64encode(plain_message("alice", PASSWORD))
    assert await world.refused("sasl", "s", "PLAIN", message, STRANGER, 0) == "5.7.11"
    assert await world.refused("sasl", "s", "LOGIN", "", "::2", 0) == "5.7.11"
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert (await world.say("sasl", "s", "PLAIN", message, address, 0))[0] == "alice@example.test"
    assert await scram(world) == "alice@example.test"


async def test_mechanisms(world):
    assert await world.say("mechanisms", STRANGER, 0, 0) == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
    assert await world.say("mechanisms", STRANGER, 1, 0) == ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]
    assert "SCRAM-SHA-256-PLUS" in await world.say("mechanisms", STRANGER, 1, 1)
    assert "PLAIN" in await world.say("mechanisms", "127.0.0.1")


@pytest.mark.parametrize("mechanism, response, expected", [
    ("NOPE", "", "5.5.4"), ("SCRAM-SHA-512", "", "5.5.4"), ("PLAIN", "!!!", "5.5.2"), ("PLAIN", "=", "5.5.2"), ("PLAIN", "*", "5.5.2"),
    ("PLAIN", b64encode(b"alice"), "5.5.2"), ("PLAIN", b64encode(b"\0alice\0a\0b"), "5.5.2"), ("SCRAM-SHA-256", b64encode(b"n,,"), "5.5.2"),
    ("PLAIN", b"A" * 20_000, "5.5.2"), ("PLAIN", b"\xff\xfe", "5.5.2"), ("PLAIN", "AHQAcA== ", "5.5.2"),
    ("SCRAM-SHA-256-PLUS", b64encode(b"p=tls-server-end-point,,n=alice,r=x"), "5.7.8"),
])
async def test_bad_sasl(world, mechanism, response, expected):
    assert await world.refused("sasl", "s", mechanism, response, STRANGER, 1) == expected
    assert len(world.daemon.exchanges) == 0


async def test_an_exchange_is_one_and_ends(world):
    first = b64encode(b"n,,n=alice,r=cnonce")
    await world.say("sasl", "s", "SCRAM-SHA-256", first, STRANGER, 1)
    assert await world.refused("sasl", "s", "PLAIN", b64encode(plain_message("alice", PASSWORD)), STRANGER, 1) == "5.5.2"
    await world.say("sasl", "s", "SCRAM-SHA-256", first, STRANGER, 1)
    assert await world.refused("sasl", "s", "SCRAM-SHA-256", "*", STRANGER, 1) == "5.5.2"
    assert len(world.daemon.exchanges) == 0


async def test_exchanges_are_bounded_in_number_and_time(tmp_path):
    async with running(AuthServer, tmp_path, tables(exchanges=10, **{"exchange-timeout": 0.2})) as daemon:
        with operator(tmp_path, "auth") as client:
            world = await World(daemon, client).fill()
            for number in range(10):
                await world.say("sasl", f"s{number}", "PLAIN", "", STRANGER, 1)
            assert await world.refused("sasl", "more", "PLAIN", "", STRANGER, 1) == "4.7.0"
            daemon.exchanges.timeout = 0.0
            assert await world.refused("sasl", "s3", "PLAIN", b64encode(b"half of it"), STRANGER, 1) == "5.5.2"
            assert len(daemon.exchanges) == 0
            daemon.exchanges.timeout = 60.0
            await world.say("sasl", "more", "PLAIN", "", STRANGER, 1)
            assert len(daemon.exchanges) == 1


async def test_scram_of_a_password_that_changed_meanwhile_fails(world):
    client = ScramClient("SCRAM-SHA-256", "alice", PASSWORD, "cnonce")
    _, challenge = await world.client.call("sasl", "s", "SCRAM-SHA-256", b64encode(client.first()), STRANGER, 1)
    await world.say("account-password", "alice", "another one")
    final = b64encode(client.final(b64decode(challenge)))
    assert await world.refused("sasl", "s", "SCRAM-SHA-256", final, STRANGER, 1) == "5.7.8"


# -- budgets


async def test_guesses_make_the_guesser_wait_and_not_the_operator(world):
    for number in range(10):
        assert await world.refused("auth", "alice", f"guess {number}", STRANGER) == "5.7.8"
    assert await world.refused("auth", "alice", PASSWORD, STRANGER) == "4.7.0"
    assert await world.refused("auth", "alice", PASSWORD, "198.51.100.1") == "4.7.0"
    assert await world.refused("sasl", "s", "SCRAM-SHA-256", b64encode(b"n,,n=alice,r=x"), "198.51.100.1", 1) == "4.7.0"
    assert await world.say("auth", "alice", PASSWORD) == ["alice@example.test"]
    assert await world.say("auth", "alice", PASSWORD, "127.0.0.1") == ["alice@example.test"]
    (kind, name, failures, seconds), = await world.rows("bans")
    assert (kind, name, failures) == ("account", "alice@example.test", "10") and int(seconds) > 10
    assert await world.say("unban", "ALICE") == ["1"] and await world.rows("bans") == []
    assert await world.say("auth", "alice", PASSWORD, STRANGER) == ["alice@example.test"]


async def test_names_that_do_not_exist_are_counted_alike(world):
    for number in range(10):
        await world.refused("auth", "nobody", f"guess {number}", STRANGER)
    with pytest.raises(IpcError) as unknown:
        await world.client.call("auth", "nobody", "x", "198.51.100.1")
    for number in range(10):
        await world.refused("auth", "alice", f"guess {number}", "198.51.100.2")
    with pytest.raises(IpcError) as known:
        await world.client.call("auth", "alice", "x", "198.51.100.3")
    assert (known.value.status, known.value.text) == (unknown.value.status, unknown.value.text)


async def test_failed_scram_counts_too(world):
    for _ in range(10):
        with pytest.raises(IpcError, match="5.7.8"):
            await scram(world, "SCRAM-SHA-1", password="wrong")
    assert await world.refused("auth", "alice", PASSWORD, STRANGER) == "4.7.0"


async def test_a_reload_forgives_nobody_and_breaks_nothing_off(world, tmp_path):
    for number in range(10):
        await world.refused("auth", "alice", f"guess {number}", STRANGER)
    assert await world.say("sasl", "s", "PLAIN", "", STRANGER, 1) == ["challenge", ""]
    changed = tables(mechanisms=["PLAIN"], **{"tag-separator": "-"})
    world.daemon.reloaded(parse_settings(changed, "(test)"))
    assert await world.refused("auth", "alice", PASSWORD, STRANGER) == "4.7.0"
    message = b64encode(plain_message("bob@other.test", PASSWORD))
    assert (await world.say("sasl", "s", "PLAIN", message, STRANGER, 1))[0] == "bob@other.test"
    assert await world.say("resolve", "bob-x@other.test") == ["local:bob@other.test"]
    with pytest.raises(IpcError, match="5.3.5"):
        world.daemon.reloaded(parse_settings(tables(postmaster="a@-b"), "(test)"))
    assert await world.say("resolve", "bob-x@other.test") == ["local:bob@other.test"]


@pytest.mark.parametrize("turns", range(1, 4))
async def test_a_reload_breaks_off_no_check_and_leaves_no_threads(world, turns):
    """However near both come to each other in the loop."""
    before = weakref.ref(world.daemon.pool._threads)
    login = asyncio.create_task(world.daemon.logins.password("alice", PASSWORD.encode(), STRANGER))
    for _ in range(turns):
        await asyncio.sleep(0)
    world.daemon.reloaded(world.daemon.settings)
    assert (await login).address == "alice@example.test"
    del login
    async with asyncio.timeout(10):
        while before() is not None:
            await asyncio.sleep(0.01)


# -- names


async def test_resolve(world):
    await world.say("alias-add", "team", "alice", "bob@other.test", "x@remote.test")
    assert await world.say("resolve", "TEAM@example.test") == ["local:alice@example.test", "local:bob@other.test", "remote:x@remote.test"]
    assert await world.say("resolve", "alice+news@example.test") == ["local:alice@example.test"]
    assert await world.say("resolve", "alice") == ["local:alice@example.test"]
    for address, expected in (("nobody@example.test", "5.1.1"), ("x@remote.test", "5.1.2"), ("a@b@example.test", "5.1.3"), ("", "5.1.3"),
                              ("@remote.test:x@example.test", "5.1.3"), ("x@[127.0.0.1]", "5.1.2")):
        assert await world.refused("resolve", address) == expected
    for name in ("postmaster", "postmaster@other.test", "Abuse@example.test"):
        assert len(await world.say("resolve", name)) == 1


async def test_may_send(world):
    await world.say("alias-add", "info", "alice")
    for sender in ("", "alice@example.test", "alice+x@example.test", "info@example.test"):
        assert await world.say("may-send", "alice", sender) == []
    for sender in ("bob@other.test", "x@remote.test", "nobody@example.test", "junk"):
        assert await world.refused("may-send", "alice@example.test", sender) == "5.7.1"
    assert await world.refused("may-send", "nobody", "nobody@example.test") == "5.1.1"
    await world.say("grant", "alice", "send", "press@remote.test")
    assert await world.say("may-send", "alice", "press@remote.test") == []
    assert await world.refused("grant", "alice", "own", "press@remote.test") == "5.5.4"


async def test_accounts(world):
    assert await world.say("account-add", "Carol", PASSWORD, 1000) == ["carol@example.test"]
    assert await world.refused("account-add", "carol", PASSWORD) == "5.5.1"
    assert await world.refused("account-add", "x@nowhere.test", PASSWORD) == "5.1.2"
    assert await world.refused("account-add", "../x", PASSWORD) == "5.1.3"
    assert await world.refused("account-add", "dave", "short") == "5.5.4"
    assert await world.refused("account-add", "dave", b"\xff" * 10) == "5.5.4"
    assert await world.refused("verify", "dave") == "5.1.1"
    rows = await world.rows("account-list")
    assert rows == [["alice@example.test", "1", "0"], ["bob@other.test", "1", "0"], ["carol@example.test", "1", "1000"]]
    assert await world.rows("account-list", "Other.Test") == [["bob@other.test", "1", "0"]]
    assert await world.rows("account-list", "", "alice@example.test", 1) == [["bob@other.test", "1", "0"]]
    await world.say("account-quota", "carol", 5)
    shown = json.loads((await world.say("account-show", "carol"))[0])
    assert (shown["quota"], shown["enabled"], shown["password"]) == (5, True, "argon2")
    await world.say("account-remove", "carol")
    for verb in ("account-show", "account-remove", "account-disable", "account-enable"):
        assert await world.refused(verb, "carol") == "5.1.1"
    assert await world.refused("account-password", "carol", PASSWORD) == "5.1.1"
    assert await world.refused("account-hash", "carol", "{SHA}x") == "5.1.1"
    await world.say("account-hash", "alice", passlib.hash.md5_crypt.hash("of an old system"))
    assert await world.say("auth", "alice", "of an old system") == ["alice@example.test"]


async def test_domains_and_aliases(world):
    assert await world.say("domains") == await world.say("domain-list") == ["example.test", "other.test"]
    assert await world.say("domains", "example.test") == ["other.test"]
    assert await world.refused("domain-add", "EXAMPLE.test") == "5.5.1"
    assert await world.refused("domain-add", "not a domain") == "5.1.3"
    assert await world.refused("domain-remove", "other.test") == "5.5.1"
    assert await world.say("alias-add", "@other.test", "alice") == ["*@other.test"]
    assert await world.say("resolve", "whoever@other.test") == ["local:alice@example.test"]
    assert await world.rows("alias-list", "other.test") == [["*@other.test", "alice@example.test"]]
    assert await world.refused("alias-add", "x") == "5.5.4"
    assert await world.say("alias-remove", "@other.test") == ["*@other.test"]
    assert await world.refused("alias-remove", "@other.test") == "5.1.1"
    await world.say("account-remove", "bob@other.test")
    assert await world.say("domain-remove", "other.test") == ["other.test"]
    assert await world.refused("resolve", "bob@other.test") == "5.1.2"


async def test_changes_are_told(world):
    told = []
    world.daemon.callbacks.alert = told.append
    serial, *_ = await world.say("changes")
    await world.say("account-password", "alice", "another one")
    await world.say("account-remove", "bob@other.test")
    assert told == ["accounts", "accounts"]
    last, *who = await world.say("changes", serial)
    assert who == ["alice@example.test", "bob@other.test"] and int(last) == int(serial) + 2
    assert await world.say("changes", 999_999) == [last, "*"]


async def test_who_acts_as_another_is_in_a_session_of_the_others(world):
    """It was opened with bob's password: when he has another, or may no longer, it has to end."""
    for verb, *more in (("account-password", "another one"), ("account-disable",), ("account-remove",)):
        await world.say("grant", "bob@other.test", "act", "alice")
        serial, *_ = await world.say("changes")
        await world.say(verb, "bob@other.test", *more)
        assert (await world.say("changes", serial))[1:] == ["bob@other.test", "alice@example.test"]
    await world.say("account-add", "bob@other.test", PASSWORD)
    await world.say("grant", "bob@other.test", "act", "alice")
    serial, *_ = await world.say("changes")
    await world.say("revoke", "bob@other.test", "act", "alice")
    assert (await world.say("changes", serial))[1:] == ["alice@example.test"]


async def test_only_the_topic_accounts(world):
    assert await world.say("subscribe", "accounts", "tcp://127.0.0.1:9") == []
    assert await world.refused("subscribe", "passwords", "tcp://127.0.0.1:9") == "5.5.4"


async def test_no_answer_holds_a_hash_and_no_log_a_password(world, tmp_path):
    await world.refused("auth", "hunter2 typed as a name", "hunter3", STRANGER)
    await world.refused("sasl", "s", "PLAIN", b64encode(plain_message("alice", "hunter3")), STRANGER, 1)
    answers = [*await world.say("account-show", "alice"), *await world.say("stats"), str(await world.rows("account-list"))]
    assert not any("$argon2" in answer or "salt" in answer for answer in answers)
    world.daemon.log.flush()
    logged = world.daemon.paths.log.read_text()
    assert "login failed" in logged
    assert not any(word in logged for word in ("hunter", PASSWORD, "$argon2"))


async def test_accounts_stay_over_a_restart(tmp_path):
    async with running(AuthServer, tmp_path, tables()) as daemon:
        with operator(tmp_path, "auth") as client:
            world = await World(daemon, client).fill()
            challenge = await world.say("sasl", "s", "SCRAM-SHA-1", b64encode(b"n,,n=nobody,r=x"), STRANGER, 1)
    async with running(AuthServer, tmp_path, tables()) as daemon:
        with operator(tmp_path, "auth") as client:
            world = World(daemon, client)
            assert await world.say("auth", "alice", PASSWORD) == ["alice@example.test"]
            again = await world.say("sasl", "s", "SCRAM-SHA-1", b64encode(b"n,,n=nobody,r=x"), STRANGER, 1)
            salts = [b64decode(answer[1]).split(b",")[1] for answer in (challenge, again)]
            assert salts[0] == salts[1]


# -- OAuth -------------------------------------------------------------------------------------------------------------------

KEY = ECKey.generate_key("P-256", {"kid": "one"}, auto_kid=False)
ISSUER = {"issuer": "https://id.example.test", "audience": "mail", "keys": json.dumps({"keys": [KEY.as_dict(private=False)]})}


@pytest.fixture
async def issued(tmp_path):
    async with running(AuthServer, tmp_path, tables(oauth={"one": ISSUER})) as daemon:
        with operator(tmp_path, "auth") as client:
            yield await World(daemon, client).fill()


def token(user="alice@example.test", **claims) -> str:
    told = {"iss": "https://id.example.test", "aud": "mail", "email": user, "exp": int(time.time()) + 600} | claims
    return jwt.encode({"alg": "ES256", "kid": "one"}, told, KEY, algorithms=["ES256"])


def bearer(user: str, shown: str, mechanism="OAUTHBEARER") -> bytes:
    start = f"user={user}" if mechanism == "XOAUTH2" else f"n,a={user}," if user else "n,,"
    return b64encode(f"{start}\x01auth=Bearer {shown}\x01\x01".encode())


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_a_token_opens_its_account(issued, mechanism):
    assert await issued.say("sasl", "s1", mechanism, bearer("alice@example.test", token(), mechanism), STRANGER, 1) == ["alice@example.test", ""]
    assert await issued.say("sasl", "s2", mechanism, b"", STRANGER, 1) == ["challenge", ""]
    assert await issued.say("sasl", "s2", mechanism, bearer("alice@example.test", token(), mechanism), STRANGER, 1) == ["alice@example.test", ""]


@pytest.mark.parametrize("user, shown", [
    ("alice@example.test", "no.such.token"), ("bob@other.test", token()), ("alice@example.test", token("nobody@example.test")),
    ("alice@example.test", token(exp=1)), ("", token("carol@example.test"))])
async def test_a_wrong_token_is_told_and_fails(issued, user, shown):
    word, told = await issued.say("sasl", "s1", "OAUTHBEARER", bearer(user, shown), STRANGER, 1)
    assert word == "challenge" and json.loads(b64decode(told))["status"] == "invalid_token"
    assert await issued.refused("sasl", "s1", "OAUTHBEARER", b64encode(b"\x01"), STRANGER, 1) == "5.7.8"
    assert shown not in (issued.daemon.paths.log).read_text()


async def test_wrong_tokens_make_the_guesser_wait(issued):
    for number in range(25):
        try:
            await issued.say("sasl", f"s{number}", "XOAUTH2", bearer("alice@example.test", "a.b.c", "XOAUTH2"), STRANGER, 1)
            await issued.say("sasl", f"s{number}", "XOAUTH2", b"=", STRANGER, 1)
        except IpcError as error:
            last = error.status
    assert last == "4.7.0"


async def test_tokens_are_offered_where_there_is_an_issuer(issued):
    assert {"OAUTHBEARER", "XOAUTH2"} <= set(await issued.say("mechanisms", STRANGER, 1, 0))
    assert "OAUTHBEARER" not in await issued.say("mechanisms", STRANGER, 0, 0)
    assert await issued.refused("sasl", "s", "OAUTHBEARER", bearer("", token()), STRANGER, 0) == "5.7.11"


async def test_none_are_taken_where_there_is_none(world):
    assert "OAUTHBEARER" not in await world.say("mechanisms", STRANGER, 1, 0)
    assert await world.refused("sasl", "s", "OAUTHBEARER", bearer("", token()), STRANGER, 1) == "5.5.4"


async def test_keys_that_cannot_be_read_end_the_start(tmp_path):
    with pytest.raises(ValueError, match="https://id.example.test cannot be read"):
        async with running(AuthServer, tmp_path, tables(oauth={"one": {**ISSUER, "keys": "", "keys-file": "none.json"}})):
            pass
