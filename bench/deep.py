"""A queue and a mailbox of a million messages, made quickly through the storage engines, for bench/works and the slow tests.

Rows are put into the indexes as the daemons put them. Of a queue only the messages at the head have files (the queue never looks at the
others: that is what makes a restart short); the messages of a mailbox share a thousand contents (equal contents are one blob).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from fancymail.core.imap.precompute import precompute
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.ports.mailboxes import Delivery
from fancymail.storage.ports.queue import Entry, State
from fancymail.storage.slots import write_slot
from fancymail.storage.spool import DiskSpool
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.queue import SqliteQueueIndex

TOUCHED = 400               # messages at the head of the queue, which have files
CONTENTS = 1000
ENVELOPE = Envelope("a" * 26, "sender@example.test", [Recipient("recipient@example.org")])


def fill_queue(folder: Path, count: int) -> None:
    """Make a queue folder with `count` outgoing messages; three of four ready, the rest deferred."""
    index, spool = SqliteQueueIndex(folder / "index.db"), DiskSpool(folder, ["incoming", "outgoing"])
    for first in range(0, count, 5000):
        index.add([_entry(spool, number) for number in range(first, min(first + 5000, count))])
        if index.crowded():
            index.copy_back()
            index.restart_log()
    index.close()
    spool.close()


def _entry(spool: DiskSpool, number: int) -> Entry:
    id = spool.new_id("outgoing", False)
    if number < TOUCHED:
        write_slot(spool.path("outgoing", id), ENVELOPE, b"x" * 1000)
    later = dict(state=State.DEFERRED, due=time.time() + 3600, attempts=1, reason="4.4.1 no answer") if number >= TOUCHED and number % 4 == 0 else {}
    return Entry(id=id, queue="outgoing", pushed=time.time(), size=1000, sha256=os.urandom(32), bare=False, sender=f"sender{number}@example.test",
                 recipients=f"recipient{number}@example.org", count=1, **later)


def letter(number: int) -> bytes:
    """Return a message of about 300 octets: a million of them are no test of the disk."""
    return (f"From: Person {number % 97} <p{number % 97}@x.test>\r\nTo: alice@example.test\r\nSubject: Matter {number}\r\n"
            f"Date: Tue, {number % 27 + 1} Jul 2003 10:52:37 +0200\r\nMessage-ID: <m{number}@x.test>\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\n\r\n" + f"This is line {number} of what somebody has to say.\r\n" * 2).encode()


def fill_mailbox(folder: Path, account: str, count: int) -> None:
    """Make a mail folder (one shard) whose `account` has an INBOX of `count` messages, everything derived."""
    folder.mkdir(parents=True, exist_ok=True)
    store, blobs, now = SqliteMailboxes(folder, 1), FileBlobs(folder / "blobs"), int(time.time())
    contents = []
    for number in range(min(count, CONTENTS)):
        incoming = blobs.incoming()
        incoming.write(letter(number))
        contents.append((incoming.finish(), precompute(b"", letter(number), now)))
    mailboxes = store.account(account)
    mailboxes.create("INBOX", now)
    for first in range(0, count, 5000):
        rows = [contents[number % len(contents)] for number in range(first, min(first + 5000, count))]
        mailboxes.deliver([Delivery("INBOX", "", 0, blob.hash, blob.length, b"", now, derived=derived) for blob, derived in rows], now)
    store.close()


if __name__ == "__main__":      # in a process of its own: what filling costs is not what being full costs
    kind, place, *words = sys.argv[1:]
    if kind == "queue":
        fill_queue(Path(place), int(words[0]))
    else:
        fill_mailbox(Path(place), words[0], int(words[1]))
