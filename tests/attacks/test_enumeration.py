"""Who has an account here? Neither words nor work tell: the same replies in every protocol, and the same octets hashed for anybody.

The clock is tried in test_auth.py; here it is the processor time of the checks themselves, which a busy machine does not blur.
"""

from __future__ import annotations

import random
import time
from contextlib import AsyncExitStack

import pytest

from tests.attacks.test_auth import area_under_curve, auth_daemon, slow_hash, status_of
from tests.servers.imap import kit as imap_kit
from tests.servers.pop3 import kit as pop3_kit

NOBODIES = ["nobody@example.test", "nobody", "root", "postmaster@example.test", "x@elsewhere.test", "queue", "alice@elsewhere.test", "ALICE2"]
PAIRS = 250


async def work_of(client, daemon, monkeypatch, known: str, unknown: str) -> tuple[list[float], list[float]]:
    """Processor seconds of failing checks of two users, mixed."""
    spent: dict[str, list[float]] = {known: [], unknown: []}
    real, user = daemon.passwords.verify, ""

    def measured(*arguments):
        begun = time.thread_time()
        try:
            return real(*arguments)
        finally:
            spent[user].append(time.thread_time() - begun)
    monkeypatch.setattr(daemon.passwords, "verify", measured)
    order = [known, unknown] * PAIRS
    random.Random(5).shuffle(order)
    for number, user in enumerate(order):
        assert await status_of(client, "auth", user, f"guess {number}", "127.0.0.1") == "5.7.8"
    monkeypatch.undo()
    return spent[known], spent[unknown]


@pytest.mark.parametrize("unknown", ["nobody", "x@elsewhere.test"])
async def test_the_work_tells_nothing(tmp_path, monkeypatch, unknown):
    async with auth_daemon(tmp_path, **{"failure-delay": 0.0, "argon2-memory": 512}) as (daemon, client):
        ones, others = await work_of(client, daemon, monkeypatch, "alice", unknown)
        assert len(ones) == len(others) == PAIRS                       # one check each, no more and no less
        assert 0.38 < area_under_curve(ones, others) < 0.62            # 4.5 standard deviations


async def test_another_hash_would_show(tmp_path, monkeypatch):
    """The measurement can fail: an old hash costs other work (which the tick of failed logins hides from the clock)."""
    async with auth_daemon(tmp_path, **{"failure-delay": 0.0, "argon2-memory": 512}) as (daemon, client):
        await slow_hash(client)
        ones, others = await work_of(client, daemon, monkeypatch, "carol", "nobody")
        assert area_under_curve(ones, others) > 0.9


@pytest.mark.parametrize("nobody", NOBODIES)
async def test_imap_says_the_same(tmp_path, nobody):
    async with AsyncExitStack() as stack:
        suite = await imap_kit.start(tmp_path, stack)
        heard = []
        for user in ("alice@example.test", nobody):
            client = await suite.connect()
            heard.append(await client.ask(f'LOGIN {user} "wrong"'))
        assert heard[0] == heard[1]
        await imap_kit.stop(suite)


@pytest.mark.parametrize("nobody", NOBODIES)
async def test_pop3_says_the_same(tmp_path, nobody):
    async with pop3_kit.started(tmp_path) as suite:
        words = [b"USER %b\r\nPASS wrong\r\nQUIT\r\n" % user.encode() for user in ("alice@example.test", nobody)]
        heard = [await suite.client(suite.talk, each, True) for each in words]
        assert heard[0] == heard[1]
