"""The contract of mailbox stores (ports/mailboxes.py), asked of memory, of SQLite, and of SQLite in three shards alike."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fancymail.mail.mailbox import ANSWERED, DELETED, FLAGGED, SEEN
from fancymail.storage.ports.mailboxes import Change, Delivered, MailboxExists, NoSuchMailbox, State, TooManyKeywords, Usage
from tests.contracts.mailbox_kit import ALICE, ALL, BOB, NOW, counted, fill, message, set_flags, uids


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


def test_the_subscription_of_a_name_that_another_mailbox_got_can_be_ended(alice):
    alice.create("Work", NOW), alice.create("New", NOW)
    alice.remove("Work", NOW)
    alice.rename("New", "Work")
    assert alice.subscriptions() == ["INBOX", "Work"]
    alice.subscribe("Work", False)
    assert alice.subscriptions() == ["INBOX"]
    alice.subscribe("Work", True)
    assert alice.subscriptions() == ["INBOX", "Work"]


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


def test_copy_takes_no_keyword_along_that_no_message_has(alice):
    alice.create("Work", NOW)
    for number in range(56):
        alice.keyword("Work", f"word{number}")
    fill(alice, 2)
    set_flags(alice, "INBOX", [(1, 1)], alice.keyword("INBOX", "todo"), 0)
    assert alice.copy("INBOX", [(2, 2)], "Work", NOW) == [(2, 1)]
    with pytest.raises(TooManyKeywords):
        alice.copy("INBOX", ALL, "Work", NOW)
    assert len(alice.states("Work")) == 1


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
