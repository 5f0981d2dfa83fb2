"""What SqliteReader remembers: never served once anybody has committed, in this process or another, and never much of it."""

from __future__ import annotations

import multiprocessing
import random
from hashlib import sha256

import apsw
import pytest

from fancymail.mail.mailbox import FLAGGED
from fancymail.storage.ports.mailboxes import Delivery
from fancymail.storage.ports.reader import MailboxGone
from fancymail.storage.sqlite import shard as sqlite_shard
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.reader import SqliteReader
from fancymail.storage.sqlite.shard import ReadShard

ALICE, BOB = "alice@example.test", "bob@example.test"
NOW = 1_800_000_000


def message(mailbox: str = "INBOX") -> Delivery:
    return Delivery(mailbox, "", 0, sha256(b"x").digest(), 1, b"", NOW)


@pytest.fixture
def store(tmp_path):
    store = SqliteMailboxes(tmp_path, synchronous="OFF")
    for name in (ALICE, BOB):
        store.account(name).create("INBOX", NOW)
    yield store
    store.close()


@pytest.fixture
def reader(store, tmp_path):
    reader = SqliteReader(tmp_path)
    yield reader
    reader.close()


class Counted:
    """A shard's questions, counted."""

    def __init__(self, shard: ReadShard) -> None:
        self.shard, self.asked, self._execute = shard, [], shard.execute
        shard.execute = self

    def __call__(self, sql, bindings=()):
        if not sql.startswith("PRAGMA"):
            self.asked.append(sql)
        return self._execute(sql, bindings)


async def test_what_nobody_changed_is_not_asked_again(store, reader):
    box = store.account(ALICE).mailbox("INBOX")
    await reader.mailbox(ALICE, "INBOX")
    counted = Counted(reader.shards[0])
    for _ in range(3):
        assert await reader.mailbox(ALICE, "INBOX") == box
        assert (await reader.open(ALICE, box.id).changes(box.highestmodseq, box.uidnext)).mailbox == box
    assert len([sql for sql in counted.asked if sql.startswith("SELECT")]) == 2        # of `changes`, the first time


@pytest.mark.parametrize("seed", range(10))
async def test_every_answer_is_as_new_as_the_last_commit(store, reader, seed):
    chance = random.Random(seed)
    known = (0, 1)
    for step in range(60):
        account = store.account(chance.choice((ALICE, BOB)))
        box = account.mailbox("INBOX")
        action = chance.randrange(7)
        if action == 0:
            account.deliver([message()], NOW)
        elif action == 1 and box.messages:
            account.set_flags("INBOX", [(1, box.uidnext)], *chance.choice([(FLAGGED, 0), (0, FLAGGED)]))
        elif action == 2:
            account.expunge("INBOX", [(1, chance.randint(1, box.uidnext))], NOW)
        elif action == 3:
            account.create(f"box{step}", NOW)
        elif action == 4:
            account.grant("INBOX", "carol@example.test", chance.choice(("lr", "lrs", "")))
        elif action == 5:
            account.set_metadata("INBOX", {"/private/comment": b"%d" % step})
        elif action == 6:
            account.subscribe(f"name{step}", True)
        for each in (ALICE, BOB):
            assert await reader.mailboxes(each) == store.account(each).mailboxes()
            assert await reader.mailbox(each, "INBOX") == store.account(each).mailbox("INBOX")
            assert await reader.subscriptions(each) == store.account(each).subscriptions()
            assert await reader.acl(each, store.account(each).mailbox("INBOX").id) == store.account(each).acl("INBOX")
        alice = store.account(ALICE).mailbox("INBOX")
        changes = await reader.open(ALICE, alice.id).changes(*known)
        assert changes.mailbox == alice
        known = (alice.highestmodseq, alice.uidnext)
        assert (await reader.open(ALICE, alice.id).changes(*known))[2:] == ([], [])


def _deliver_elsewhere(folder) -> None:
    store = SqliteMailboxes(folder, synchronous="OFF")
    store.account(ALICE).deliver([message()], NOW)
    store.close()


async def test_the_commit_of_another_process_is_seen(store, reader, tmp_path):
    box = store.account(ALICE).mailbox("INBOX")
    opened = reader.open(ALICE, box.id)
    for messages in range(1, 4):
        process = multiprocessing.get_context("spawn").Process(target=_deliver_elsewhere, args=(tmp_path,))
        process.start()
        process.join()
        now = await reader.mailbox(ALICE, "INBOX")
        assert now.messages == messages
        changes = await opened.changes(box.highestmodseq, box.uidnext)
        assert len(changes.states) == messages and changes.mailbox == now


async def test_a_mailbox_that_went_is_gone_at_once(store, reader):
    account = store.account(ALICE)
    box = account.create("gone", NOW)
    account.deliver([message("gone")], NOW)
    opened = reader.open(ALICE, box.id)
    assert await opened.columns(("size",), [(1, 1)]) == [(1, 1)]
    account.remove("gone", NOW)
    with pytest.raises(MailboxGone):
        await opened.columns(("size",), [(1, 1)])


async def test_little_is_remembered(store, reader, monkeypatch):
    monkeypatch.setattr(sqlite_shard, "REMEMBERED", 10)
    shard = reader.shards[0]
    for number in range(100):
        await reader.mailbox(ALICE, f"box{number}")
        assert len(shard._memory) <= 10
    for number in range(30):
        store.account(ALICE).create(f"box{number}", NOW)
    assert len(await reader.mailboxes(ALICE)) == 31         # more than is kept of anything
    assert not shard._memory


async def test_another_file_in_its_place_is_not_mistaken(store, reader, tmp_path):
    assert (await reader.mailbox(ALICE, "INBOX")).messages == 0
    store.account(ALICE).deliver([message()], NOW)
    reader.close()
    assert (await reader.mailbox(ALICE, "INBOX")).messages == 1


async def test_a_question_is_planned_once_whatever_is_bound_to_it(store, reader):
    box = store.account(ALICE).mailbox("INBOX")
    opened = reader.open(ALICE, box.id)
    for account in (store.account(ALICE), store.account(BOB)):
        account.deliver([message()] * 5, NOW)
    await reader.mailbox(ALICE, "INBOX")
    planned = []
    reader.shards[0].connection.authorizer = lambda *what: planned.append(what) or apsw.SQLITE_OK      # asked whenever a statement is parsed
    assert await opened.columns(("blob", "length", "prefix", "octets"), [(1, 1)]) and await reader.mailbox(BOB, "Other") is None
    assert planned
    planned.clear()
    for uid in range(2, 6):
        assert len(await opened.columns(("blob", "length", "prefix", "octets"), [(uid, uid)])) == 1
    assert (await reader.mailbox(BOB, "INBOX")).messages == 5
    assert not planned
