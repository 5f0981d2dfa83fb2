"""What people do with messages and mailboxes: one command, one transaction; what is refused changes nothing."""

from __future__ import annotations

import pytest

from fancymail.core.filing import Filing, Letter
from fancymail.core.mailboxes import MailboxRefusal, Mailboxes
from fancymail.mail.mailbox import DELETED, FLAGGED, SEEN
from fancymail.storage.memory.blobs import MemoryBlobs
from fancymail.storage.memory.mailboxes import MemoryMailboxes

ALICE, BOB = "alice@example.test", "bob@example.test"
NOW = 1_800_000_000
ALL = [(1, 2**32 - 1)]


@pytest.fixture
def filing():
    return Filing(Mailboxes(MemoryMailboxes(), MemoryBlobs(), wall=lambda: NOW))


def letter(filing, text: str = "hello", *flags: str) -> Letter:
    incoming = filing.mailboxes.blobs.incoming()
    incoming.write(text.encode())
    return Letter(incoming.finish(), text.encode(), NOW - 99, flags)


def put(filing, count: int, owner: str = ALICE, name: str = "INBOX", *flags: str):
    return filing.append(owner, name, [letter(filing, f"message {number}", *flags) for number in range(count)])


def state(filing, name: str = "INBOX", owner: str = ALICE) -> list[tuple[int, int]]:
    return [(uid, flags) for uid, flags, _ in filing.store.account(owner).states(name)]


def refused(status: str, act, *arguments, **options) -> None:
    with pytest.raises(MailboxRefusal) as caught:
        act(*arguments, **options)
    assert caught.value.status == status


def test_append(filing):
    added = put(filing, 2, ALICE, "Sent", "\\Seen", "\\sEEN", "$Junk", "\\Recent", "$junk")
    box = filing.store.account(ALICE).mailbox("Sent")
    assert added == (box.uidvalidity, 1, 2)
    assert state(filing, "Sent") == [(1, SEEN | 32), (2, SEEN | 32)]
    assert filing.store.account(ALICE).keywords("Sent") == {"$Junk": 32}
    assert filing.store.account(ALICE).message("Sent", 1)[5:8] == (b"", NOW - 99, NOW)
    assert put(filing, 1, ALICE, "Sent").first == 3


def test_append_is_all_or_nothing(filing):
    put(filing, 1)
    refused("5.2.2", filing.append, ALICE, "INBOX", [letter(filing), letter(filing, "x" * 50)], quota=60)
    refused("5.2.0", filing.append, ALICE, "Nowhere", [letter(filing)])
    refused("5.5.3", filing.append, ALICE, "INBOX", [letter(filing), letter(filing, "x", *[f"word{number}" for number in range(60)])])
    assert state(filing) == [(1, 0)]
    assert filing.append(ALICE, "INBOX", [letter(filing)], quota=60).first == 2


def test_replace(filing):
    put(filing, 2, ALICE, "Drafts")
    number = filing.store.account(ALICE).mailbox("Drafts").id
    assert filing.append(ALICE, "INBOX", [letter(filing)], replacing=(ALICE, number, 2)).first == 1
    assert (state(filing, "Drafts"), state(filing)) == ([(1, 0)], [(1, 0)])
    refused("5.5.4", filing.append, ALICE, "INBOX", [letter(filing)], replacing=(ALICE, number, 2))
    refused("5.2.0", filing.append, ALICE, "INBOX", [letter(filing)], replacing=(ALICE, 999, 1))
    assert state(filing) == [(1, 0)]
    assert filing.append(ALICE, number, [letter(filing)], replacing=(ALICE, number, 1)).first == 3
    assert state(filing, "Drafts") == [(3, 0)]


def test_replace_by_a_message_in_another_account(filing):
    put(filing, 2)
    put(filing, 2, BOB)
    numbers = [filing.store.account(owner).mailbox("INBOX").id for owner in (ALICE, BOB)]
    assert filing.append(BOB, "INBOX", [letter(filing)], replacing=(ALICE, numbers[0], 2)).first == 3
    assert (state(filing), state(filing, "INBOX", BOB)) == ([(1, 0)], [(1, 0), (2, 0), (3, 0)])
    refused("5.2.0", filing.append, BOB, "INBOX", [letter(filing)], replacing=(ALICE, numbers[1], 1))
    refused("5.2.2", filing.append, BOB, "INBOX", [letter(filing)], quota=10, replacing=(ALICE, numbers[0], 1))
    assert (state(filing), state(filing, "INBOX", BOB)) == ([(1, 0)], [(1, 0), (2, 0), (3, 0)])


def test_flags(filing):
    put(filing, 3)
    assert filing.flags(ALICE, "INBOX", [(1, 2)], "add", ["\\Flagged", "later"]) == (3, [(1, 2)], [])
    assert filing.flags(ALICE, "INBOX", [(1, 1)], "remove", ["LATER", "unknown"]) == (4, [(1, 1)], [])
    assert filing.flags(ALICE, "INBOX", [(2, 3)], "set", ["\\Seen"], 2) == (5, [(3, 3)], [(2, 2)])
    assert state(filing) == [(1, FLAGGED), (2, FLAGGED | 32), (3, SEEN)]
    assert filing.store.account(ALICE).keywords("INBOX") == {"later": 32}
    assert filing.flags(ALICE, "INBOX", ALL, "set", []) == (6, [(1, 3)], [])
    assert state(filing) == [(1, 0), (2, 0), (3, 0)]
    refused("5.5.3", filing.flags, ALICE, "INBOX", ALL, "add", [f"word{number}" for number in range(60)])
    refused("5.2.0", filing.flags, ALICE, 77, ALL, "add", [])
    assert filing.store.account(ALICE).keywords("INBOX") == {"later": 32}


def test_copy_and_move(filing):
    put(filing, 4)
    filing.flags(ALICE, "INBOX", [(2, 2)], "add", ["later"])
    box = filing.store.account(ALICE).mailbox("Archive")
    assert filing.copy(ALICE, "INBOX", [(2, 3)], ALICE, "Archive") == (box.uidvalidity, [(2, 3)], 1, 3)
    assert filing.copy(ALICE, "INBOX", [(1, 2), (9, 9)], ALICE, "Archive", move=True) == (box.uidvalidity, [(1, 2)], 3, 4)
    assert state(filing) == [(3, 0), (4, 0)]
    assert state(filing, "Archive") == [(1, 32), (2, 0), (3, 0), (4, 32)]
    assert filing.copy(ALICE, "INBOX", [(9, 9)], ALICE, "Archive").source == []
    assert filing.copy(ALICE, "INBOX", [(4, 4)], ALICE, "INBOX", move=True).first == 5
    assert state(filing) == [(3, 0), (5, 0)]
    refused("5.2.0", filing.copy, ALICE, "INBOX", ALL, ALICE, "None")


def test_copy_to_another_account(filing):
    put(filing, 2, ALICE, "INBOX", "\\Seen", "later")
    filing.mailboxes.account(BOB)
    filing.store.account(BOB).keyword("Junk", "other")
    assert filing.copy(ALICE, "INBOX", [(1, 1)], BOB, "Junk")[1:3] == ([(1, 1)], 1)
    assert filing.copy(ALICE, "INBOX", ALL, BOB, "Junk", move=True)[1:3] == ([(1, 2)], 2)
    assert state(filing) == [] and state(filing, "Junk", BOB) == [(1, SEEN | 64), (2, SEEN | 64), (3, SEEN | 64)]
    messages = filing.store.account(BOB).messages("Junk", ALL)
    assert messages[0].emailid == messages[1].emailid and messages[0].internaldate == NOW - 99


def test_what_another_node_does_meanwhile_is_not_taken_for_ours(filing, monkeypatch):
    put(filing, 3)
    filing.mailboxes.account(BOB)
    source, ours = type(filing.store.account(ALICE)), []

    def meanwhile(method):
        """Once, between our look at a mailbox and what locks its account, another message comes."""
        original = getattr(source, method)

        def faster(account, *arguments):
            if ours:
                ours.pop()
                put(filing, 1, account.name, "INBOX" if account.name == BOB else "Archive")
            return original(account, *arguments)
        monkeypatch.setattr(source, method, faster)

    meanwhile("deliver"), meanwhile("copy")
    ours.append(True)
    assert put(filing, 2, ALICE, "Archive")[1:] == (2, 2)
    ours.append(True)
    assert filing.copy(ALICE, "INBOX", [(1, 2)], ALICE, "Archive")[1:3] == ([(1, 2)], 5)
    ours.append(True)
    assert filing.copy(ALICE, "INBOX", [(1, 2)], BOB, "INBOX")[1:3] == ([(1, 2)], 2)
    listed = source.states
    monkeypatch.setattr(source, "states", lambda account, *which: (listed(account, *which), filing.expunge(ALICE, "INBOX", [(2, 2)], False))[0])
    moved = filing.copy(ALICE, "INBOX", ALL, BOB, "INBOX", move=True)
    monkeypatch.undo()
    assert moved[1:3] == ([(1, 1), (3, 3)], 4) and len(state(filing, "INBOX", BOB)) == 5 and state(filing) == []


def test_quota_of_copies(filing):
    put(filing, 2)                                                  # 18 octets
    refused("5.2.2", filing.copy, ALICE, "INBOX", ALL, ALICE, "Archive", quota=30)
    assert state(filing, "Archive") == []
    filing.copy(ALICE, "INBOX", ALL, ALICE, "Archive", quota=30, move=True)
    refused("5.2.2", filing.copy, ALICE, "Archive", ALL, BOB, "INBOX", quota=10, move=True)
    assert len(state(filing, "Archive")) == 2 and state(filing, "INBOX", BOB) == []


def test_expunge(filing):
    put(filing, 4)
    filing.flags(ALICE, "INBOX", [(2, 3)], "add", ["\\Deleted"])
    assert filing.expunge(ALICE, "INBOX", [(3, 4)]) == (4, [3])
    assert filing.expunge(ALICE, "INBOX", [(1, 1)], deleted=False) == (5, [1])
    assert filing.expunge(ALICE, "INBOX", [(4, 4)]) == (5, [])
    assert state(filing) == [(2, DELETED), (4, 0)]


def test_create(filing):
    box = filing.create(ALICE, "a/b/c", "\\Archive")
    assert (box.name, box.special_use, box.subscribed) == ("a/b/c", "\\Archive", 0)
    assert {"a", "a/b"} <= {each.name for each in filing.store.account(ALICE).mailboxes()}
    for name, status in (("a/b", "5.2.0"), ("inbox", "5.2.0"), ("a//b", "5.5.4"), ("x%", "5.5.4"), ("", "5.5.4")):
        refused(status, filing.create, ALICE, name)


def test_rename(filing):
    filing.create(ALICE, "a/b")
    filing.rename(ALICE, "a", "x/y/z")
    names = {box.name for box in filing.store.account(ALICE).mailboxes()}
    assert {"x", "x/y", "x/y/z", "x/y/z/b"} <= names and "a" not in names
    filing.rename(ALICE, "x", "x/y/q")
    assert filing.store.account(ALICE).mailbox("x/y/q/y/z/b")
    for name, to, status in (("none", "new", "5.2.0"), ("Sent", "Drafts", "5.2.0"), ("Sent", "inbox", "5.2.0"), ("Sent", "a//b", "5.5.4")):
        refused(status, filing.rename, ALICE, name, to)


def test_rename_makes_no_name_that_may_not_be(filing):
    deep, long = "/".join("d" * 31), "x" * 900
    filing.create(ALICE, f"{deep}/e")
    filing.create(ALICE, f"a/{long}")
    for name, to in (("d", "a/d"), ("a", "b" * 200)):
        before = filing.store.account(ALICE).mailboxes()
        refused("5.5.4", filing.rename, ALICE, name, to)
        assert filing.store.account(ALICE).mailboxes() == before
    filing.rename(ALICE, "d", "b")
    filing.rename(ALICE, "a", "c" * 90)


def test_rename_of_inbox(filing):
    put(filing, 2, ALICE, "INBOX", "later")
    filing.create(ALICE, "INBOX/below")
    filing.rename(ALICE, "inbox", "old/mail")
    assert (state(filing), state(filing, "old/mail")) == ([], [(1, 32), (2, 32)])
    assert filing.store.account(ALICE).mailbox("INBOX/below")
    refused("5.2.0", filing.rename, ALICE, "INBOX", "old/mail")


def test_subscribe(filing):
    filing.subscribe(ALICE, "not/there", True)
    assert "not/there" in filing.store.account(ALICE).subscriptions()
    filing.subscribe(ALICE, "not/there", False)
    filing.subscribe(ALICE, "inbox", False)
    assert not {"not/there", "INBOX"} & set(filing.store.account(ALICE).subscriptions())
    refused("5.5.4", filing.subscribe, ALICE, "a//b", True)


def test_metadata(filing):
    filing.set_metadata(ALICE, "INBOX", {"/private/comment": b"x"})
    filing.set_metadata(ALICE, None, {"/private/comment": b"y"})
    account = filing.store.account(ALICE)
    assert (account.metadata("INBOX"), account.metadata(None)) == ({"/private/comment": b"x"}, {"/private/comment": b"y"})
    refused("5.3.4", filing.set_metadata, ALICE, "INBOX", {"/private/large": bytes(70_000)})
    refused("5.5.3", filing.set_metadata, ALICE, "INBOX", {f"/private/{number}": b"" for number in range(101)})
    refused("5.2.0", filing.set_metadata, ALICE, "None", {})
    assert account.metadata("INBOX") == {"/private/comment": b"x"}


def test_access_lists(filing):
    put(filing, 1)
    filing.set_acl(ALICE, "INBOX", BOB, "lr")
    assert [row[0] for row in filing.store.shared(BOB)] == [ALICE]
    filing.set_acl(ALICE, "INBOX", BOB, "")
    assert filing.store.shared(BOB) == []
    refused("5.2.0", filing.set_acl, ALICE, 99, BOB, "lr")


def test_recent_is_claimed_once(filing):
    put(filing, 2)
    assert [filing.claim(ALICE, "INBOX") for _ in range(2)] == [(1, 3), (3, 3)]
    refused("5.2.0", filing.claim, ALICE, 99)
