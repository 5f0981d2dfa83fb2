"""What only the SQLite engine can get wrong: state that an older release left, and rows that nobody names."""

from __future__ import annotations

from hashlib import sha256

from fancymail.core.mailboxes import Mailboxes
from fancymail.mail.mailbox import DELETED
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.ports.mailboxes import Delivery, Keep
from fancymail.storage.sqlite.database import open_database
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.mailboxes_schema import STEPS

ALICE, BOB = "alice@example.test", "bob@example.test"
NOW = 1_800_000_000
ALL = [(1, 2**32 - 1)]


def small(text: str) -> Delivery:
    return Delivery("INBOX", "", 0, sha256(text.encode()).digest(), len(text), b"", NOW, content=text.encode())


def test_state_of_a_release_in_which_every_content_was_a_blob(tmp_path):
    blobs = FileBlobs(tmp_path / "blobs")
    incoming = blobs.incoming()
    incoming.write(b"Subject: old\r\n\r\nhello\r\n")
    blob = incoming.finish()
    blobs.sync()
    blobs.release([blob.hash])
    before = [step.name for step in STEPS].index("contents")
    old = open_database(tmp_path / "shard-0.db", STEPS[:before])
    old.execute("INSERT INTO shard VALUES (0, 1); INSERT INTO account VALUES (1, ?, 7); "
                "INSERT INTO mailbox(id, account, name, uidvalidity, uidnext, highestmodseq, objectid, messages, unseen, octets, created) "
                "VALUES (1, 1, 'INBOX', 7, 4, 2, 'F', 1, 1, 30, 0)", (ALICE,))
    old.execute("INSERT INTO msg VALUES (5, 1, ?, ?, x'', 9, 'M', 'T')", (blob.hash, blob.length))
    old.execute("INSERT INTO state VALUES (1, 3, 0, 2, 5, 9)")
    old.close()
    store = SqliteMailboxes(tmp_path)
    mailboxes, alice = Mailboxes(store, blobs), store.account(ALICE)
    (message,) = alice.messages("INBOX", ALL)
    assert message.uid == 3 and b"".join(mailboxes.octets(message)) == b"Subject: old\r\n\r\nhello\r\n"
    assert store.referenced([blob.hash]) == {blob.hash}
    alice.deliver([small("new")], NOW)
    assert [b"".join(mailboxes.octets(message)) for message in alice.messages("INBOX", ALL)] == [b"Subject: old\r\n\r\nhello\r\n", b"new"]
    alice.expunge("INBOX", [(3, 3)], NOW)
    assert store.purge(NOW + 10, Keep(expunged=1, blobs=0)) == [blob.hash]
    store.close()
    blobs.close()


def test_a_content_is_kept_once_and_goes_with_its_last_message(tmp_path):
    store = SqliteMailboxes(tmp_path, synchronous="OFF")
    for name in (ALICE, BOB):
        store.account(name).create("INBOX", NOW)
        store.account(name).deliver([small("tea"), small("tea"), small(name)], NOW)
    count = lambda: store.shards[0].one("SELECT count(*) FROM content")[0]
    assert count() == 3
    store.account(ALICE).expunge("INBOX", ALL, NOW)
    store.purge(NOW + 10, Keep(expunged=1))
    assert count() == 2
    store.account(BOB).forget(NOW)
    assert count() == 0
    store.close()


def steps_of_an_expunge(folder, count: int) -> int:
    """How many hundreds of steps SQLite takes to expunge two deleted messages among `count`."""
    store = SqliteMailboxes(folder, synchronous="OFF")
    account, steps = store.account(ALICE), []
    account.create("INBOX", NOW)
    account.deliver([small("tea")] * count, NOW)
    account.set_flags("INBOX", [(1, 1), (count, count)], DELETED, 0)
    connection = store.shards[0].connection
    connection.set_progress_handler(lambda: steps.append(1) or False, 100)
    assert account.expunge("INBOX", ALL, NOW, deleted=True) == [1, count]
    connection.set_progress_handler(None, 100)
    store.close()
    return len(steps)


def test_expunge_looks_at_those_that_are_deleted_only(tmp_path):
    assert steps_of_an_expunge(tmp_path / "many", 5000) <= steps_of_an_expunge(tmp_path / "few", 50) + 2
