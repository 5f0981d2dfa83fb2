"""Full accounts and warnings, with a real fm-mailbox: refused when full, warned once, told when there is room again."""

from __future__ import annotations

import asyncio

import pytest

from fancymail.mail.uidset import LARGEST
from fancymail.servers.mailbox import quotas
from fancymail.servers.asking.store import Letter, MailStore
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.mailbox.recipients import Account
from fancymail.storage.ports.mailboxes import StoreFailed
from tests.servers_kit import operator, running

ALICE, BOB = "alice@example.test", "bob@example.test"


class Kit:
    def __init__(self, daemon, door) -> None:
        self.daemon, self.store = daemon, MailStore(lambda name, verb, *words, timeout: door.call(verb, *words, timeout=timeout))
        self.quotas = {ALICE: 100_000, BOB: 0}
        daemon.recipients.find = self.find
        self.full = lambda: sorted(daemon.quotas.full)

    async def find(self, user: str) -> Account:
        return Account(user, self.quotas[user])

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.02)

    def letters(self, name: str = "INBOX") -> list[bytes]:
        found = self.daemon.records.account(ALICE).messages(name, [(1, LARGEST)])
        return [b"".join(self.daemon.mailboxes.octets(message)) for message in found]


@pytest.fixture
async def kit(tmp_path):
    async with running(MailboxServer, tmp_path, {"log": {"console": "never"}}) as daemon:
        with operator(tmp_path, "mailbox") as door:
            yield Kit(daemon, door)


async def test_warned_once_then_full_then_room_again(kit):
    topics = []
    kit.daemon.quotas.alert = topics.append
    await kit.store.append(ALICE, "Archive", [Letter(b"x" * 90_500, 1)])
    await kit.until(lambda: len(kit.letters()) == 1)
    assert b"Subject: Your mailbox is 90 percent full" in kit.letters()[0]
    await kit.until(lambda: topics == [ALICE])
    assert kit.full() == []
    await kit.store.append(ALICE, "Archive", [Letter(b"x" * 6000, 1)])
    await kit.until(lambda: kit.full() == [ALICE])
    await kit.store.append(BOB, "Archive", [Letter(b"x" * 200_000, 1)])
    assert topics == [ALICE, "full"] and len(kit.letters()) == 1
    archive = kit.daemon.records.account(ALICE).mailbox("Archive").id
    await kit.store.expunge(ALICE, archive, [(1, 9)], deleted=False)
    await kit.until(lambda: kit.full() == [])
    assert topics == [ALICE, "full", "full"]
    await kit.store.append(ALICE, "Archive", [Letter(b"x" * 95_000, 1)])
    await kit.until(lambda: len(kit.letters()) == 2)


async def test_another_quota_is_noticed(kit):
    await kit.store.append(ALICE, "Archive", [Letter(b"x" * 50_000, 1)])
    kit.quotas[ALICE] = 40_000
    assert kit.full() == []
    kit.daemon.quotas.look_at_all()
    await kit.until(lambda: kit.full() == [ALICE])
    kit.quotas[ALICE] = 0
    assert kit.full() == [ALICE]                # until it looks
    kit.daemon.quotas.look_at_all()
    await kit.until(lambda: kit.full() == [])


async def test_a_store_that_fails_for_a_while_is_asked_again(kit, monkeypatch):
    monkeypatch.setattr(quotas, "TROUBLE", 0.01)
    store, failed = kit.daemon.records, []

    def away(name: str):
        if len(failed) < 2:
            failed.append(name)
            raise StoreFailed("the database is away")
        return account(name)
    await kit.store.append(ALICE, "Archive", [Letter(b"x" * 50_000, 1)])
    account = store.account
    monkeypatch.setattr(store, "account", away)
    kit.quotas[ALICE] = 40_000
    kit.daemon.quotas.look(ALICE)
    await kit.until(lambda: kit.full() == [ALICE])
    assert failed


async def test_a_warning_is_durable_before_its_row_where_nothing_is_small(kit):
    kit.daemon.mailboxes.stowage.small = 0
    await kit.store.append(ALICE, "Archive", [Letter(b"x" * 90_500, 1)])
    await kit.until(lambda: len(kit.letters()) == 1)
    await kit.until(lambda: not kit.daemon.blobs._pins)
    assert kit.daemon.blobs._written == {}
    assert b"Subject: Your mailbox is 90 percent full" in kit.letters()[0]
