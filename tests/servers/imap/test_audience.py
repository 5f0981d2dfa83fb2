"""Who hears of an account's mailboxes, and how often fm-mailbox is told about it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from fancymail.servers.imap import audience as module
from fancymail.servers.imap.audience import Audience

ALICE, BOB = "alice@example.test", "bob@example.test"


class Said(list):
    """What was said to fm-mailbox."""

    def audience(self, keep: float) -> Audience:
        return Audience(lambda account: self.append(f"+{account}"), lambda account: self.append(f"-{account}"), keep)


def session() -> SimpleNamespace:
    made = type("Session", (SimpleNamespace,), {"__hash__": object.__hash__})
    return made(hears=set())


async def turns(count: int = 3) -> None:
    """Let timers that are due run."""
    for _ in range(count):
        woken = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0, woken.set_result, None)
        await woken


async def test_one_subscription_for_all_who_listen():
    said, one, two = Said(), session(), session()
    audience = said.audience(0)
    audience.add(ALICE, one)
    audience.add(ALICE, one)
    audience.add(ALICE, two)
    assert said == [f"+{ALICE}"] and set(audience.of(ALICE)) == {one, two} and not audience.of(BOB)
    audience.discard(one)
    await turns()
    assert said == [f"+{ALICE}"] and set(audience.of(ALICE)) == {two} and not one.hears
    audience.discard(two)
    await turns()
    assert said == [f"+{ALICE}", f"-{ALICE}"] and not audience.of(ALICE)


async def test_who_comes_back_finds_the_subscription():
    said, one = Said(), session()
    audience = said.audience(1000)
    for _ in range(5):
        audience.add(ALICE, one)
        assert audience.of(ALICE) == (one,)
        audience.discard(one)
        assert audience.of(ALICE) == ()
        await turns()
    assert said == [f"+{ALICE}"]
    audience.add(ALICE, one)
    audience.keep = 0
    audience.discard(one)
    await turns()
    audience.add(ALICE, one)
    assert said == [f"+{ALICE}", f"-{ALICE}", f"+{ALICE}"]


async def test_few_subscriptions_are_kept_for_nobody(monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    said, one = Said(), session()
    audience = said.audience(1000)
    for number in range(10):
        audience.add(f"user{number}", one)
        audience.discard(one)
    assert said[-2:] == ["+user9", "-user6"] and len([word for word in said if word[0] == "-"]) == 7


async def test_a_session_hears_of_several_accounts():
    said, one, two = Said(), session(), session()
    audience = said.audience(0)
    audience.add(ALICE, one)
    audience.add(BOB, one)
    audience.add(BOB, two)
    audience.discard(one)
    await turns()
    assert said == [f"+{ALICE}", f"+{BOB}", f"-{ALICE}"] and audience.of(BOB) == (two,)
