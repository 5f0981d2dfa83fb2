"""The contract of mailbox stores (ports/mailboxes.py), asked of memory, of SQLite, and of SQLite in three shards alike."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fancymail.mail.derived import VERSION, Derived
from fancymail.mail.mailbox import ANSWERED, DELETED, FLAGGED, SEEN
from fancymail.mail.uidset import ranges
from fancymail.storage.memory.mailboxes import MemoryMailboxes
from fancymail.storage.ports.mailboxes import Change, Delivered, Delivery, Keep, MailboxExists, NoSuchMailbox, State, TooManyKeywords, Usage
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes

ALICE, BOB = "alice@example.test", "bob@example.test"
NOW = 1_800_000_000
ALL = [(1, 2**32 - 1)]


@pytest.fixture(params=["memory", "sqlite", "shards"])
def store(request, tmp_path):
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


# Mailboxes

def test_an_account_begins_empty(store):
    account = store.account(ALICE)
    assert (account.mailboxes(), account.mailbox("INBOX"), account.usage()) == ([], None, Usage(0, 0, 0))
    assert store.accounts() == []


def test_a_mailbox_is_made_with_all_it_needs(alice, store):
    box = alice.create("Sent", NOW, "\\Sent", subscribed=False)
    assert (box.name, box.special_use, box.subscribed, box.created) == ("Sent", "\\Sent", 0, NOW)
    assert (box.uidnext, box.highestmodseq, box.messages, box.unseen, box.deleted, box.octets, box.recent_floor) == (1, 1, 0, 0, 0, 0, 1)
    assert box.objectid.startswith("F") and box.objectid != alice.mailbox("INBOX").objectid
    assert alice.mailbox("Sent") == box
    assert [each.name for each in alice.mailboxes()] == ["INBOX", "Sent"]
    assert store.accounts() == [ALICE]


def test_no_name_twice(alice):
    with pytest.raises(MailboxExists):
        alice.create("INBOX", NOW)
    assert len(alice.mailboxes()) == 1


def test_accounts_do_not_see_each_other(alice, store):
    fill(alice, 2)
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    assert bob.sizes("INBOX") == []
    assert bob.usage() == Usage(1, 0, 0)
    assert store.accounts() == [ALICE, BOB]


def test_uidvalidity_never_goes_back(alice):
    seen = {alice.mailbox("INBOX").uidvalidity}
    for now in (NOW + 9, NOW, NOW - 10**6, NOW + 9):
        box = alice.create("Work", now)
        assert box.uidvalidity > max(seen)
        seen.add(box.uidvalidity)
        alice.remove("Work", now)


def test_uidvalidity_survives_the_account(alice):
    before = alice.mailbox("INBOX").uidvalidity
    alice.forget(NOW)
    assert alice.create("INBOX", 1).uidvalidity > before


@pytest.mark.parametrize("act", [
    lambda account: account.sizes("None"), lambda account: account.states("None"), lambda account: account.message("None", 1),
    lambda account: set_flags(account, "None", ALL, SEEN, 0), lambda account: account.expunge("None", ALL, NOW),
    lambda account: account.copy("INBOX", ALL, "None", NOW), lambda account: account.copy("None", ALL, "INBOX", NOW),
    lambda account: account.deliver([message(mailbox="None")], NOW), lambda account: account.remove("None", NOW),
    lambda account: account.rename("None", "New"), lambda account: account.acl("None"), lambda account: account.metadata("None"),
    lambda account: account.keyword("None", "a"),
    lambda account: account.keywords("None"), lambda account: account.vanished("None", 1), lambda account: account.changes("None", 1),
    lambda account: account.undelete("None", 0, NOW), lambda account: account.claim_recent("None"), lambda account: account.kept("None", ALL)])
def test_what_is_not_there_is_an_error(alice, act):
    with pytest.raises(NoSuchMailbox):
        act(alice)
    assert [box.name for box in alice.mailboxes()] == ["INBOX"]


def test_rename_takes_what_is_below(alice):
    for name in ("Work", "Work/2026", "Work/2026/May", "Workshop"):
        alice.create(name, NOW)
    fill(alice, 2, "Work/2026")
    before = alice.mailbox("Work/2026")
    alice.rename("Work", "Old/Work")
    assert [box.name for box in alice.mailboxes()] == ["INBOX", "Old/Work", "Old/Work/2026", "Old/Work/2026/May", "Workshop"]
    assert alice.mailbox("Old/Work/2026") == before._replace(name="Old/Work/2026")
    assert uids(alice, "Old/Work/2026") == [1, 2]


def test_rename_to_below_itself(alice):
    for name in ("a", "a/b"):
        alice.create(name, NOW)
    alice.rename("a", "a/b")
    assert [box.name for box in alice.mailboxes()] == ["INBOX", "a/b", "a/b/b"]


@pytest.mark.parametrize("to", ["b", "a", "c"])
def test_rename_never_hides_a_mailbox(alice, to):
    for name in ("a", "a/x", "b", "c/x"):
        alice.create(name, NOW)
    with pytest.raises(MailboxExists):
        alice.rename("a", to)
    assert [box.name for box in alice.mailboxes()] == ["INBOX", "a", "a/x", "b", "c/x"]


def test_subscription(alice):
    alice.subscribe("INBOX", False)
    assert alice.mailbox("INBOX").subscribed == 0
    alice.subscribe("INBOX", True)
    assert alice.mailbox("INBOX").subscribed == 1


def test_remove_takes_the_messages_and_leaves_what_is_below(alice):
    alice.create("Work", NOW)
    alice.create("Work/2026", NOW)
    fill(alice, 3, "Work")
    alice.remove("Work", NOW)
    assert [box.name for box in alice.mailboxes()] == ["INBOX", "Work/2026"]
    assert alice.usage() == Usage(2, 0, 0)
    alice.create("Work", NOW)
    assert uids(alice, "Work") == []


# Delivery

def test_uids_follow_the_order(alice):
    boxes = alice.mailbox("INBOX")
    results = alice.deliver([message("one"), message("three")], NOW)
    assert results == [Delivered("INBOX", 1, boxes.uidvalidity, False), Delivered("INBOX", 2, boxes.uidvalidity, False)]
    assert alice.deliver([message("four")], NOW)[0].uid == 3
    assert alice.sizes("INBOX") == [(1, 3), (2, 5), (3, 4)]
    counted(alice)


def test_a_message_keeps_all_that_was_said(alice):
    alice.deliver([message("hello", prefix=b"Return-Path: <>\r\n", flags=SEEN | FLAGGED)], NOW)
    found = alice.message("INBOX", 1)
    assert found[:4] == (1, SEEN | FLAGGED, 2, sha256(b"hello").digest())
    assert found[4:8] == (5, b"Return-Path: <>\r\n", NOW - 5, NOW)
    assert found.size == 22 == alice.sizes("INBOX")[0][1]
    counted(alice)


def test_one_batch_is_one_modseq(alice):
    alice.create("Work", NOW)
    alice.deliver([message("a"), message("b", mailbox="Work"), message("c")], NOW)
    assert [state.modseq for state in alice.states("INBOX")] == [2, 2]
    assert [state.modseq for state in alice.states("Work")] == [2]
    alice.deliver([message("d")], NOW)
    assert alice.states("INBOX", 2) == [State(3, 0, 3)]
    assert alice.mailbox("INBOX").highestmodseq == 3


def test_nothing_is_delivered_twice(alice, store):
    first = alice.deliver([message("a", "queueid", 0), message("a", "queueid", 1)], NOW)
    again = alice.deliver([message("a", "queueid", 1), message("a", "queueid", 0), message("a", "queueid", 2)], NOW)
    assert [result.uid for result in first] == [1, 2]
    assert [(result.uid, result.duplicate) for result in again] == [(2, True), (1, True), (3, False)]
    counted(alice)
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    assert bob.deliver([message("a", "other", 0)], NOW)[0] == Delivered("INBOX", 1, bob.mailbox("INBOX").uidvalidity, False)


def test_nothing_is_delivered_twice_in_one_batch(alice):
    results = alice.deliver([message("a", "queueid", 0), message("a", "queueid", 0)], NOW)
    assert [(result.uid, result.duplicate) for result in results] == [(1, False), (1, True)]
    counted(alice)


def test_without_queue_id_everything_is_new(alice):
    alice.deliver([message("a"), message("a")], NOW)
    assert uids(alice) == [1, 2]


def test_duplicates_are_known_after_the_message_was_expunged_and_moved(alice):
    alice.deliver([message("a", "queueid", 0)], NOW)
    alice.expunge("INBOX", ALL, NOW)
    assert alice.deliver([message("a", "queueid", 0)], NOW)[0].duplicate
    assert uids(alice) == []


def test_email_id_is_of_the_octets(alice):
    alice.deliver([message("a"), message("a"), message("b"), message("a", prefix=b"X: y\r\n")], NOW)
    ids = [found.emailid for found in alice.messages("INBOX", ALL)]
    assert ids[0] == ids[1] and len(set(ids)) == 3


def test_threads(alice, store):
    alice.deliver([message("root", references=[1]), message("answer", references=[2, 1]), message("other", references=[3]),
                   message("deep", references=[4, 2]), message("none")], NOW)
    threads = [found.threadid for found in alice.messages("INBOX", ALL)]
    assert threads[0] == threads[1] == threads[3]
    assert len({threads[0], threads[2], threads[4]}) == 3
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    bob.deliver([message("else", references=[9, 1])], NOW)
    assert bob.message("INBOX", 1).threadid != threads[0]


# Flags

def test_flags_change_with_modseq(alice):
    fill(alice, 4)
    assert set_flags(alice, "INBOX", [(2, 3)], SEEN, 0) == [State(2, SEEN, 3), State(3, SEEN, 3)]
    assert alice.states("INBOX", 2) == [State(2, SEEN, 3), State(3, SEEN, 3)]
    counted(alice)
    assert set_flags(alice, "INBOX", [(3, 4)], DELETED | ANSWERED, SEEN) == [State(3, DELETED | ANSWERED, 4), State(4, DELETED | ANSWERED, 4)]
    counted(alice)
    assert alice.mailbox("INBOX").unseen == 3
    assert alice.mailbox("INBOX").deleted == 2


def test_what_is_so_already_does_not_change(alice):
    fill(alice, 3)
    set_flags(alice, "INBOX", [(1, 2)], SEEN, 0)
    assert set_flags(alice, "INBOX", ALL, SEEN, 0) == [State(3, SEEN, 4)]
    assert set_flags(alice, "INBOX", ALL, SEEN, 0) == []
    assert alice.mailbox("INBOX").highestmodseq == 4
    counted(alice)


def test_flags_can_be_replaced(alice):
    fill(alice, 1)
    set_flags(alice, "INBOX", ALL, SEEN | FLAGGED, 0)
    assert set_flags(alice, "INBOX", ALL, ANSWERED, 2**61 - 1) == [State(1, ANSWERED, 4)]
    counted(alice)


def test_scattered_ranges_are_one_change(alice):
    fill(alice, 9)
    set_flags(alice, "INBOX", [(1, 2), (5, 5), (8, 20)], DELETED, 0)
    assert [state.uid for state in alice.states("INBOX") if state.flags] == [1, 2, 5, 8, 9]
    assert alice.changes("INBOX", 2) == [Change(3, "flags", [(1, 2), (5, 5), (8, 9)], DELETED, 0)]
    counted(alice)


def test_keywords(alice):
    first, second = alice.keyword("INBOX", "$Forwarded"), alice.keyword("INBOX", "work")
    assert (first, second) == (32, 64)
    assert alice.keyword("INBOX", "$forwarded") == first
    assert alice.keywords("INBOX") == {"$Forwarded": 32, "work": 64}
    fill(alice, 1)
    assert set_flags(alice, "INBOX", ALL, second, 0) == [State(1, 64, 3)]


def test_keywords_are_bounded(alice):
    bits = [alice.keyword("INBOX", f"word{number}") for number in range(56)]
    assert max(bits) == 1 << 60 and len(set(bits)) == 56
    fill(alice, 1)
    assert set_flags(alice, "INBOX", ALL, max(bits), 0) == [State(1, 1 << 60, 3)]
    with pytest.raises(TooManyKeywords):
        alice.keyword("INBOX", "one more")
    assert alice.keyword("INBOX", "WORD7") == bits[7]


# Copy, expunge, undelete

def test_copy(alice):
    alice.create("Work", NOW)
    fill(alice, 3)
    fill(alice, 1, "Work")
    set_flags(alice, "INBOX", [(2, 2)], SEEN, 0)
    assert alice.copy("INBOX", [(2, 9)], "Work", NOW + 7) == [(2, 2), (3, 3)]
    assert [state.flags for state in alice.states("Work")] == [0, SEEN, 0]
    here, there = alice.message("INBOX", 2), alice.message("Work", 2)
    assert (there.blob, there.emailid, there.threadid, there.internaldate) == (here.blob, here.emailid, here.threadid, here.internaldate)
    assert there.savedate == NOW + 7
    counted(alice), counted(alice, "Work")
    assert alice.copy("INBOX", [(77, 78)], "Work", NOW) == []


def test_copy_translates_keywords(alice):
    alice.create("Work", NOW)
    alice.keyword("Work", "other")
    fill(alice, 1)
    set_flags(alice, "INBOX", ALL, SEEN | alice.keyword("INBOX", "todo"), 0)
    alice.copy("INBOX", ALL, "Work", NOW)
    assert alice.keywords("Work") == {"other": 32, "todo": 64}
    assert alice.states("Work")[0].flags == SEEN | 64


def test_copy_onto_itself(alice):
    fill(alice, 2)
    assert alice.copy("INBOX", ALL, "INBOX", NOW) == [(1, 3), (2, 4)]
    counted(alice)


def test_expunge(alice):
    fill(alice, 6)
    set_flags(alice, "INBOX", [(2, 3)], DELETED | SEEN, 0)
    assert alice.expunge("INBOX", [(2, 3), (5, 5), (90, 99)], NOW) == [2, 3, 5]
    assert uids(alice) == [1, 4, 6]
    counted(alice)
    assert alice.vanished("INBOX", 0) == [(2, 3), (5, 5)]
    assert alice.vanished("INBOX", 4) == []
    assert alice.expunge("INBOX", [(2, 3)], NOW) == []
    assert alice.mailbox("INBOX").highestmodseq == 4
    assert [found.uid for found in alice.kept("INBOX", ALL)] == [2, 3, 5]
    assert alice.kept("INBOX", [(5, 5)])[0].blob == sha256(b"INBOX 4").digest()


def test_a_uid_is_never_used_again(alice):
    fill(alice, 3)
    alice.expunge("INBOX", ALL, NOW)
    alice.deliver([message()], NOW)
    assert uids(alice) == [4]


def test_undelete(alice):
    fill(alice, 3)
    set_flags(alice, "INBOX", [(1, 2)], DELETED | SEEN, 0)
    alice.expunge("INBOX", [(1, 1)], NOW - 100)
    alice.expunge("INBOX", [(2, 3)], NOW)
    assert alice.undelete("INBOX", NOW - 50, NOW) == [(2, 4), (3, 5)]
    assert [state.flags for state in alice.states("INBOX")] == [SEEN, 0]
    assert alice.message("INBOX", 4).blob == sha256(b"INBOX 1").digest()
    counted(alice)
    assert alice.undelete("INBOX", NOW - 50, NOW) == []
    assert alice.vanished("INBOX", 0) == [(1, 3)]


def test_recent_is_told_to_one(alice):
    fill(alice, 2)
    assert alice.claim_recent("INBOX") == (1, 3)
    assert alice.claim_recent("INBOX") == (3, 3)
    fill(alice, 1)
    assert alice.claim_recent("INBOX") == (3, 4)


def test_the_change_log(alice):
    fill(alice, 3)
    set_flags(alice, "INBOX", ALL, SEEN, FLAGGED)
    alice.expunge("INBOX", [(2, 2)], NOW)
    assert alice.changes("INBOX", 0) == [Change(3, "flags", [(1, 3)], SEEN, FLAGGED), Change(4, "vanish", [(2, 2)])]
    assert alice.changes("INBOX", 3) == [Change(4, "vanish", [(2, 2)])]


def test_usage(alice):
    alice.create("Work", NOW)
    alice.deliver([message("12345"), message("123", mailbox="Work", prefix=b"ab")], NOW)
    assert alice.usage() == Usage(2, 2, 10)
    alice.expunge("INBOX", ALL, NOW)
    assert alice.usage() == Usage(2, 1, 5)


# Transactions

def test_a_failed_transaction_leaves_nothing(alice, store):
    with pytest.raises(ZeroDivisionError):
        with store.transaction():
            store.account(BOB).create("INBOX", NOW)
            alice.deliver([message("a", "queueid", 0)], NOW)
            1 / 0
    assert (uids(alice), store.accounts()) == ([], [ALICE])
    assert alice.deliver([message("a", "queueid", 0)], NOW)[0] == Delivered("INBOX", 1, alice.mailbox("INBOX").uidvalidity, False)
    counted(alice)


def test_an_inner_failure_undoes_the_inner_part_only(alice, store):
    with store.transaction():
        alice.deliver([message("a")], NOW)
        with pytest.raises(ZeroDivisionError):
            with alice.transaction():
                alice.deliver([message("b")], NOW)
                alice.expunge("INBOX", ALL, NOW)
                1 / 0
        with alice.transaction():
            alice.deliver([message("c")], NOW)
    assert [found.blob for found in alice.messages("INBOX", ALL)] == [sha256(b"a").digest(), sha256(b"c").digest()]
    assert uids(alice) == [1, 2]
    counted(alice)


def test_a_delivery_that_can_not_go_takes_the_batch_with_it(alice):
    with pytest.raises(NoSuchMailbox):
        alice.deliver([message("a", "queueid", 0), message("b", mailbox="None")], NOW)
    assert uids(alice) == []
    assert not alice.deliver([message("a", "queueid", 0)], NOW)[0].duplicate


# What goes, and when

KEEP = Keep(expunged=100, delivered=1000, blobs=10)
BLOB = sha256(b"x").digest()


def test_a_blob_is_garbage_after_its_last_reference_and_the_grace(alice, store):
    alice.create("Work", NOW)
    alice.deliver([message()], NOW)
    alice.copy("INBOX", ALL, "Work", NOW)
    alice.expunge("INBOX", ALL, NOW)
    assert store.purge(NOW + 101, KEEP) == []
    assert store.referenced([BLOB, b"?" * 32]) == {BLOB}
    alice.expunge("Work", ALL, NOW + 200)
    assert store.purge(NOW + 250, KEEP) == []
    assert store.referenced([BLOB]) == {BLOB}
    assert store.purge(NOW + 301, KEEP) == []
    assert store.referenced([BLOB]) == set()
    assert store.purge(NOW + 310, KEEP) == []
    assert store.purge(NOW + 311, KEEP) == [BLOB]
    assert store.purge(NOW + 400, KEEP) == []


def test_a_blob_that_came_back_is_no_garbage(alice, store):
    alice.deliver([message()], NOW)
    alice.expunge("INBOX", ALL, NOW)
    store.purge(NOW + 101, KEEP)
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    bob.deliver([message()], NOW)
    assert store.purge(NOW + 200, KEEP) == []
    assert bob.message("INBOX", 1).blob == BLOB


def test_tombs_are_kept_as_long_as_told(alice, store):
    fill(alice, 2)
    alice.expunge("INBOX", [(1, 1)], NOW)
    alice.expunge("INBOX", [(2, 2)], NOW + 50)
    store.purge(NOW + 120, KEEP)
    assert [found.uid for found in alice.kept("INBOX", ALL)] == [2]
    assert alice.undelete("INBOX", 0, NOW + 120) == [(2, 3)]
    assert alice.vanished("INBOX", 0) == [(1, 2)]


def test_delivery_records_outlive_the_queue(alice, store):
    alice.deliver([message("a", "queueid", 0)], NOW)
    store.purge(NOW + 1000, KEEP)
    assert alice.deliver([message("a", "queueid", 0)], NOW)[0].duplicate
    store.purge(NOW + 1001, KEEP)
    assert not alice.deliver([message("a", "queueid", 0)], NOW)[0].duplicate


def test_the_log_keeps_the_last_records(alice, store):
    fill(alice, 1)
    for number in range(260):
        set_flags(alice, "INBOX", ALL, number % 2, 1)            # every other one changes nothing, and is no change
        set_flags(alice, "INBOX", ALL, FLAGGED * (number % 2), FLAGGED)
    kept = [change.modseq for change in alice.changes("INBOX", 0)]
    assert kept == list(range(kept[0], alice.mailbox("INBOX").highestmodseq + 1))
    assert 100 <= len(kept) < 200


def test_a_removed_mailbox_gives_its_blobs_back(alice, store):
    alice.create("Work", NOW)
    alice.deliver([message(mailbox="Work")], NOW)
    alice.remove("Work", NOW)
    store.purge(NOW + 101, KEEP)
    assert store.purge(NOW + 111, KEEP) == [BLOB]


def test_a_forgotten_account_gives_its_blobs_back(alice, store):
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    bob.deliver([message("b")], NOW)
    alice.deliver([message(), message("y"), message("b")], NOW)
    alice.expunge("INBOX", [(2, 2)], NOW)
    alice.forget(NOW)
    alice.forget(NOW)
    assert (store.accounts(), alice.usage()) == ([BOB], Usage(0, 0, 0))
    assert sorted(store.purge(NOW + 10, KEEP)) == sorted([BLOB, sha256(b"y").digest()])
    assert uids(bob) == [1]


# Numbers, conditions, annotations

def test_a_mailbox_has_a_number_too(alice, store):
    box = alice.create("Work", NOW)
    fill(alice, 2, "Work")
    alice.rename("Work", "Play")
    assert alice.mailbox(box.id).name == "Play"
    assert [state.uid for state in alice.states(box.id)] == [1, 2]
    assert alice.expunge(box.id, [(1, 1)], NOW) == [1]
    store.account(BOB).create("INBOX", NOW)
    assert store.account(BOB).mailbox(box.id) is None or store.account(BOB).mailbox(box.id).name == "INBOX"      # numbers are per shard


def test_flags_of_what_did_not_change_since(alice):
    fill(alice, 5)
    set_flags(alice, "INBOX", [(2, 2), (4, 4)], FLAGGED, 0)                    # modseq 3
    assert alice.set_flags("INBOX", ALL, SEEN, 0, unchanged_since=2) == (4, [(1, 1), (3, 3), (5, 5)], [(2, 2), (4, 4)])
    assert [state.flags for state in alice.states("INBOX")] == [SEEN, FLAGGED, SEEN, FLAGGED, SEEN]
    assert alice.set_flags("INBOX", ALL, SEEN, 0, unchanged_since=0) == (4, [], [(1, 5)])
    assert alice.set_flags("INBOX", [(7, 9)], SEEN, 0, unchanged_since=9) == (4, [], [])
    counted(alice)


def test_expunge_of_what_is_deleted(alice):
    fill(alice, 6)
    set_flags(alice, "INBOX", [(2, 3), (5, 5)], DELETED | SEEN, 0)
    assert alice.expunge("INBOX", [(3, 9)], NOW, deleted=True) == [3, 5]
    assert alice.expunge("INBOX", ALL, NOW, deleted=True) == [2]
    assert alice.expunge("INBOX", ALL, NOW, deleted=True) == []
    assert uids(alice) == [1, 4, 6]
    counted(alice)


def test_delivery_with_keywords(alice):
    first = message("a", flags=SEEN)._replace(keywords=["$Junk", "todo"])
    alice.deliver([first, message("b")._replace(keywords=["TODO"])], NOW)
    assert alice.keywords("INBOX") == {"$Junk": 32, "todo": 64}
    assert [state.flags for state in alice.states("INBOX")] == [SEEN | 32 | 64, 64]
    counted(alice)


def test_subscriptions_outlive_mailboxes(alice):
    alice.create("Work", NOW, subscribed=False)
    alice.subscribe("Nowhere/at all", True)
    assert alice.subscriptions() == ["INBOX", "Nowhere/at all"]
    alice.subscribe("Work", True)
    alice.remove("Work", NOW)
    assert alice.subscriptions() == ["INBOX", "Nowhere/at all", "Work"]
    assert alice.create("Work", NOW, subscribed=False).subscribed == 1
    alice.subscribe("Work", False)
    alice.subscribe("Nowhere/at all", False)
    alice.subscribe("Never there", False)
    assert alice.subscriptions() == ["INBOX"]


def test_metadata(alice, store):
    alice.create("Work", NOW)
    alice.set_metadata("Work", {"/private/comment": b"mine", "/shared/comment": b"\0all"})
    alice.set_metadata(None, {"/private/vendor/x": b""})
    alice.set_metadata("Work", {"/private/comment": None, "/private/a": b"1", "/private/none": None})
    assert alice.metadata("Work") == {"/private/a": b"1", "/shared/comment": b"\0all"}
    assert alice.metadata(None) == {"/private/vendor/x": b""}
    assert alice.metadata("INBOX") == {}
    assert store.account(BOB).metadata(None) == {}
    alice.remove("Work", NOW)
    alice.create("Work", NOW)
    assert alice.metadata("Work") == {}
    alice.forget(NOW)
    assert alice.metadata(None) == {}


def test_access_lists(alice, store):
    bob, carol = store.account(BOB), "carol@example.test"
    bob.create("INBOX", NOW)
    bob.create("Team", NOW)
    alice.create("Work", NOW)
    alice.grant("Work", BOB, "lr")
    alice.grant("Work", carol, "lrs")
    alice.grant("Work", BOB, "lrsw")
    alice.grant("INBOX", "anyone", "l")
    alice.grant("INBOX", f"-{carol}", "l")
    bob.grant("Team", carol, "lr")
    assert alice.acl("Work") == {BOB: "lrsw", carol: "lrs"}
    assert [(owner, box.name, rights) for owner, box, rights in store.shared(carol)] == [(ALICE, "Work", "lrs"), (BOB, "Team", "lr")]
    assert [(owner, box.name, rights) for owner, box, rights in store.shared(BOB)] == [(ALICE, "INBOX", "l"), (ALICE, "Work", "lrsw")]
    assert store.shared(ALICE) == []
    alice.grant("Work", BOB, "")
    store.ungrant(carol)
    assert (alice.acl("Work"), alice.acl("INBOX"), store.shared(carol)) == ({}, {"anyone": "l"}, [(ALICE, alice.mailbox("INBOX"), "l")])
    alice.remove("INBOX", NOW)
    assert store.shared(BOB) == []


def test_undelete_of_a_removed_mailbox(alice):
    alice.create("Work", NOW - 90, "\\Archive")
    first = message("a", mailbox="Work", flags=SEEN)._replace(keywords=["todo"])
    alice.deliver([first, message("b", mailbox="Work")], NOW - 80)
    alice.expunge("Work", [(2, 2)], NOW - 70)
    before = alice.mailbox("Work").uidvalidity
    alice.remove("Work", NOW - 50)
    with pytest.raises(NoSuchMailbox):
        alice.undelete("Work", NOW - 40, NOW)
    assert alice.undelete("Work", NOW - 60, NOW) == [(1, 1)]
    box = alice.mailbox("Work")
    assert box.uidvalidity > before and box.special_use == "\\Archive"
    assert alice.keywords("Work") == {"todo": 32} and alice.states("Work")[0].flags == SEEN | 32
    counted(alice, "Work")
    with pytest.raises(NoSuchMailbox):
        alice.remove("Work", NOW) or alice.undelete("Work", NOW + 1, NOW + 1)


# What is derived

def derived(text: str, version: int = VERSION) -> Derived:
    return Derived(version, 3, b"env " + text.encode(), header_text=f"subject: {text}\n", text=text * 3)


def test_what_lacks_derived(alice, store):
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    alice.deliver([message("a")._replace(derived=derived("a")), message("b"), message("c", prefix=b"X: y\r\n")], NOW)
    bob.deliver([message("d")], NOW)
    found, after = [], (0, 0)
    while some := store.underived(VERSION, after, 1):
        assert len(some) == 1 and some[0].place > after
        found += some
        after = some[0].place
    assert sorted(row.blob for row in found) == sorted(sha256(text).digest() for text in (b"b", b"c", b"d"))
    assert [row[1:] for row in alice.underived("INBOX", [(3, 9)], VERSION)] == [(sha256(b"c").digest(), 1, b"X: y\r\n", NOW - 5)]
    store.derive((row, derived("late")) for row in found)
    assert store.underived(VERSION, (0, 0), 9) == [] == alice.underived("INBOX", ALL, VERSION)
    assert len(alice.underived("INBOX", ALL, VERSION + 1)) == 3
    alice.rebuild()
    assert len(alice.underived("INBOX", ALL, VERSION)) == 3
    assert len(bob.underived("INBOX", ALL, VERSION)) == 0
    counted(alice)


def test_what_is_kept_is_derived_too(alice, store):
    fill(alice, 2)
    number = alice.mailbox("INBOX").id
    alice.expunge("INBOX", [(1, 1)], NOW)
    alice.remove("INBOX", NOW)
    assert len(alice.underived(number, ALL, VERSION)) == 2
    with pytest.raises(NoSuchMailbox):
        alice.underived("INBOX", ALL, VERSION)


def test_derived_of_what_went_is_left_out(alice, store):
    fill(alice, 1)
    rows = alice.underived("INBOX", ALL, VERSION)
    alice.forget(NOW)
    store.derive((row, derived("x")) for row in rows)
    alice.create("INBOX", NOW)
    fill(alice, 1, "INBOX")
    assert len(alice.underived("INBOX", ALL, VERSION)) == 1


def test_rebuild_keeps_what_clients_know(alice):
    fill(alice, 5)
    set_flags(alice, "INBOX", [(2, 3)], SEEN | DELETED, 0)
    alice.expunge("INBOX", [(5, 5)], NOW)
    before = alice.mailboxes(), alice.states("INBOX"), alice.vanished("INBOX", 0)
    alice.rebuild()
    assert (alice.mailboxes(), alice.states("INBOX"), alice.vanished("INBOX", 0)) == before
