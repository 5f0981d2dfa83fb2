"""Adding messages to mailboxes in SQLite: the hot path of delivery, a handful of prepared statements per message.

Called by storage/sqlite/account.py inside a transaction. The record that suppresses duplicates, the message, its small content, its entry, its marks
and the counters are rows of one transaction: either all of them survive a crash or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fancymail.mail.derived import Derived
from fancymail.storage.identity import email_id
from fancymail.storage.ports.mailboxes import Delivered, Delivery, Mailbox
from fancymail.storage.sqlite import contents
from fancymail.storage.sqlite.derived import keep

if TYPE_CHECKING:
    from fancymail.storage.sqlite.account import SqliteAccount
    from fancymail.storage.sqlite.shard import Shard


MOST = 256                      # relatives that are asked for at once


class Filing:
    """One mailbox of a batch: what it was before, and what is added."""

    __slots__ = ("account", "box", "added", "octets")

    def __init__(self, account: int, box: Mailbox) -> None:
        self.account, self.box = account, box
        self.added: list[tuple[int, int]] = []          # flags, number of the message
        self.octets = 0


class Threads:
    """The threads that messages of a batch may belong to: known relatives are asked for, and new ones written, all together."""

    def __init__(self, shard: Shard, account: int, deliveries: Sequence[Delivery]) -> None:
        self._shard, self._account = shard, account
        self._known: dict[int, str] = {}                # hash of a message id -> thread
        self._new: list[int] = []
        references = list({reference for delivery in deliveries for reference in delivery.references})
        for start in range(0, len(references), MOST):
            some = references[start:start + MOST]
            some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))           # few statements, which stay prepared
            self._known.update(shard.execute(f"SELECT hash, threadid FROM reference WHERE account = ? AND hash IN ({', '.join('?' * len(some))})",
                                             (account, *some)))

    def join(self, references: Sequence[int], emailid: str) -> str:
        """The thread of the first known relative, else a new one; all relatives are remembered with it. A thread id never changes."""
        known = self._known
        threadid = next((known[reference] for reference in references if reference in known), "T" + emailid[1:])
        for reference in references:
            if reference not in known:
                known[reference] = threadid
                self._new.append(reference)
        return threadid

    def keep(self) -> None:
        """Write down what was not known before."""
        if self._new:
            self._shard.connection.executemany("INSERT INTO reference VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                                               [(self._account, reference, self._known[reference]) for reference in self._new])


def deliver(account: SqliteAccount, deliveries: Sequence[Delivery], now: int) -> list[Delivered]:
    """Add messages; the UIDs of each mailbox follow the order of `deliveries`. Mailboxes are looked up before anything is added."""
    filings = {name: Filing(*account.find_with_account(name)) for name in {delivery.mailbox for delivery in deliveries}}
    derived: list[tuple[int, Derived]] = []
    threads = Threads(account.shard, next(iter(filings.values())).account if filings else 0, deliveries)
    results = [_file(account, filings[delivery.mailbox], delivery, threads, derived, now) for delivery in deliveries]
    keep(account.shard, derived)
    threads.keep()
    for filing in filings.values():
        if filing.added:
            account.add(filing.box, filing.added, filing.octets, now)
    return results


def _file(account: SqliteAccount, filing: Filing, delivery: Delivery, threads: Threads, derived: list[tuple[int, Derived]], now: int) -> Delivered:
    shard, box, uid = account.shard, filing.box, filing.box.uidnext + len(filing.added)
    if delivery.queue_id and not _first_time(shard, filing, delivery, uid, now):
        row = shard.one("SELECT mailbox, uid, uidvalidity FROM delivered WHERE received = ? AND queue_id = ? AND recipient = ?",
                        (delivery.internaldate, delivery.queue_id, delivery.recipient))
        return Delivered(*row, True)
    emailid = email_id(delivery.blob, delivery.prefix)
    threadid = threads.join(delivery.references, emailid)
    content = None if delivery.content is None else contents.keep(shard, delivery.blob, delivery.content)
    shard.execute("INSERT INTO msg(account, blob, length, prefix, internaldate, emailid, threadid, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                  (filing.account, delivery.blob, delivery.length, delivery.prefix, delivery.internaldate, emailid, threadid, content))
    mid = shard.connection.last_insert_rowid()
    if delivery.derived is not None:
        derived.append((mid, delivery.derived))
    flags = delivery.flags
    for keyword in delivery.keywords:
        flags |= account.keyword(box.id, keyword)
    filing.added.append((flags, mid))
    filing.octets += len(delivery.prefix) + delivery.length
    return Delivered(box.name, uid, box.uidvalidity, False)


def _first_time(shard: Shard, filing: Filing, delivery: Delivery, uid: int, now: int) -> bool:
    """Claim a delivery; False when somebody had it before."""
    shard.execute("INSERT INTO delivered VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                  (delivery.internaldate, delivery.queue_id, delivery.recipient, filing.account, filing.box.name, filing.box.uidvalidity, uid, now))
    return shard.connection.changes() > 0
