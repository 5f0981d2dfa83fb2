"""The stores that the contracts of mailboxes are asked of, and what their tests do all the time."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fancymail.mail.mailbox import DELETED, SEEN
from fancymail.mail.uidset import ranges
from fancymail.storage.memory.mailboxes import MemoryMailboxes
from fancymail.storage.ports.mailboxes import Delivery, State
from fancymail.storage.postgres.mailboxes import PostgresMailboxes
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from tests.cluster_kit import database


ALICE, BOB = "alice@example.test", "bob@example.test"
NOW = 1_800_000_000
ALL = [(1, 2**32 - 1)]


@pytest.fixture(params=["memory", "sqlite", "shards", "postgres", "conflicts"])
def store(request, tmp_path):
    if request.param in ("postgres", "conflicts"):
        with database(request.param) as db:
            yield PostgresMailboxes(db, changes=100, settle=0)
        return
    if request.param == "memory":
        store = MemoryMailboxes(changes=100)
    else:
        shards = 3 if request.param == "shards" else 1
        store = SqliteMailboxes(tmp_path / "mail", shards, changes=100, synchronous="OFF")     # one by one, syncs take long
    yield store
    store.close()


@pytest.fixture
def alice(store):
    account = store.account(ALICE)
    account.create("INBOX", NOW)
    return account


def message(text: str = "x", queue_id: str = "", recipient: int = 0, *, mailbox: str = "INBOX", references=(), flags: int = 0,
            prefix: bytes = b"") -> Delivery:
    return Delivery(mailbox, queue_id, recipient, sha256(text.encode()).digest(), len(text), prefix, NOW - 5, references, flags)


def fill(account, count: int, mailbox: str = "INBOX") -> None:
    account.deliver([message(f"{mailbox} {number}", mailbox=mailbox) for number in range(count)], NOW)


def set_flags(account, name: str, uids, add: int, remove: int) -> list[State]:
    """Change flags; the messages that it changed."""
    before = account.mailbox(name).highestmodseq if account.mailbox(name) else 0
    stored = account.set_flags(name, uids, add, remove)
    states = account.states(name, before)
    assert stored == (account.mailbox(name).highestmodseq, ranges(state.uid for state in states), [])
    return states


def uids(account, mailbox: str = "INBOX") -> list[int]:
    return [uid for uid, _ in account.sizes(mailbox)]


def counted(account, mailbox: str = "INBOX") -> None:
    """The counters say what the messages say."""
    box, states = account.mailbox(mailbox), account.states(mailbox)
    assert box.messages == len(states)
    assert box.unseen == sum(not state.flags & SEEN for state in states)
    assert box.deleted == sum(bool(state.flags & DELETED) for state in states)
    assert box.octets == sum(size for _, size in account.sizes(mailbox))
    assert box.highestmodseq >= max((state.modseq for state in states), default=0)
    assert box.uidnext > max(uids(account, mailbox), default=0)
