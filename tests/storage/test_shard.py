"""What only the SQLite engine of mailboxes can get wrong: reopening, nesting, full disks, wrong shard counts, old history."""

from __future__ import annotations

import threading
from hashlib import sha256

import pytest

from fancymail.storage.ports.mailboxes import Delivery, Keep, StoreFailed
from fancymail.storage.sqlite import account as engine
from fancymail.storage.sqlite import mailboxes
from fancymail.storage.sqlite import shard as shards
from fancymail.storage.sqlite.database import DatabaseError
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.shard import ReadShard

ALICE = "alice@example.test"
NOW = 1_800_000_000


def message(queue_id: str = "", mailbox: str = "INBOX") -> Delivery:
    return Delivery(mailbox, queue_id, 0, sha256(b"x").digest(), 1, b"", NOW)


@pytest.fixture
def store(tmp_path):
    store = SqliteMailboxes(tmp_path)
    store.account(ALICE).create("INBOX", NOW)
    yield store
    store.close()


def test_all_is_there_after_reopening(store, tmp_path):
    alice = store.account(ALICE)
    alice.deliver([message("q1"), message("q2")], NOW)
    before = alice.mailboxes()
    store.close()
    again = SqliteMailboxes(tmp_path)
    assert again.account(ALICE).mailboxes() == before
    assert again.account(ALICE).deliver([message("q2")], NOW)[0].duplicate
    again.close()


def test_a_commit_that_returned_is_on_the_disk(store):
    assert [shard.connection.pragma("synchronous") for shard in store.shards] == [2]


def test_the_number_of_shards_cannot_change_unnoticed(store, tmp_path):
    with pytest.raises(DatabaseError, match="mailbox.shards back to 1"):
        SqliteMailboxes(tmp_path, shards=2)


def test_accounts_spread_and_stay(tmp_path):
    names = [f"user{number}@example.test" for number in range(40)]
    store = SqliteMailboxes(tmp_path, shards=4, synchronous="OFF")
    for name in names:
        store.account(name).create("INBOX", NOW)
    assert store.accounts() == sorted(names)
    assert all(shard.one("SELECT count(*) FROM account")[0] > 2 for shard in store.shards)
    store.close()
    store = SqliteMailboxes(tmp_path, shards=4)
    assert all(store.account(name).mailbox("INBOX") for name in names)
    store.close()


def test_after_a_full_disk_nothing_slips_in_by_autocommit(store):
    (shard,) = store.shards
    pages = shard.connection.pragma("page_count")
    shard.connection.pragma("max_page_count", pages + 3)
    alice = store.account(ALICE)
    full = 0
    with pytest.raises(StoreFailed):
        with store.transaction():
            for number in range(200):
                try:
                    with alice.transaction():
                        alice.deliver([message(f"q{number}")], NOW)
                except StoreFailed:
                    full += 1
            if shard.connection.in_transaction:
                shard.execute("ROLLBACK")                       # as SQLite does by itself for some errors
            with alice.transaction():
                alice.deliver([message("after")], NOW)
    assert full
    assert alice.states("INBOX") == []
    assert alice.mailbox("INBOX").messages == 0
    shard.connection.pragma("max_page_count", 1 << 30)
    assert alice.deliver([message("q1")], NOW)[0].uid == 1


def test_a_transaction_that_was_rolled_back_meanwhile_says_so_at_its_end(store):
    (shard,) = store.shards
    with pytest.raises(StoreFailed, match="no transaction"):
        with store.transaction():
            store.account(ALICE).deliver([message("q1")], NOW)
            shard.execute("ROLLBACK")                           # as SQLite does by itself for some errors
    assert store.account(ALICE).states("INBOX") == []


def test_history_is_bounded_and_says_so(store, monkeypatch):
    monkeypatch.setattr(engine, "VANISHED_KEPT", 3)
    monkeypatch.setattr(engine, "TRIM", 11)
    alice = store.account(ALICE)
    alice.deliver([message() for _ in range(9)], NOW)
    for uid in range(1, 10):
        alice.expunge("INBOX", [(uid, uid)], NOW)               # modseq 3 to 11
    assert alice.vanished("INBOX", 8) == [(7, 9)]
    assert alice.vanished("INBOX", 7) is None
    assert alice.mailbox("INBOX").vanish_floor == 8


def test_a_purge_takes_a_slice_at_a_time(store, monkeypatch):
    monkeypatch.setattr(mailboxes, "SLICE", 4)
    alice = store.account(ALICE)
    alice.deliver([message(f"q{number}")._replace(blob=bytes([number]) * 32) for number in range(10)], NOW)
    alice.expunge("INBOX", [(1, 10)], NOW)
    keep, gone = Keep(expunged=10, delivered=10, blobs=0), []
    for _ in range(3):
        gone.append(len(store.purge(NOW + 20, keep)))
    assert gone == [4, 4, 2]
    assert store.referenced([bytes([number]) * 32 for number in range(10)]) == set()


def test_the_tables_are_searched_and_never_scanned(store):
    """A mailbox of a million must not make a delivery slower."""
    (shard,) = store.shards
    for sql in ("SELECT * FROM entry WHERE mailbox = 1 AND uid BETWEEN 1 AND 9", "SELECT 1 FROM entry WHERE mid = 1",
                "SELECT 1 FROM tomb WHERE mid = 1", "SELECT 1 FROM msg WHERE blob = x'00' AND content IS NULL",
                "SELECT 1 FROM msg WHERE content = 1", "SELECT 1 FROM tomb WHERE expunged < 1",
                "SELECT 1 FROM delivered WHERE received = 1 AND queue_id = 'a' AND recipient = 1",
                "SELECT 1 FROM reference WHERE account = 1 AND hash = 1",
                "SELECT 1 FROM mailbox JOIN account ON account.id = mailbox.account WHERE account.name = 'a' AND mailbox.name = 'b'"):
        plan = [row[3] for row in shard.execute("EXPLAIN QUERY PLAN " + sql)]
        assert plan and all(step.startswith("SEARCH") for step in plan), (sql, plan)


def test_a_log_is_copied_back_apart_from_the_commits(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "CROWDED", 40)
    store = SqliteMailboxes(tmp_path, synchronous="OFF", copied=True)
    (shard,), alice, log = store.shards, store.account(ALICE), tmp_path / "shard-0.db-wal"
    alice.create("INBOX", NOW)
    while not store.crowded():
        alice.deliver([message()], NOW)
    copying = threading.Thread(target=shard.copy_back)
    copying.start()
    alice.deliver([message()], NOW)                         # goes on meanwhile
    copying.join()
    shard.restart_log()
    assert store.crowded() == []
    size, count = log.stat().st_size, alice.mailbox("INBOX").messages
    alice.deliver([message()], NOW)
    assert log.stat().st_size == size                       # begun anew
    reader = ReadShard(tmp_path / "shard-0.db", 0)
    assert reader.read("SELECT messages FROM mailbox") == [(count + 1,)]
    reader.close()
    store.close()
    assert not log.exists()


def test_a_log_that_cannot_be_copied_is_said_to_be(tmp_path):
    store = SqliteMailboxes(tmp_path, copied=True)
    (shard,) = store.shards
    shard._copier.close()
    with pytest.raises(StoreFailed):
        shard.copy_back()
    store.close()
