"""The audit of the mailboxes: counters, contents, and what nobody names; and that mending changes nothing else."""

from __future__ import annotations

import errno

import pytest

from fancymail.core import mailbox_audit
from fancymail.core.mailbox_audit import Books, MailboxAudit
from fancymail.core.mailboxes import Mailboxes
from fancymail.mail.mailbox import SEEN
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.ports.mailboxes import Keep
from fancymail.storage.sqlite.account import SqliteAccount
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes

ALICE = "alice@example.test"
NOW = 1_800_000_000


@pytest.fixture
def mailboxes(tmp_path):
    mailboxes = Mailboxes(SqliteMailboxes(tmp_path), FileBlobs(tmp_path / "blobs"), wall=lambda: 4e9, keep=Keep(blobs=60))
    for number in range(3):
        incoming = mailboxes.blobs.incoming()
        incoming.write(b"Subject: %d\r\n\r\nlarge enough for a file of its own\r\n" % number * 5000)
        mailboxes.append(ALICE, ALICE, incoming.finish(), b"")
    mailboxes.store.account(ALICE).set_flags("INBOX", [(2, 2)], SEEN, 0)
    yield mailboxes
    mailboxes.store.close(), mailboxes.blobs.close()


def look(mailboxes, contents=False) -> Books:
    books = Books()
    for _ in MailboxAudit(mailboxes).look(books, contents):
        """It lets others have their turn."""
    return books


def hashes(mailboxes):
    return [message.blob for message in mailboxes.store.account(ALICE).messages("INBOX", [(1, 9)])]


def path_of(mailboxes, blob) -> str:
    return mailboxes.blobs.place(blob, 1).path


def test_all_is_well(mailboxes):
    told = look(mailboxes, contents=True).told()
    assert (told["accounts"], told["mailboxes"], told["messages"]) == (1, 6, 3)
    assert told["miscounted"] == told["missing"] == told["unnamed"] == 0
    assert told["octets"] == mailboxes.usage(ALICE).octets


def test_a_missing_content_is_named(mailboxes, tmp_path):
    (tmp_path / path_of(mailboxes, hashes(mailboxes)[1])).unlink()
    assert look(mailboxes).missing == [f"{ALICE}/INBOX 2"]


def test_a_changed_content_is_found_by_reading_it(mailboxes):
    with open(path_of(mailboxes, hashes(mailboxes)[2]), "r+b") as file:
        file.seek(1000)
        file.write(b"#")
    assert look(mailboxes).missing == []
    assert look(mailboxes, contents=True).missing == [f"{ALICE}/INBOX 3"]


@pytest.mark.parametrize("counter", ["messages", "unseen", "deleted", "octets"])
def test_wrong_counters_are_mended_and_nothing_else(mailboxes, counter):
    account = mailboxes.store.account(ALICE)
    before = account.mailbox("INBOX"), account.states("INBOX")
    account.shard.execute(f"UPDATE mailbox SET {counter} = {counter} + 1 WHERE name = 'INBOX'")
    books = look(mailboxes)
    assert books.miscounted == [f"{ALICE}/INBOX"]
    assert MailboxAudit(mailboxes).mend(books)["recounted"] == 1
    now = account.mailbox("INBOX")          # all is read anew from here on
    assert now.highestmodseq == now.vanish_floor > before[0].highestmodseq
    assert (now._replace(highestmodseq=before[0].highestmodseq, vanish_floor=before[0].vanish_floor), account.states("INBOX")) == before
    assert look(mailboxes).miscounted == []


@pytest.mark.parametrize("uidnext", [1, 2, 3])
def test_a_uid_that_was_given_is_not_given_again(mailboxes, uidnext):
    account = mailboxes.store.account(ALICE)
    account.expunge("INBOX", [(2, 3)], NOW)
    account.shard.execute(f"UPDATE mailbox SET uidnext = {uidnext} WHERE name = 'INBOX'")
    books = look(mailboxes)
    assert books.miscounted == [f"{ALICE}/INBOX"]
    MailboxAudit(mailboxes).mend(books)
    assert account.mailbox("INBOX").uidnext == 4 and look(mailboxes).miscounted == []


def test_contents_that_nobody_names_go(mailboxes):
    incoming = mailboxes.blobs.incoming()
    incoming.write(b"of a process that died" * 4000)
    blob = incoming.finish()
    mailboxes.blobs.release([blob.hash])
    books = look(mailboxes)
    assert books.unnamed == [blob.hash]
    assert MailboxAudit(mailboxes).mend(books) == {"recounted": 0, "contents_removed": 1, "missing": 0}
    assert look(mailboxes).told()["unnamed"] == 0 and look(mailboxes, contents=True).missing == []


def test_a_mailbox_that_is_removed_meanwhile_is_no_trouble(mailboxes, monkeypatch):
    monkeypatch.setattr(mailbox_audit, "PIECE", 1)
    account, books = mailboxes.store.account(ALICE), Books()
    account.create("Work", NOW)
    account.copy("INBOX", [(1, 3)], "Work", NOW)
    for _ in MailboxAudit(mailboxes).look(books, False):
        if books.messages == 6 and account.mailbox("Work"):
            account.remove("Work", NOW)
    assert (books.accounts, books.mailboxes, books.missing, books.miscounted) == (1, 7, [], [])


def test_what_comes_from_another_node_meanwhile_is_not_miscounted(mailboxes, monkeypatch):
    sizes, meanwhile = SqliteAccount.sizes, ["INBOX", "INBOX", "Work"]

    def sizes_later(account, name):
        if meanwhile and account.mailbox(name).name == meanwhile[0]:
            if meanwhile.pop(0) == "INBOX":
                account.copy(name, [(1, 1)], name, NOW)
            else:
                account.remove(name, NOW)
        return sizes(account, name)
    mailboxes.store.account(ALICE).create("Work", NOW)
    monkeypatch.setattr(SqliteAccount, "sizes", sizes_later)
    books = look(mailboxes)
    assert not meanwhile and (books.miscounted, books.messages) == ([], 5)


@pytest.mark.parametrize("error, lost", [(OSError("the object store refuses"), False), (OSError(errno.EMFILE, "too many"), False),
                                         (OSError(errno.EIO, "bad sector"), True)], ids=str)
@pytest.mark.parametrize("contents", [False, True])
def test_what_nobody_can_read_now_is_not_called_lost(mailboxes, monkeypatch, error, lost, contents):
    def refuse(*asked):
        raise error
    for call in ("read", "verify"):
        monkeypatch.setattr(mailboxes.blobs, call, refuse)
    if lost:
        assert len(look(mailboxes, contents).missing) == 3
    else:
        with pytest.raises(OSError, match=error.args[-1]):
            look(mailboxes, contents)
