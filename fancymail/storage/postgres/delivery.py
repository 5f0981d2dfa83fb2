"""Adding messages to mailboxes in PostgreSQL: a fixed number of statements for a batch of one account, whatever its size.

Called by storage/postgres/account.py inside a transaction. The record that suppresses duplicates, the message, its state and the counters are
rows of one transaction: either all of them survive a crash or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fancymail.mail.derived import Derived
from fancymail.storage.identity import email_id
from fancymail.storage.ports.mailboxes import Delivered, Delivery, Mailbox, NoSuchMailbox

from .annotations import MAILBOX
from .contents import keep_alive
from .database import Database
from .texts import clean

if TYPE_CHECKING:
    from .account import PostgresAccount

FIELDS = Derived._fields
_NAMES = ", ".join(f'"{field}"' for field in FIELDS)
_CHANGES = ", ".join(f'"{field}" = excluded."{field}"' for field in FIELDS)
_TYPES = {"version": "int", "header_length": "bigint", "envelope": "bytea", "bodystructure": "bytea", "body": "bytea", "parts": "bytea",
          "fields": "bytea", "sent": "bigint", "date_only": "bigint", "reply": "bigint", "references": "bytea"}
_UNNESTED = ", ".join(f"${place}::{_TYPES.get(field, 'text')}[]" for place, field in enumerate(FIELDS, 3))
_DERIVED = (f"INSERT INTO derived (account, mid, {_NAMES}) SELECT * FROM unnest($1::bigint[], $2::bigint[], {_UNNESTED}) "
            f"ON CONFLICT (account, mid) DO UPDATE SET {_CHANGES}")
_DELIVERED = """INSERT INTO delivered SELECT $1, received, queue_id, recipient, mailbox, uidvalidity, 0, $2
    FROM unnest($3::bigint[], $4::text[], $5::int[], $6::text[], $7::bigint[]) AS new(received, queue_id, recipient, mailbox, uidvalidity)
    ON CONFLICT DO NOTHING RETURNING received, queue_id, recipient"""
_UIDS = """UPDATE delivered SET uid = new.uid FROM unnest($2::bigint[], $3::text[], $4::int[], $5::bigint[])
    AS new(received, queue_id, recipient, uid) WHERE delivered.account = $1 AND delivered.received = new.received
    AND delivered.queue_id = new.queue_id AND delivered.recipient = new.recipient"""
_BEFORE = """SELECT delivered.received, delivered.queue_id, delivered.recipient, mailbox, uid, uidvalidity FROM delivered
    JOIN unnest($2::bigint[], $3::text[], $4::int[]) AS key(received, queue_id, recipient) ON delivered.received = key.received
    AND delivered.queue_id = key.queue_id AND delivered.recipient = key.recipient WHERE account = $1"""
_MSG = """INSERT INTO msg SELECT $1, *
    FROM unnest($2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[], $7::text[], $8::text[], $9::bytea[])"""

Key = tuple[int, str, int]      # of a delivery: what is delivered once


def deliver(account: PostgresAccount, deliveries: Sequence[Delivery], now: int) -> list[Delivered]:
    """Add messages; the UIDs of each mailbox follow the order of `deliveries`. Mailboxes are looked up before anything is added."""
    db, number = account.db, account.lock()
    boxes = _boxes(db, number, {delivery.mailbox for delivery in deliveries})
    fresh = _first_time(db, number, boxes, deliveries, now)
    added = [delivery for delivery, new in zip(deliveries, fresh) if new]
    uids = iter(_add(account, number, boxes, added, now))
    results: list[Delivered | None] = [
        Delivered(delivery.mailbox, next(uids), boxes[delivery.mailbox].uidvalidity, False) if new else None
        for delivery, new in zip(deliveries, fresh)]
    _remember(db, number, [(delivery, result) for delivery, result in zip(deliveries, results) if result and delivery.queue_id])
    if len(added) < len(deliveries):
        before = _before(db, number, [_key(delivery) for delivery, new in zip(deliveries, fresh) if not new])
        results = [result or before[_key(delivery)] for delivery, result in zip(deliveries, results)]
    return results


def keep(db: Database, rows: Sequence[tuple[tuple[int, int], Derived]]) -> None:
    """Write what was derived of messages, given by account and number."""
    if rows:
        accounts, mids = zip(*(place for place, _ in rows))
        values = zip(*((clean(value) if isinstance(value, str) else value for value in derived) for _, derived in rows))
        db.rows(_DERIVED, list(accounts), list(mids), *map(list, values))


def _boxes(db: Database, account: int, names: set[str]) -> dict[str, Mailbox]:
    rows = db.rows(f"SELECT {MAILBOX} FROM mailbox WHERE account = $1 AND name = ANY($2)", account, list(names))
    boxes = {box.name: box for box in map(Mailbox._make, rows)}
    for name in names - boxes.keys():
        raise NoSuchMailbox(name)
    return boxes


def _key(delivery: Delivery) -> Key:
    return delivery.internaldate, delivery.queue_id, delivery.recipient


def _first_time(db: Database, account: int, boxes: dict[str, Mailbox], deliveries: Sequence[Delivery], now: int) -> list[bool]:
    """Which of them nobody had before; each is claimed once, also within the batch."""
    checked = {_key(delivery): delivery for delivery in deliveries if delivery.queue_id}
    if not checked:
        return [True] * len(deliveries)
    claimed = {tuple(row) for row in db.rows(
        _DELIVERED, account, now, *map(list, zip(*checked)), [delivery.mailbox for delivery in checked.values()],
        [boxes[delivery.mailbox].uidvalidity for delivery in checked.values()])}
    fresh = []
    for delivery in deliveries:
        fresh.append(not delivery.queue_id or _key(delivery) in claimed)
        claimed.discard(_key(delivery))
    return fresh


def _remember(db: Database, account: int, done: Sequence[tuple[Delivery, Delivered]]) -> None:
    if done:
        db.rows(_UIDS, account, *map(list, zip(*(_key(delivery) for delivery, _ in done))), [result.uid for _, result in done])


def _before(db: Database, account: int, keys: Sequence[Key]) -> dict[Key, Delivered]:
    rows = db.rows(_BEFORE, account, *map(list, zip(*keys)))
    return {(received, queue_id, recipient): Delivered(mailbox, uid, uidvalidity, True)
            for received, queue_id, recipient, mailbox, uid, uidvalidity in rows}


def _add(account: PostgresAccount, number: int, boxes: dict[str, Mailbox], deliveries: Sequence[Delivery], now: int) -> list[int]:
    """Write messages and their places; the UID of each."""
    if not deliveries:
        return []
    db = account.db
    keep_alive(db, [delivery.blob for delivery in deliveries if delivery.content is None])
    (last,) = db.one("UPDATE owner SET mids = mids + $2 WHERE id = $1 RETURNING mids", number, len(deliveries))
    mids = range(last - len(deliveries) + 1, last + 1)
    emailids = [email_id(delivery.blob, delivery.prefix) for delivery in deliveries]
    threads = _threads(db, number, deliveries, emailids)
    fields = ("blob", "length", "prefix", "internaldate")
    db.rows(_MSG, number, list(mids), *([getattr(delivery, field) for delivery in deliveries] for field in fields), emailids, threads,
            [delivery.content for delivery in deliveries])
    keep(db, [((number, mid), delivery.derived) for mid, delivery in zip(mids, deliveries) if delivery.derived is not None])
    uids: list[int] = [0] * len(deliveries)
    for name, box in boxes.items():
        places = [place for place, delivery in enumerate(deliveries) if delivery.mailbox == name]
        if places:
            flags = [_flags(account, box, deliveries[place]) for place in places]
            octets = sum(len(deliveries[place].prefix) + deliveries[place].length for place in places)
            first = account.enter(number, box, flags, [mids[place] for place in places], octets, now)
            for uid, place in enumerate(places, first):
                uids[place] = uid
    return uids


def _flags(account: PostgresAccount, box: Mailbox, delivery: Delivery) -> int:
    flags = delivery.flags
    for keyword in delivery.keywords:
        flags |= account.keyword(box.id, keyword)
    return flags


def _threads(db: Database, account: int, deliveries: Sequence[Delivery], emailids: Sequence[str]) -> list[str]:
    """The thread of each: that of the first known relative, else a new one; all relatives are remembered with it. A thread id never changes."""
    hashes = list({reference for delivery in deliveries for reference in delivery.references})
    known = dict(db.rows("SELECT hash, threadid FROM relative WHERE account = $1 AND hash = ANY($2)", account, hashes)) if hashes else {}
    threads, new = [], {}
    for delivery, emailid in zip(deliveries, emailids):
        threadid = next((known[reference] for reference in delivery.references if reference in known), "T" + emailid[1:])
        threads.append(threadid)
        new |= {reference: threadid for reference in delivery.references if reference not in known}
        known |= {reference: threadid for reference in delivery.references if reference not in known}
    if new:
        db.rows("INSERT INTO relative SELECT $1, * FROM unnest($2::bigint[], $3::text[]) ON CONFLICT DO NOTHING",
                account, list(new), list(new.values()))
    return threads
