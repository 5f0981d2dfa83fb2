"""Adding messages to mailboxes in SQLite: the hot path of delivery, a handful of prepared statements per message.

Called by storage/sqlite/account.py inside a transaction. The record that suppresses duplicates, the message, its state and the counters are
rows of one transaction: either all of them survive a crash or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from fancymail.storage.ports.mailboxes import Delivered, Delivery, Mailbox, NoSuchMailbox

if TYPE_CHECKING:
    from fancymail.storage.sqlite.account import SqliteAccount
    from fancymail.storage.sqlite.shard import Shard


def deliver(account: SqliteAccount, deliveries: Sequence[Delivery], now: int) -> list[Delivered]:
    """Add messages; the UIDs of each mailbox follow the order of `deliveries`."""
    shard, results = account.shard, []
    boxes: dict[str, tuple[Mailbox, list[int], list[int]]] = {}         # mailbox, flags and sizes of what was added
    number = _account_number(shard, account.name)
    for delivery in deliveries:
        earlier = _earlier(shard, delivery) if delivery.queue_id else None
        if earlier is not None:
            results.append(earlier)
            continue
        if delivery.mailbox not in boxes:
            boxes[delivery.mailbox] = (_find(account, delivery.mailbox), [], [])
        box, flags, sizes = boxes[delivery.mailbox]
        uid = box.uidnext + len(flags)
        _insert(shard, number, box, uid, delivery, now)
        flags.append(delivery.flags)
        sizes.append(len(delivery.prefix) + delivery.length)
        results.append(Delivered(box.name, uid, box.uidvalidity, False))
    for box, flags, sizes in boxes.values():
        account.added(box, flags, sum(sizes))
    return results


def email_id(blob: bytes, prefix: bytes) -> str:
    """EMAILID: the same octets have the same id, in whatever mailbox (RFC 8474 5.1)."""
    return "M" + sha256(blob + prefix).hexdigest()[:32]


def _insert(shard: Shard, account: int, box: Mailbox, uid: int, delivery: Delivery, now: int) -> None:
    emailid = email_id(delivery.blob, delivery.prefix)
    threadid = _thread(shard, account, delivery.references, emailid)
    (mid,) = shard.one("INSERT INTO msg(account, blob, length, prefix, internaldate, emailid, threadid) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING mid",
                       (account, delivery.blob, delivery.length, delivery.prefix, delivery.internaldate, emailid, threadid))
    shard.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?)", (box.id, uid, delivery.flags, box.highestmodseq + 1, mid, now))
    if delivery.queue_id:
        shard.execute("INSERT INTO delivered VALUES (?, ?, ?, ?, ?, ?, ?)",
                      (delivery.queue_id, delivery.recipient, account, box.name, box.uidvalidity, uid, now))


def _earlier(shard: Shard, delivery: Delivery) -> Delivered | None:
    row = shard.one("SELECT mailbox, uid, uidvalidity FROM delivered WHERE queue_id = ? AND recipient = ?", (delivery.queue_id, delivery.recipient))
    return None if row is None else Delivered(*row, True)


def _thread(shard: Shard, account: int, references: Sequence[int], emailid: str) -> str:
    """The thread of the first known relative, else a new one; all relatives are remembered with it. A thread id never changes."""
    known = None
    for reference in references:
        known = shard.one("SELECT threadid FROM reference WHERE account = ? AND hash = ?", (account, reference))
        if known is not None:
            break
    threadid = known[0] if known else "T" + emailid[1:]
    for reference in references:
        shard.execute("INSERT INTO reference VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (account, reference, threadid))
    return threadid


def _account_number(shard: Shard, name: str) -> int:
    row = shard.one("SELECT id FROM account WHERE name = ?", (name,))
    if row is None:
        raise NoSuchMailbox(name)
    return row[0]


def _find(account: SqliteAccount, name: str) -> Mailbox:
    box = account.mailbox(name)
    if box is None:
        raise NoSuchMailbox(name)
    return box
