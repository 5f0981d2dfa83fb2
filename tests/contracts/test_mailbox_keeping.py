"""The contract of mailbox stores, continued: transactions, what goes and when, annotations, what is derived."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fancymail.mail.derived import VERSION, Derived
from fancymail.mail.mailbox import DELETED, FLAGGED, SEEN
from fancymail.storage.ports.mailboxes import Delivered, Keep, NoSuchMailbox, Usage
from fancymail.storage.postgres import contents
from fancymail.storage.postgres import mailboxes as postgres_mailboxes
from fancymail.storage.sqlite import mailboxes as sqlite_mailboxes
from tests.contracts.mailbox_kit import ALICE, BOB, NOW, ALL, message, fill, set_flags, uids, counted


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


@pytest.mark.parametrize("engine", [sqlite_mailboxes, postgres_mailboxes, contents], ids=["sqlite", "postgres", "contents"])
def test_much_goes_in_slices_until_nothing_is_overdue(alice, store, monkeypatch, engine):
    monkeypatch.setattr(engine, "SLICE", 2)
    alice.deliver([message(f"{number}", "queueid", number) for number in range(7)], NOW)
    alice.expunge("INBOX", ALL, NOW)
    for name in "abc":
        alice.create(name, NOW)
        alice.remove(name, NOW)
    assert not store.overdue(NOW + 99, KEEP)
    went = []
    for now in (NOW + 101, NOW + 111, NOW + 1111):
        went += store.purge(now, KEEP)
        while store.overdue(now, KEEP):
            went += store.purge(now, KEEP)
    assert sorted(went) == sorted(sha256(str(number).encode()).digest() for number in range(7))
    assert not alice.kept("INBOX", ALL) and not alice.deliver([message("0", "queueid", 0)], NOW)[0].duplicate


def test_a_blob_of_several_accounts_has_its_grace_after_the_last(alice, store):
    names = [ALICE, BOB, "carol@example.test", "dave@example.test"]
    for name in names:
        if name != ALICE:
            store.account(name).create("INBOX", NOW)
        store.account(name).deliver([message()], NOW)
    for number, name in enumerate(names):
        store.account(name).expunge("INBOX", ALL, NOW + number)
        assert store.purge(NOW + 101 + number, KEEP) == []
    assert store.purge(NOW + 113, KEEP) == []
    assert store.purge(NOW + 114, KEEP) == [BLOB]


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


def test_the_log_keeps_the_last_records_of_a_mailbox_that_is_emptied_at_once(alice, store):
    for number in range(130):
        alice.deliver([message(f"{number}")], NOW)          # every other modseq: no change is ever an even one
        assert alice.expunge("INBOX", ALL, NOW) == [number + 1]
    assert len(alice.changes("INBOX", 0)) < 100
    assert alice.vanished("INBOX", 0) == [(1, 130)]


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
    first = message("a", flags=SEEN)._replace(keywords=["$Junk", "later"])
    alice.deliver([first, message("b")._replace(keywords=["LATER"])], NOW)
    assert alice.keywords("INBOX") == {"$Junk": 32, "later": 64}
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
    first = message("a", mailbox="Work", flags=SEEN)._replace(keywords=["later"])
    alice.deliver([first, message("b", mailbox="Work")], NOW - 80)
    alice.expunge("Work", [(2, 2)], NOW - 70)
    before = alice.mailbox("Work").uidvalidity
    alice.remove("Work", NOW - 50)
    with pytest.raises(NoSuchMailbox):
        alice.undelete("Work", NOW - 40, NOW)
    assert alice.undelete("Work", NOW - 60, NOW) == [(1, 1)]
    box = alice.mailbox("Work")
    assert box.uidvalidity > before and box.special_use == "\\Archive"
    assert alice.keywords("Work") == {"later": 32} and alice.states("Work")[0].flags == SEEN | 32
    counted(alice, "Work")
    with pytest.raises(NoSuchMailbox):
        alice.remove("Work", NOW) or alice.undelete("Work", NOW + 1, NOW + 1)


# What is derived

def derived(text: str, version: int = VERSION) -> Derived:
    return Derived(version, 3, b"env " + text.encode(), header_text=f"subject: {text}\n", text=text * 3)


def lacking(store, version: int, limit: int) -> list:
    """All that lacks it, looked for a few at a time."""
    found, after = [], (0, 0)
    while after is not None:
        before, (some, after) = after, store.underived(version, after, limit)
        assert len(some) <= limit and (after is None or after > before) and all(row.place <= after for row in some)
        found += some
    return found


def test_what_lacks_derived(alice, store):
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    alice.deliver([message("a")._replace(derived=derived("a")), message("b"), message("c", prefix=b"X: y\r\n")], NOW)
    bob.deliver([message("d")], NOW)
    found = lacking(store, VERSION, 1)
    assert found == lacking(store, VERSION, 3) == lacking(store, VERSION, 99)
    assert sorted(row.blob for row in found) == sorted(sha256(text).digest() for text in (b"b", b"c", b"d"))
    assert [row[1:] for row in alice.underived("INBOX", [(3, 9)], VERSION)] == [(sha256(b"c").digest(), 1, b"X: y\r\n", NOW - 5, None)]
    store.derive([(row, derived("late")) for row in found])
    assert lacking(store, VERSION, 2) == [] == alice.underived("INBOX", ALL, VERSION)
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
    store.derive([(row, derived("x")) for row in rows])
    alice.create("INBOX", NOW)
    fill(alice, 1, "INBOX")
    assert len(alice.underived("INBOX", ALL, VERSION)) == 1


# Small contents

def small(text: str, mailbox: str = "INBOX"):
    return message(text, mailbox=mailbox)._replace(content=text.encode())


def test_a_small_content_is_kept_with_its_message(alice, store):
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    alice.create("Work", NOW)
    alice.deliver([small("tea"), message("large"), small("")], NOW)
    bob.deliver([small("tea")], NOW)
    assert [row.content for row in alice.messages("INBOX", ALL)] == [b"tea", None, b""]
    assert bob.message("INBOX", 1).content == b"tea"
    assert [row.content for row in alice.underived("INBOX", [(1, 2)], VERSION)] == [b"tea", None]
    assert lacking(store, VERSION, 9)[0].content == b"tea"
    alice.copy("INBOX", [(1, 1)], "Work", NOW)
    alice.expunge("INBOX", ALL, NOW)
    assert [row.content for row in alice.kept("INBOX", ALL)] == [b"tea", None, b""]
    assert store.purge(NOW + 10, Keep(expunged=1, blobs=0)) == [message("large").blob]
    assert alice.message("Work", 1).content == bob.message("INBOX", 1).content == b"tea"


def test_a_small_content_is_no_blob(alice, store):
    alice.deliver([small("tea"), message("large")], NOW)
    assert store.referenced([small("tea").blob, message("large").blob]) == {message("large").blob}
    alice.deliver([message("tea")], NOW)                # the same octets as a blob: of an older release
    assert store.referenced([small("tea").blob]) == {small("tea").blob}
    alice.expunge("INBOX", [(3, 3)], NOW)
    assert store.purge(NOW + 10, Keep(expunged=1, blobs=0)) == [small("tea").blob]
    assert alice.message("INBOX", 1).content == b"tea"


def test_a_forgotten_account_takes_its_contents_along(alice, store):
    bob = store.account(BOB)
    bob.create("INBOX", NOW)
    alice.deliver([small("tea"), small("coffee")], NOW)
    bob.deliver([small("tea")], NOW)
    alice.forget(NOW)
    assert bob.message("INBOX", 1).content == b"tea"
    assert store.purge(NOW + 10, Keep(blobs=0)) == []
    alice.create("INBOX", NOW)
    alice.deliver([message("coffee")], NOW)
    assert alice.message("INBOX", 1).content is None


def test_rebuild_keeps_what_clients_know(alice):
    fill(alice, 5)
    set_flags(alice, "INBOX", [(2, 3)], SEEN | DELETED, 0)
    alice.expunge("INBOX", [(5, 5)], NOW)
    before, states = alice.mailboxes(), alice.states("INBOX")
    alice.rebuild()
    assert alice.states("INBOX") == states
    assert alice.mailboxes() == [box._replace(highestmodseq=box.highestmodseq + 1, vanish_floor=box.highestmodseq + 1) for box in before]


def test_who_knows_a_mailbox_from_before_it_was_rebuilt_loads_it_anew(alice):
    fill(alice, 2)
    before = alice.mailbox("INBOX").highestmodseq
    alice.rebuild()
    assert alice.vanished("INBOX", before) is None
    set_flags(alice, "INBOX", [(2, 2)], SEEN, 0)
    assert alice.vanished("INBOX", before) is None and alice.vanished("INBOX", before + 1) == []
