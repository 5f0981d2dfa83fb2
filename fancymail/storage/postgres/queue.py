"""The queue's index in PostgreSQL (ports.queue.QueueIndex): one node's share of the messages, and what nodes that died left.

Opened by fm-queue. A message belongs to the node that accepted it (`node`), which alone changes it: so the rules of core/queue.py hold as they do
over a file. Each node renews a lease in the table `node`; whose lease is over is dead, and `adopt` gives its messages to whoever asks first
(FOR UPDATE SKIP LOCKED). A node that was only slow finds its fence changed or its messages gone, and what it says of them changes nothing.
Every call is one transaction, durable at its return. The envelope is kept here, the content in the object store (storage/s3/spool.py).
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

import asyncpg

from fancymail import __version__
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.ports.queue import ACCEPTED, Entry, Fenced, IndexFailed, Position, State, Total

from .contents import keep_alive, throw_away
from .database import Database, transactional
from .texts import clean
from .schema import migrate

COLUMNS = "id, queue, pushed, size, sha256, bare, sender, recipients, count, state, due, attempts, deaths, results, reason, message, seq"
RETURNED = ", ".join(f"message.{column}" for column in COLUMNS.split(", "))

_INSERT = f"""INSERT INTO message ({COLUMNS}, envelope, node)
    SELECT *, $19 FROM unnest($1::text[], $2::text[], $3::float8[], $4::bigint[], $5::bytea[], $6::bool[], $7::text[], $8::text[], $9::int[],
    $10::int[], $11::float8[], $12::int[], $13::int[], $14::text[], $15::text[], $16::text[], $17::bigint[], $18::bytea[])"""
_SAVE = """UPDATE message SET state = new.state, due = new.due, attempts = new.attempts, deaths = new.deaths, results = new.results,
    reason = new.reason FROM unnest($1::text[], $2::int[], $3::float8[], $4::int[], $5::int[], $6::text[], $7::text[])
    AS new(id, state, due, attempts, deaths, results, reason) WHERE message.id = new.id AND message.node = $8"""
_REMOVE = f"""WITH ended AS (DELETE FROM message WHERE id = ANY($1) AND node = $2 RETURNING *) SELECT {COLUMNS},
    EXISTS (SELECT 1 FROM msg WHERE msg.blob = ended.sha256 AND msg.octets IS NULL) FROM ended"""
_TALLY = """INSERT INTO tally SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) ON CONFLICT (node, queue, word)
    DO UPDATE SET messages = tally.messages + excluded.messages"""
_CLAIM = f"""UPDATE message SET state = 1, due = 0, attempts = attempts + 1 WHERE id IN (SELECT id FROM message WHERE node = $1 AND queue = $2
    AND %s LIMIT $4 FOR UPDATE SKIP LOCKED) RETURNING {COLUMNS}"""
_CLAIM_READY = _CLAIM % "state = 0 AND due = 0 AND seq < $3 ORDER BY seq"
_CLAIM_DUE = _CLAIM % "state = 2 AND due <= $3 ORDER BY due, seq"
_ADOPT = f"""WITH left_over AS (SELECT id, node FROM message WHERE node IN (SELECT name FROM node WHERE until < now() AND name <> $1)
    ORDER BY node, queue, state, due, seq LIMIT $2 FOR UPDATE SKIP LOCKED)
    UPDATE message SET node = $1, state = CASE WHEN state = 1 THEN 0 ELSE state END FROM left_over WHERE message.id = left_over.id
    RETURNING {RETURNED}, left_over.node"""


def _guarded(method):
    """Turn what the database raises into IndexFailed."""
    @functools.wraps(method)
    def guarded(self, *args):
        try:
            return method(self, *args)
        except (StoreFailed, asyncpg.PostgresError) as error:
            raise IndexFailed(str(error)) from error
    return guarded


class PostgresQueueIndex:
    """The messages of one node; see storage/ports/queue.py for every call but the last four."""

    def __init__(self, db: Database, node: str, lease: float) -> None:
        """lease: seconds without `renew` after which others take what is ours. Raises IndexFailed, DatabaseError."""
        self.db, self.node, self.lease = db, node, lease
        migrate(db)
        self.fence = self._register()
        self._mark = int.from_bytes(sha256(node.encode()).digest()[:2], "big") & 1023     # orders of nodes whose messages come together differ
        self._seq = self.db.one("SELECT coalesce(max(seq), 0) FROM message WHERE node = $1", node)[0]

    @_guarded
    def add(self, entries: Iterable[Entry], envelopes: Sequence[bytes] = ()) -> None:
        """envelopes: of each entry, as JSON; b"" for a bare slot."""
        entries = list(entries)
        if entries:
            self._add(entries, list(envelopes) or [b""] * len(entries))

    @transactional
    def _add(self, entries: list[Entry], envelopes: list[bytes]) -> None:
        keep_alive(self.db, [entry.sha256 for entry in entries])
        seq = max(self._seq + 1024, (time.time_ns() // 1000 << 10) + self._mark)
        for number, entry in enumerate(entries):
            entry.seq = seq + (number << 10)
        columns = zip(*((e.id, e.queue, e.pushed, e.size, e.sha256, e.bare, clean(e.sender), clean(e.recipients), e.count, int(e.state), e.due,
                         e.attempts, e.deaths, e.results, e.reason, e.message, e.seq) for e in entries))
        self.db.rows(_INSERT, *map(list, columns), envelopes, self.node)
        self._tallied(Counter((self.node, entry.queue, ACCEPTED) for entry in entries))
        self._seq = entries[-1].seq

    @_guarded
    def find(self, id: str) -> Entry | None:
        row = self.db.one(f"SELECT {COLUMNS} FROM message WHERE id = $1 AND node = $2", id, self.node)
        return _entry(row) if row else None

    @_guarded
    def known(self, ids: Iterable[str]) -> set[str]:
        return {row[0] for row in self.db.rows("SELECT id FROM message WHERE id = ANY($1)", list(ids))}

    @_guarded
    def claim_ready(self, queue: str, count: int, before: int) -> list[Entry]:
        return self._claim(_CLAIM_READY, queue, min(before, (1 << 63) - 1), count)

    @_guarded
    def claim_due(self, queue: str, count: int, now: float) -> list[Entry]:
        return self._claim(_CLAIM_DUE, queue, now, count)

    @_guarded
    def save(self, entries: Iterable[Entry]) -> None:
        rows = [(e.id, int(e.state), e.due, e.attempts, e.deaths, e.results, clean(e.reason)) for e in entries]
        if rows:
            self.db.retried(lambda: self.db.rows(_SAVE, *map(list, zip(*rows)), self.node))

    @_guarded
    def remove(self, ids: Iterable[str], ended: Callable[[Entry], str] | None = None) -> list[Entry]:
        ids = list(ids)
        entries = {entry.id: entry for entry in self.db.retried(lambda: self._remove(ids, ended))}
        return [entries[id] for id in dict.fromkeys(ids) if id in entries]

    def _remove(self, ids: list[str], ended: Callable[[Entry], str] | None) -> list[Entry]:
        rows = self.db.rows(_REMOVE, ids, self.node)
        entries, sign = [_entry(row[:-1]) for row in rows], 1 if ended else -1
        if loose := [entry.sha256 for entry, row in zip(entries, rows) if not row[-1]]:     # relayed, or kept with its row: no mailbox needs it
            throw_away(self.db, loose, self._now())
        count = Counter((self.node, entry.queue, ended(entry) if ended else ACCEPTED) for entry in entries)
        self._tallied({key: sign * messages for key, messages in count.items()})
        return entries

    @_guarded
    def tally(self) -> dict[tuple[str, str], int]:
        rows = self.db.rows("SELECT queue, word, messages FROM tally WHERE node = $1", self.node)
        return {(queue, word): messages for queue, word, messages in rows}

    @_guarded
    def correct(self, changes: Mapping[tuple[str, str], int]) -> None:
        count = {(self.node, queue, word): messages for (queue, word), messages in changes.items()}
        self.db.retried(lambda: self._tallied(count))

    @_guarded
    def next_due(self, queue: str) -> float | None:
        row = self.db.one("SELECT due FROM message WHERE node = $1 AND queue = $2 AND state = 2 ORDER BY due LIMIT 1", self.node, queue)
        return row[0] if row else None

    @_guarded
    def clamp(self, queue: str, latest: float) -> int:
        return len(self.db.retried(lambda: self.db.rows(
            "UPDATE message SET due = $3 WHERE node = $1 AND queue = $2 AND state = 2 AND due > $3 RETURNING 1", self.node, queue, latest)))

    @_guarded
    def totals(self) -> dict[tuple[str, State], Total]:
        rows = self.db.rows("SELECT queue, state, count(*), sum(size)::bigint FROM message WHERE node = $1 GROUP BY queue, state", self.node)
        return {(queue, State(state)): Total(messages, octets) for queue, state, messages, octets in rows}

    @_guarded
    def scan(self, queue: str, state: State, after: Position, limit: int) -> list[Entry]:
        return [_entry(row) for row in self.db.rows(
            f"SELECT {COLUMNS} FROM message WHERE node = $1 AND queue = $2 AND state = $3 AND (due, seq) > ($4, $5) ORDER BY due, seq LIMIT $6",
            self.node, queue, int(state), float(after[0]), after[1], limit)]

    def crowded(self) -> bool:
        """There is no log of ours that could grow."""
        return False

    @_guarded
    def copy_back(self) -> None:
        """Whether the database is there."""
        self.db.rows("SELECT 1")

    def restart_log(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Give the lease back, so that nobody has to wait until it is over; the database is its maker's to close."""
        try:
            self.db.rows("UPDATE node SET until = now() WHERE name = $1 AND fence = $2", self.node, self.fence)
        except StoreFailed:
            pass

    # -- nodes ---------------------------------------------------------------------------------------------------------------

    @_guarded
    def envelope(self, id: str) -> bytes | None:
        """The envelope of a message as JSON; None when we have no such message."""
        row = self.db.one("SELECT envelope FROM message WHERE id = $1 AND node = $2", id, self.node)
        return row[0] if row else None

    @_guarded
    def renew(self) -> None:
        """We live. Raises Fenced."""
        if not self.db.retried(lambda: self.db.rows("UPDATE node SET until = now() + $3 * interval '1 second' WHERE name = $1 AND fence = $2 "
                                                    "RETURNING 1", self.node, self.fence, self.lease)):
            raise Fenced(f"another process runs as node {self.node}")

    @_guarded
    def adopt(self, limit: int) -> list[Entry]:
        """Take over some of the messages of nodes whose lease is over; what was in work there is ready."""
        return self.db.retried(lambda: self._adopt(limit))

    def _adopt(self, limit: int) -> list[Entry]:
        rows = self.db.rows(_ADOPT, self.node, limit)
        entries, count = [_entry(row[:-1]) for row in rows], Counter()
        for entry, row in zip(entries, rows):           # accepted there, and from now on here
            count[row[-1], entry.queue, ACCEPTED] -= 1
            count[self.node, entry.queue, ACCEPTED] += 1
        self._tallied(count)
        return entries

    def _tallied(self, count: Mapping[tuple[str, str, str], int]) -> None:
        if count:
            keys = sorted(count)                        # in one order, so that nobody waits for whoever waits for him
            self.db.rows(_TALLY, *map(list, zip(*keys)), [count[key] for key in keys])

    @_guarded
    def nodes(self) -> list[tuple[str, float, str]]:
        """Each node: name, seconds until its lease is over (negative: since when), version."""
        return [tuple(row) for row in self.db.rows(
            "SELECT name, extract(epoch FROM until - now())::float8, version FROM node ORDER BY name")]

    def _register(self) -> int:
        return self.db.retried(lambda: self.db.one(
            "INSERT INTO node VALUES ($1, 1, now() + $2 * interval '1 second', $3) ON CONFLICT (name) DO UPDATE SET fence = node.fence + 1, "
            "until = excluded.until, version = excluded.version RETURNING fence", self.node, self.lease, __version__))[0]

    def _claim(self, statement: str, queue: str, limit: float, count: int) -> list[Entry]:
        claimed = [_entry(row) for row in self.db.retried(lambda: self.db.rows(statement, self.node, queue, limit, count))]
        claimed.sort(key=lambda entry: entry.seq)       # RETURNING promises no order
        return claimed

    def _now(self) -> int:
        return int(self.db.one("SELECT extract(epoch FROM now())::bigint")[0])


def _entry(row: Sequence) -> Entry:
    entry = Entry(*row)
    entry.state = State(entry.state)
    return entry
