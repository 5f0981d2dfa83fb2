"""A mailbox store whose disk is full at any page in the middle of a turn: what was refused with the turn is nowhere, what was not is there.

For some errors SQLite rolls a whole transaction back by itself; the verbs of the turn that come behind it must not slip in one by one.
"""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256

from fancymail.storage.ports.mailboxes import Delivery, StoreFailed
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes

ALICE, NOW = "alice@example.test", 1_800_000_000
PAGES = 24                  # that are free at most
VERBS = 120                 # of one turn: they need more


def turn(store: SqliteMailboxes, spare: int) -> tuple[set[str], bool]:
    """The ids of what was delivered according to each verb, and whether the turn became durable."""
    (shard,), said = store.shards, set()
    shard.connection.pragma("max_page_count", shard.connection.pragma("page_count") + spare)
    try:
        with store.transaction():
            for number in range(VERBS):
                try:
                    name = f"{spare} {number}"
                    with store.transaction():
                        store.account(ALICE).deliver([Delivery("INBOX", name, 0, sha256(name.encode()).digest(), 1, b"x" * 300, NOW)], NOW)
                    said.add(name)
                except StoreFailed:
                    continue
        return said, True
    except StoreFailed:
        return said, False


def test_at_any_page(tmp_path):
    ended = []
    for spare in range(PAGES):
        with closing(SqliteMailboxes(tmp_path / str(spare))) as store:
            store.account(ALICE).create("INBOX", NOW)
            said, durable = turn(store, spare)
            ended.append(durable)
        with closing(SqliteMailboxes(tmp_path / str(spare))) as store:
            found = {name for (name,) in store.shards[0].execute("SELECT queue_id FROM delivered")}
            assert found == (said if durable else set()), f"{spare} pages were free"
            assert store.account(ALICE).mailbox("INBOX").messages == len(found)
    assert True in ended and False in ended
