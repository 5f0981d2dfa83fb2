"""The rules of mailboxes over memory: where deliveries go, what is refused, what comes back."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from hashlib import sha256

import pytest

from fancymail.core.mailboxes import Arrival, MailboxRefusal, Mailboxes, trace, uids_of
from fancymail.core.maildrops import InUse, Maildrops
from fancymail.core.relatives import relatives
from fancymail.core.turn import Turn
from fancymail.storage.memory.blobs import MemoryBlobs
from fancymail.storage.memory.mailboxes import MemoryMailboxes
from fancymail.storage.ports.blobs import Blob
from fancymail.storage.ports.mailboxes import Keep, Usage

ALICE = "alice@example.test"
NOW = 1_800_000_000


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def mailboxes(clock):
    return Mailboxes(MemoryMailboxes(), MemoryBlobs(), wall=clock, keep=Keep(expunged=100, blobs=10))


def arrival(mailboxes, text: str = "hello", *, tag: str = "", queue_id: str = "q", recipient: int = 0, quota: int = 0,
            account: str = ALICE) -> Arrival:
    blob = mailboxes.blobs.keep(text.encode())
    mailboxes.blobs.release([blob.hash])
    return Arrival(account, queue_id, recipient, "bob@example.test", account, tag, blob, NOW - 3.5, (), quota)


# Accounts

def test_an_account_begins_with_its_folders(mailboxes):
    boxes = mailboxes.account(ALICE).mailboxes()
    assert [(box.name, box.special_use) for box in boxes] == [
        ("Archive", "\\Archive"), ("Drafts", "\\Drafts"), ("INBOX", ""), ("Junk", "\\Junk"), ("Sent", "\\Sent"), ("Trash", "\\Trash")]
    assert all(box.subscribed for box in boxes)


def test_what_the_owner_removed_does_not_come_back(mailboxes):
    mailboxes.account(ALICE)
    mailboxes.remove(ALICE, "Archive")
    assert "Archive" not in [box.name for box in mailboxes.account(ALICE).mailboxes()]


def test_forget(mailboxes, clock):
    blob = arrival(mailboxes).blob
    mailboxes.deliver([arrival(mailboxes)])
    mailboxes.forget(ALICE)
    assert mailboxes.store.accounts() == []
    clock.now += 10
    assert mailboxes.purge() == 1
    with pytest.raises(KeyError):
        list(mailboxes.blobs.read(*blob[:2]))


# Delivery

def test_a_delivery_carries_its_trace(mailboxes):
    (result,) = mailboxes.deliver([arrival(mailboxes)])
    message = mailboxes.message(ALICE, result.uid)
    assert message.prefix == b"Return-Path: <bob@example.test>\r\nDelivered-To: alice@example.test\r\n"
    assert (message.internaldate, message.savedate) == (NOW - 4, NOW)
    assert b"".join(mailboxes.blobs.read(message.blob, message.length)) == b"hello"


@pytest.mark.parametrize("sender, address, lines", [
    ("", "alice@example.test", b"Return-Path: <>\r\nDelivered-To: alice@example.test\r\n"),
    ("a@b\r\nBcc: evil", "c", b"Return-Path: <a@b Bcc: evil>\r\nDelivered-To: c\r\n"),
    ("ж@пример.test", "a\0b", "Return-Path: <ж@пример.test>\r\nDelivered-To: a b\r\n".encode()),
    ("\udcff@x", "y", b"Return-Path: <?@x>\r\nDelivered-To: y\r\n"),
    ("a" * 5000, "y", b"Return-Path: <" + b"a" * 900 + b">\r\nDelivered-To: y\r\n")])
def test_trace_forges_no_line(sender, address, lines):
    assert trace(sender, address) == lines


@pytest.mark.parametrize("tag, mailbox", [
    ("", "INBOX"), ("news", "News"), ("News", "News"), ("NEWS", "News"), ("none", "INBOX"), ("Lists/python", "Lists/python"),
    ("lists/PYTHON", "Lists/python"), ("same", "same"), ("Same", "Same"), ("SAME", "INBOX"), ("inbox", "INBOX"), ("Junk", "Junk"),
    ("Sent", "INBOX"), ("trash", "INBOX"), ("Drafts", "INBOX"),
    ("../../etc/passwd", "INBOX"), ("/", "INBOX"), ("*", "INBOX"), ("a\0b", "INBOX"), ("x" * 5000, "INBOX")])
def test_a_tag_names_a_mailbox_or_nothing(mailboxes, tag, mailbox):
    for name in ("News", "Lists/python", "same", "Same"):
        mailboxes.create(ALICE, name)
    before = mailboxes.account(ALICE).mailboxes()
    (result,) = mailboxes.deliver([arrival(mailboxes, tag=tag)])
    assert result.mailbox == mailbox
    assert len(mailboxes.account(ALICE).mailboxes()) == len(before)


def test_a_batch_goes_to_many(mailboxes):
    batch = [arrival(mailboxes, f"text {place}", recipient=place, account=f"user{place % 3}@example.test") for place in range(9)]
    results = mailboxes.deliver(batch)
    assert [result.uid for result in results] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    again = mailboxes.deliver(batch)
    assert all(result.duplicate for result in again)
    assert [result.uid for result in again] == [result.uid for result in results]


def test_a_full_mailbox_refuses_its_own_only(mailboxes):
    results = mailboxes.deliver([
        arrival(mailboxes, "x" * 100, quota=400), arrival(mailboxes, "x" * 900, quota=400, recipient=1),
        arrival(mailboxes, "x" * 90, quota=400, recipient=2), arrival(mailboxes, "x" * 900, recipient=3, account="bob@example.test")])
    assert [getattr(result, "status", "2.0.0") for result in results] == ["2.0.0", "4.2.2", "2.0.0", "2.0.0"]
    assert mailboxes.usage(ALICE).messages == 2
    assert mailboxes.usage(ALICE).octets <= 400


def test_what_was_delivered_stays_delivered_when_the_mailbox_is_full(mailboxes):
    mailboxes.deliver([arrival(mailboxes, "x" * 300)])
    (again,) = mailboxes.deliver([arrival(mailboxes, "x" * 300, quota=10)])
    assert again.duplicate


def test_append(mailboxes):
    blob = mailboxes.blobs.keep(b"Subject: x\r\n\r\ny\r\n")
    assert mailboxes.append(ALICE, "alice@example.test", blob, b"").uid == 1
    assert mailboxes.append(ALICE, "", blob, b"").uid == 2
    assert [mailboxes.message(ALICE, uid).prefix for uid in (1, 2)] == [b"Delivered-To: alice@example.test\r\n", b""]


# Messages

def test_no_such_message(mailboxes):
    for mailbox in ("INBOX", "None"):
        with pytest.raises(MailboxRefusal) as caught:
            mailboxes.message(ALICE, 7, mailbox)
        assert caught.value.status.startswith("5.")


def test_expunge_and_undelete(mailboxes, clock):
    mailboxes.deliver([arrival(mailboxes, f"{number}", recipient=number) for number in range(4)])
    assert mailboxes.expunge(ALICE, uids_of(["2:3", "9"])) == [2, 3]
    assert mailboxes.expunge(ALICE, uids_of(["2:3"])) == []
    assert [uid for uid, _ in mailboxes.inbox(ALICE)[1]] == [1, 4]
    clock.now += 50
    assert mailboxes.purge() == 0
    assert mailboxes.undelete(ALICE, 60) == [(2, 5), (3, 6)]
    mailboxes.expunge(ALICE, uids_of(["1:*"]))
    clock.now += 101
    mailboxes.purge()
    assert mailboxes.undelete(ALICE, 1000) == []
    clock.now += 11
    assert mailboxes.purge() == 4


@pytest.mark.parametrize("sets", [["0"], ["a"], ["1:"], ["4294967296"], [""], ["1,,2"], ["-1"], ["1_0"], ["٣"]])
def test_a_bad_uid_set_is_refused(sets):
    with pytest.raises(MailboxRefusal):
        uids_of(sets)


def test_contents_that_no_row_names(mailboxes):
    left = mailboxes.blobs.keep(b"a crash left me")
    mailboxes.blobs.release([left.hash])
    used = arrival(mailboxes)
    mailboxes.deliver([used])
    assert mailboxes.unnamed(mailboxes.blobs.stale(0, 1e12)) == 1
    assert b"".join(mailboxes.blobs.read(*used.blob[:2])) == b"hello"


# Mailboxes

def test_create_makes_those_above(mailboxes):
    mailboxes.create(ALICE, "a/b/c")
    names = [box.name for box in mailboxes.account(ALICE).mailboxes()]
    assert {"a", "a/b", "a/b/c"} < set(names)
    with pytest.raises(MailboxRefusal):
        mailboxes.create(ALICE, "a/b")


@pytest.mark.parametrize("name", ["inbox", "INBOX", "a//b", "/a", "a/", "", "a%", "*", "a\nb", "..", "a/../b", "x/" * 40 + "x", "é" * 600])
def test_names_that_may_not_be(mailboxes, name):
    with pytest.raises(MailboxRefusal):
        mailboxes.create(ALICE, name)


def test_twins_are_one_name(mailboxes):
    mailboxes.create(ALICE, "Caf\u00e9")
    with pytest.raises(MailboxRefusal):
        mailboxes.create(ALICE, "Cafe\u0301")


def test_remove(mailboxes):
    mailboxes.create(ALICE, "a/b")
    mailboxes.remove(ALICE, "a")
    assert mailboxes.store.account(ALICE).mailbox("a/b")
    for mailbox in ("INBOX", "a", "none"):
        with pytest.raises(MailboxRefusal):
            mailboxes.remove(ALICE, mailbox)


def test_usage(mailboxes):
    mailboxes.deliver([arrival(mailboxes)])
    assert mailboxes.usage(ALICE) == Usage(6, 1, len("hello") + len(trace("bob@example.test", ALICE)))


def test_a_forgotten_account_has_no_rights_left(mailboxes):
    mailboxes.account("bob@example.test").grant("INBOX", ALICE, "lr")
    assert mailboxes.store.shared(ALICE)
    mailboxes.forget(ALICE)
    assert mailboxes.store.shared(ALICE) == []


# Relatives

def test_relatives_are_its_own_id_then_near_before_far():
    head = (b"Received: x\r\nMessage-ID: <own@x>\r\nReferences: <root@x>\r\n <mid@x>\r\n <near@x>\r\nIN-REPLY-TO: <near@x>\r\n\r\n"
            b"Message-ID: <body@x>\r\n")
    ids = [relatives(b"Message-ID: <%s@x>\r\n\r\n" % name)[0] for name in (b"own", b"near", b"mid", b"root")]
    assert relatives(head) == ids


@pytest.mark.parametrize("head", [b"", b"\r\n\r\n", b"Message-ID: none\r\n\r\n", b"Message-ID: <>\r\n\r\n", b"References:\r\n\r\n",
                                  b"X-Message-ID: <a@b>\r\n\r\n", b"\0\xff" * 500])
def test_no_relatives(head):
    assert relatives(head) == []


def test_a_hostile_header_is_bounded():
    found = relatives(b"Message-ID: <a@x>\r\nReferences: " + b" ".join(b"<%d@x>" % number for number in range(5000)) + b"\r\n\r\n")
    root, last = (relatives(b"Message-ID: <%d@x>\r\n\r\n" % number)[0] for number in (0, 4999))
    assert len(found) == 31 and found[1] == last and found[-1] == root
    assert relatives(b"Message-ID: " + b"<" * 60000 + b"\r\n\r\n") == []


def test_folding_does_not_change_an_id():
    assert relatives(b"Message-ID: <a\r\n b@x>\r\n\r\n") == relatives(b"Message-ID: <ab@x>\r\n\r\n")


# Maildrops

def test_a_maildrop_belongs_to_one():
    maildrops = Maildrops()
    maildrops.lock(ALICE, "one", 60, 0)
    maildrops.lock(ALICE, "one", 60, 30)
    with pytest.raises(InUse):
        maildrops.lock(ALICE, "two", 60, 89)
    maildrops.unlock(ALICE, "two")
    with pytest.raises(InUse):
        maildrops.lock(ALICE, "two", 60, 89)
    maildrops.lock(ALICE, "two", 60, 90)
    maildrops.unlock(ALICE, "two")
    maildrops.lock(ALICE, "three", 60, 91)
    assert maildrops.sweep(150) == 1
    assert maildrops.sweep(151) == 0


# Turns

async def test_one_turn_is_one_transaction(mailboxes):
    begun = Counter()

    def transaction():
        begun["any"] += 1
        return mailboxes.store.transaction()
    turn = Turn(transaction)
    blob = mailboxes.blobs.keep(b"x")
    good = [turn.run(lambda: mailboxes.append(ALICE, "", blob, b"")) for _ in range(3)]
    bad = turn.run(lambda: mailboxes.remove(ALICE, "none"))
    assert [(await future).uid for future in good] == [1, 2, 3]
    with pytest.raises(MailboxRefusal):
        await bad
    assert begun["any"] == 5                            # one around, one for each


async def test_when_the_commit_fails_all_failed(mailboxes):
    begun = []

    @contextmanager
    def transaction():
        outermost = not begun
        begun.append(True)
        with mailboxes.store.transaction():
            yield
            if outermost:
                raise OSError("disk")
    turn = Turn(transaction)
    blob = Blob(sha256(b"x").digest(), 1)
    futures = [turn.run(lambda: mailboxes.append(ALICE, "", blob, b"")) for _ in range(2)]
    for future in futures:
        with pytest.raises(OSError):
            await future
    assert mailboxes.store.accounts() == []
