"""Attacks on logins and accounts: enumeration by word and by clock, floods, garbage, odd names, stolen roles."""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import threading
import time
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager

import passlib.hash
import pytest

from fancymail.ipc.message import IpcError
from fancymail.ipc.verb import verbs_of
from fancymail.protocol.sasl import MECHANISMS, ScramClient, plain_message
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.running.daemon import Daemon
from tests.servers_kit import operator, running

PASSWORD = "wonderland"
HOME, STRANGER = "198.51.100.9", "192.0.2.66"
QUICK = {"argon2-memory": 64, "argon2-passes": 1, "scram-iterations": 4096, "failure-delay": 0.02, "workers": 2, "failures-per-trusted": 1_000_000}


@asynccontextmanager
async def auth_daemon(state, **options):
    """A daemon with alice and bob, who can log in whatever was done to it."""
    tables = {"server": {"default-domain": "example.test"}, "auth": {**QUICK, **options}}
    async with running(AuthServer, state, tables) as daemon:
        with operator(state, "auth") as client:
            await client.call("domain-add", "example.test")
            for name in ("alice", "bob"):
                await client.call("account-add", name, PASSWORD)
            yield daemon, client
            assert await client.call("auth", "bob", PASSWORD, "203.0.113.201") == [b"bob@example.test"]
            assert daemon.pool.pending == 0


async def status_of(client, *request):
    try:
        await client.call(*request)
    except IpcError as error:
        return error.status
    return "ok"


def area_under_curve(ones, others):
    """The chance that a value of `ones` is the greater one: 0.5 means that they cannot be told apart."""
    ranked = sorted([(value, 0) for value in others] + [(value, 1) for value in ones])
    ranks = sum(place for place, (_, kind) in enumerate(ranked, 1) if kind)
    return (ranks - len(ones) * (len(ones) + 1) / 2) / (len(ones) * len(others))


async def timed_pairs(client, known, unknown, count, at_once):
    """Time failing logins of two users, mixed; returns the seconds of both."""
    seconds = {known: [], unknown: []}
    users = [known, unknown] * count
    random.Random(7).shuffle(users)
    queue = iter(enumerate(users))

    async def guess():
        for number, user in queue:
            started = time.perf_counter()
            status = await status_of(client, "auth", user, f"guess {number}", "127.0.0.1")
            seconds[user].append(time.perf_counter() - started)
            assert status == "5.7.8"
    await asyncio.gather(*(guess() for _ in range(at_once)))
    return seconds[known], seconds[unknown]


async def slow_hash(client):
    hashed = await asyncio.to_thread(passlib.hash.sha256_crypt.using(rounds=20_000).hash, PASSWORD)
    await client.call("account-import", "carol", hashed)


@pytest.mark.parametrize("known", ["alice", "carol"])
async def test_the_clock_tells_nothing(tmp_path, known):
    """carol has an old hash that takes longer than ours: the tick hides that as well."""
    async with auth_daemon(tmp_path, **{"failure-delay": 0.3}) as (_, client):      # of 0.1 s a busy machine needs more for the hash alone
        await slow_hash(client)
        ones, others = await timed_pairs(client, known, "nobody", 100, 8)
        assert 0.34 < area_under_curve(ones, others) < 0.66          # 4 standard deviations of 100 pairs


@pytest.mark.slow
async def test_the_clock_tells_nothing_in_ten_thousand_pairs(tmp_path):
    async with auth_daemon(tmp_path, **{"failure-delay": 0.1}) as (_, client):
        ones, others = await timed_pairs(client, "alice", "nobody", 10_000, 60)
        assert abs(area_under_curve(ones, others) - 0.5) <= 0.02


async def test_without_the_tick_an_old_hash_would_show(tmp_path):
    """The measurement can fail: this is what it sees when the tick is off."""
    async with auth_daemon(tmp_path, **{"failure-delay": 0.0}) as (_, client):
        await slow_hash(client)
        ones, others = await timed_pairs(client, "carol", "nobody", 60, 1)
        assert area_under_curve(ones, others) > 0.8


async def test_the_words_tell_nothing(tmp_path):
    async with auth_daemon(tmp_path) as (_, client):
        await client.call("account-add", "nologin")
        await client.call("account-add", "disabled", PASSWORD)
        await client.call("account-disable", "disabled")
        said = set()
        for user in ("alice", "nobody", "nologin", "disabled", "postmaster", "root", "queue", "x@elsewhere.test"):
            for request in (("auth", user, "wrong", STRANGER),
                            ("sasl", "s", "PLAIN", b64encode(plain_message(user, "wrong")), STRANGER, 1)):
                with pytest.raises(IpcError) as error:
                    await client.call(*request)
                said.add((error.value.status, error.value.text, error.value.more))
            await client.call("unban", "*")
        assert len(said) == 1


async def test_scram_tells_nothing_before_the_proof(tmp_path):
    async with auth_daemon(tmp_path) as (_, client):
        shapes = set()
        for user in ("alice", "nobody", "x@elsewhere.test"):
            verb, challenge = await client.call("sasl", secrets.token_hex(8), "SCRAM-SHA-256", b64encode(b"n,,n=%s,r=c" % user.encode()), STRANGER, 1)
            shapes.add((verb, len(challenge)))
        assert len(shapes) == 1


@pytest.mark.parametrize("user", [
    "", " ", "../../etc/passwd", "..", "/abs", "a/b", "a\\b", "%2e%2e%2f", "%00", "alice%00", "alice.", "alice ", " alice", "alice@example.test.",
    "alice@EXAMPLE.test@x", '"alice"@example.test ', "x" * 320, "alice@[127.0.0.1]", "\u0430lice", "\uff41lice", "al\u0131ce", "alice\u200d",
    "alice\u202e", "=?utf-8?q?alice?=", "(x)alice@example.test", "alice(x)@example.test", "<alice@example.test>", "alice@example.test>",
    "@a,@b:alice@example.test", "alice+x", "*", "*@example.test", "alice' OR '1'='1", 'alice"; DROP TABLE account; --', "${jndi:x}", "%s%n",
])
async def test_odd_names_are_nobody(tmp_path, user):
    async with auth_daemon(tmp_path) as (_, client):
        assert await status_of(client, "auth", user, PASSWORD, STRANGER) in ("5.7.8", "5.5.4")
        assert await status_of(client, "verify", user) in ("5.1.1", "5.5.4")
        message = b64encode(plain_message(user, PASSWORD))
        assert await status_of(client, "sasl", "s", "PLAIN", message, STRANGER, 1) in ("5.7.8", "5.5.2")
        assert await status_of(client, "account-add", user, PASSWORD) != "ok"


@pytest.mark.parametrize("password", [
    b"", b"\0", b"wonderland\0", b"wonderland\0x", b"\0wonderland", b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"wonderland ", b" wonderland",
    b"wonderland\n", b"WONDERLAND", b"x" * 1025, b"x" * 45_000, "\u202ewonderland".encode(), b"wonderlan", b"w" * 1024])
async def test_odd_passwords_are_wrong(tmp_path, password):
    async with auth_daemon(tmp_path) as (_, client):
        assert await status_of(client, "auth", "alice", password, STRANGER) == "5.7.8"
        assert await status_of(client, "sasl", "s", "PLAIN", b64encode(b"\0alice\0" + password), STRANGER, 1) in ("5.7.8", "5.5.2")


async def test_five_hundred_logins_at_once(tmp_path):
    async with auth_daemon(tmp_path, waiting=16, **{"argon2-memory": 1024}) as (daemon, client):
        threads, most = [], 0
        requests = [client.call("auth", f"user{n}", f"guess {n}", f"10.{n % 250}.{n // 250}.1") for n in range(500)]
        while not all(request.done() for request in requests):
            most = max(most, daemon.pool.pending)
            threads.append(sum(thread.name.startswith("hash") for thread in threading.enumerate()))
            await asyncio.sleep(0.001)
        statuses = [request.exception().status for request in requests]
        assert set(statuses) == {"5.7.8", "4.7.0"} and most <= 18 and max(threads) <= 2


async def test_one_network_cannot_have_the_whole_queue(tmp_path):
    async with auth_daemon(tmp_path, waiting=40, workers=1, **{"argon2-memory": 4096}) as (daemon, client):
        flood = [client.call("auth", f"user{n}", "guess", f"2001:db8::{n:x}") for n in range(100)]
        await client.call("ping")
        assert await client.call("auth", "alice", PASSWORD, HOME) == [b"alice@example.test"]
        await asyncio.gather(*flood, return_exceptions=True)


async def test_over_the_budget_nothing_is_hashed(tmp_path, monkeypatch):
    async with auth_daemon(tmp_path) as (daemon, client):
        hashed, real = [], daemon.passwords.verify
        monkeypatch.setattr(daemon.passwords, "verify", lambda *args: hashed.append(1) or real(*args))
        statuses = [await status_of(client, "auth", "alice", f"guess {n}", STRANGER) for n in range(12)]
        statuses += await asyncio.gather(*(status_of(client, "auth", "alice", f"more {n}", STRANGER) for n in range(1000)))
        assert statuses.count("5.7.8") == len(hashed) == 10 and statuses.count("4.7.0") == 1002
        monkeypatch.undo()


async def test_guesses_side_by_side_have_no_larger_budget(tmp_path, monkeypatch):
    async with auth_daemon(tmp_path, waiting=1000) as (daemon, client):
        hashed, real = [], daemon.passwords.verify
        monkeypatch.setattr(daemon.passwords, "verify", lambda *args: hashed.append(1) or real(*args))
        await asyncio.gather(*(status_of(client, "auth", "alice", f"guess {n}", f"192.0.2.{n}") for n in range(200)))
        assert len(hashed) <= 11
        monkeypatch.undo()


async def test_proofs_side_by_side_have_no_larger_budget(tmp_path):
    """SCRAM: every exchange is begun while the account has its whole budget, and only then are all the guesses shown."""
    async with auth_daemon(tmp_path) as (_, client):
        begun = []
        for number in range(60):
            guess = ScramClient("SCRAM-SHA-256", "alice", PASSWORD if number == 59 else f"guess {number}", "cnonce")
            session, address = secrets.token_hex(8), f"192.0.2.{number}"
            _, challenge = await client.call("sasl", session, "SCRAM-SHA-256", b64encode(guess.first()), address, 1)
            begun.append((session, guess.final(b64decode(challenge)), address))
        statuses = [await status_of(client, "sasl", session, "SCRAM-SHA-256", b64encode(proof), address, 1) for session, proof, address in begun]
        assert statuses == ["5.7.8"] * 10 + ["4.7.0"] * 50


async def test_nobody_can_lock_the_owner_or_the_operator_out(tmp_path):
    async with auth_daemon(tmp_path) as (_, client):
        assert await client.call("auth", "alice", PASSWORD, HOME) == [b"alice@example.test"]
        for number in range(40):
            await status_of(client, "auth", "alice", f"guess {number}", f"203.0.113.{number}")
        assert await status_of(client, "auth", "alice", PASSWORD, STRANGER) == "4.7.0"
        await client.call("account-quota", "alice", 1)                    # forgets remembered passwords: this one is checked in full
        assert await client.call("auth", "alice", PASSWORD, HOME) == [b"alice@example.test"]
        assert await client.call("auth", "alice", PASSWORD, "::1") == [b"alice@example.test"]


async def test_a_front_that_names_loopback_for_everybody_has_a_budget_too(tmp_path, monkeypatch):
    """Somebody has taken fm-pop3 over and says that its clients sit at this machine, which is never made to wait."""
    async with auth_daemon(tmp_path, **{"failures-per-trusted": 30}) as (daemon, client):
        hashed, real = [], daemon.passwords.verify
        monkeypatch.setattr(daemon.passwords, "verify", lambda *args: hashed.append(1) or real(*args))
        addresses = ["127.0.0.1", "::1", "::ffff:127.0.0.1", *(f"127.0.{n}.9" for n in range(200))]
        statuses = [await status_of(client, "auth", "alice", f"guess {n}", address) for n, address in enumerate(addresses)]
        assert len(hashed) == statuses.count("5.7.8") == 30 and statuses.count("4.7.0") == len(addresses) - 30
        assert await client.call("auth", "alice", PASSWORD, HOME) == [b"alice@example.test"]
        assert await client.call("auth", "bob", PASSWORD, "127.0.0.1") == [b"bob@example.test"]


async def test_who_makes_it_crash_gets_no_new_budget(tmp_path):
    """All that was answered is counted by the next process: of accounts, of names that nobody has, of addresses, and whose network is whose."""
    tables = {"server": {"default-domain": "example.test"}, "auth": QUICK}
    async with auth_daemon(tmp_path) as (_, client):
        assert await client.call("auth", "alice", PASSWORD, HOME) == [b"alice@example.test"]
        for number in range(10):
            for user in ("alice", "hunter2"):           # a password where the name belongs
                assert await status_of(client, "auth", user, f"guess {number}", STRANGER) == "5.7.8"
        shutil.copytree(tmp_path, copy := tmp_path.parent / f"{tmp_path.name}-crashed", ignore=shutil.ignore_patterns("run", "*-shm"))
    async with running(AuthServer, copy, tables):
        with operator(copy, "auth") as client:
            for user in ("alice", "hunter2"):
                assert await status_of(client, "auth", user, PASSWORD, "203.0.113.7") == "4.7.0", user
            assert await status_of(client, "auth", "bob", PASSWORD, STRANGER) == "4.7.0"
            assert await client.call("auth", "alice", PASSWORD, HOME) == [b"alice@example.test"]
            assert int((await client.call("unban", "alice"))[0]) and await status_of(client, "auth", "alice", PASSWORD, "203.0.113.7") == "ok"
    async with running(AuthServer, copy, tables):
        with operator(copy, "auth") as client:
            assert await status_of(client, "auth", "alice", PASSWORD, "203.0.113.8") == "ok"
    assert not any(b"hunter2" in path.read_bytes() for path in copy.glob("logins.db*"))


async def test_a_spoofed_loopback_in_words_is_not_loopback(tmp_path):
    async with auth_daemon(tmp_path) as (_, client):
        message = b64encode(plain_message("alice", PASSWORD))
        for address in ("localhost", "127.0.0.1.evil.test", "127.0.0.1 ", "0x7f000001", "2130706433", "::ffff:192.0.2.1", "::"):
            assert await status_of(client, "sasl", "s", "PLAIN", message, address, 0) == "5.7.11", address


async def test_random_sasl_is_answered_and_kept_nowhere(tmp_path):
    rng = random.Random(11)
    pieces = [b"n,,", b"y,,", b"p=tls-server-end-point,,", b"n=alice", b"n=", b",", b"r=abc", b"\0", b"alice", b"\0wonderland", b"c=biws",
              b"p=AAAA", b"=", b"*", b"a=bob", b"\xff", b"i=1", b"m=x"]

    def response():
        kind = rng.random()
        if kind < 0.15:
            return rng.choice([b"", b"=", b"*", b"====", b"A", b"\xff\0", b"A" * 13_000])
        joined = b"".join(rng.choice(pieces) for _ in range(rng.randint(0, 8)))
        return b64encode(joined) if kind < 0.8 else b64encode(rng.randbytes(rng.randint(0, 200)))
    async with auth_daemon(tmp_path) as (daemon, client):
        for number in range(600):
            mechanism = rng.choice([*MECHANISMS, "NOPE", "plain"])
            binding = rng.choice([b"", bytes(32)])
            # alice's budget is not what is tried here: the operator's own machine is never made to wait
            status = await status_of(client, "sasl", f"s{rng.randint(0, 5)}", mechanism, response(), "127.0.0.1", 1, binding)
            assert status in ("ok", "5.5.2", "5.5.4", "5.7.8"), (number, status)
        assert len(daemon.exchanges) <= 6


async def test_abandoned_exchanges_do_not_pile_up(tmp_path):
    async with auth_daemon(tmp_path, exchanges=50) as (daemon, client):
        statuses = await asyncio.gather(*(status_of(client, "sasl", f"s{n}", "LOGIN", "", STRANGER, 1) for n in range(500)))
        assert statuses.count("ok") == 50 == len(daemon.exchanges) and set(statuses) == {"ok", "4.7.0"}
        daemon.exchanges.timeout = 0.0
        assert await status_of(client, "sasl", "fresh", "LOGIN", "", STRANGER, 1) == "ok" and len(daemon.exchanges) == 1


async def test_sessions_of_two_roles_never_meet(tmp_path):
    """The word that names an exchange is the caller's own: another role with the same word begins one of its own."""
    async with auth_daemon(tmp_path) as (daemon, client):
        await client.call("sasl", "s", "LOGIN", b64encode(b"alice"), STRANGER, 1)
        assert list(daemon.exchanges._open) == [("operator", "s")]


@pytest.mark.still
def test_what_a_captured_daemon_may_say():
    """A front that strangers have taken over can try logins like a stranger, and nothing else."""
    verbs = verbs_of(AuthServer)
    common = set(verbs_of(Daemon))
    for role in ("smtpin", "pop3", "imap", "web", "webmaild", "gateway"):
        assert {name for name, verb in verbs.items() if verb.allows(role)} - common == {
            "verify", "auth", "sasl", "mechanisms", "resolve", "domains", "may-send", "changes"}
    for role in ("queue", "smtpout", "mailbox", "supervisor", ""):
        assert {name for name, verb in verbs.items() if verb.allows(role)} - common <= {"verify", "resolve", "domains", "changes", "quota"}


async def test_a_storm_of_aliases_never_holds_up_a_login(tmp_path):
    async with auth_daemon(tmp_path) as (_, client):
        for number in range(99):
            await client.call("alias-add", f"a{number}", f"a{number + 1}", f"a{number + 1}+x", "alice")
        await client.call("alias-add", "wide", *(f"u{number}@x.test" for number in range(1000)))
        assert await status_of(client, "alias-add", "wider", *(f"u{number}@x.test" for number in range(1001))) == "5.2.4"
        await client.call("alias-add", "a99", "a0")
        started = time.perf_counter()
        for name in ("a0", "a50", "a99", "wide"):
            await client.call("resolve", name)
        assert time.perf_counter() - started < 1.0
