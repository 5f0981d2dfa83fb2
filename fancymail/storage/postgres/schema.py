"""The tables of a cluster's database, as migration steps (storage/migrations.py), and how they are applied. Their text never changes once released.

All that belongs to an account is keyed by it first, so that a database that divides its tables by key keeps an account together. Numbers that are
given one after the other (UIDs, modseqs, message and mailbox numbers) are counters in the account's or the mailbox's own row. No sequence, no
foreign key, no trigger, no function of our own. The columns are those of storage/sqlite/mailboxes_schema.py and its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from fancymail.storage.migrations import Applied, DatabaseError, Step, missing
from fancymail.storage.ports.mailboxes import StoreFailed

from .database import Conflicted, Database

LOCK = "5s"                     # that a step waits for a table which others use, before it lets them go first
TRIES = 20

STEPS = (
    Step("accounts", """
        CREATE TABLE secret (number INTEGER PRIMARY KEY, octets BYTEA NOT NULL);
        CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
        CREATE TABLE domain (name TEXT COLLATE "C" PRIMARY KEY);
        CREATE TABLE account (
            key TEXT COLLATE "C" PRIMARY KEY, address TEXT NOT NULL, domain TEXT COLLATE "C" NOT NULL, skeleton TEXT COLLATE "C" NOT NULL,
            password TEXT NOT NULL, scram BYTEA NOT NULL, version BIGINT NOT NULL, enabled BOOLEAN NOT NULL, quota BIGINT NOT NULL,
            created DOUBLE PRECISION NOT NULL);
        CREATE INDEX account_domain ON account (domain, key);
        CREATE INDEX account_skeleton ON account (domain, skeleton);
        CREATE INDEX account_created ON account (created, key) WHERE enabled;
        CREATE TABLE alias (
            key TEXT COLLATE "C" PRIMARY KEY, address TEXT NOT NULL, domain TEXT COLLATE "C" NOT NULL, targets BYTEA NOT NULL,
            skeleton TEXT COLLATE "C" NOT NULL, wildcard BOOLEAN NOT NULL);
        CREATE INDEX alias_domain ON alias (domain, key);
        CREATE INDEX alias_skeleton ON alias (domain, skeleton);
        CREATE INDEX alias_wildcard ON alias (domain) WHERE wildcard;
        CREATE TABLE access (
            account TEXT COLLATE "C" NOT NULL, privilege TEXT COLLATE "C" NOT NULL, address TEXT COLLATE "C" NOT NULL,
            PRIMARY KEY (account, privilege, address));
        CREATE TABLE account_change (serial BIGINT PRIMARY KEY, account TEXT NOT NULL);
    """),
    Step("mailboxes", """
        CREATE TABLE owner (
            id BIGINT PRIMARY KEY,                          -- random: nobody counts for all
            name TEXT COLLATE "C" NOT NULL UNIQUE,
            uidvalidity BIGINT NOT NULL DEFAULT 0,          -- the last one given
            boxes BIGINT NOT NULL DEFAULT 0,                -- the last mailbox number
            mids BIGINT NOT NULL DEFAULT 0);                -- the last message number
        CREATE TABLE mailbox (
            account BIGINT NOT NULL, id BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL, uidvalidity BIGINT NOT NULL,
            uidnext BIGINT NOT NULL DEFAULT 1, highestmodseq BIGINT NOT NULL DEFAULT 1, vanish_floor BIGINT NOT NULL DEFAULT 0,
            special_use TEXT NOT NULL DEFAULT '', subscribed INTEGER NOT NULL DEFAULT 1, objectid TEXT NOT NULL,
            messages BIGINT NOT NULL DEFAULT 0, unseen BIGINT NOT NULL DEFAULT 0, deleted BIGINT NOT NULL DEFAULT 0,
            octets BIGINT NOT NULL DEFAULT 0, recent_floor BIGINT NOT NULL DEFAULT 1, created BIGINT NOT NULL,
            PRIMARY KEY (account, id), UNIQUE (account, name)) WITH (fillfactor = 70);
        CREATE TABLE keyword (
            account BIGINT NOT NULL, mailbox BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL, bit INTEGER NOT NULL,
            PRIMARY KEY (account, mailbox, name));
        CREATE TABLE state (
            account BIGINT NOT NULL, mailbox BIGINT NOT NULL, uid BIGINT NOT NULL, flags BIGINT NOT NULL, modseq BIGINT NOT NULL,
            mid BIGINT NOT NULL, savedate BIGINT NOT NULL,
            PRIMARY KEY (account, mailbox, uid)) WITH (fillfactor = 80);
        CREATE INDEX state_mid ON state (account, mid);
        CREATE TABLE vanished (
            account BIGINT NOT NULL, mailbox BIGINT NOT NULL, modseq BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL,
            PRIMARY KEY (account, mailbox, modseq, first));
        CREATE TABLE tomb (
            account BIGINT NOT NULL, mailbox BIGINT NOT NULL, uid BIGINT NOT NULL, flags BIGINT NOT NULL, mid BIGINT NOT NULL,
            savedate BIGINT NOT NULL, expunged BIGINT NOT NULL,
            PRIMARY KEY (account, mailbox, uid));
        CREATE INDEX tomb_mid ON tomb (account, mid);
        CREATE INDEX tomb_expunged ON tomb (expunged);
        CREATE TABLE msg (
            account BIGINT NOT NULL, mid BIGINT NOT NULL, blob BYTEA NOT NULL, length BIGINT NOT NULL, prefix BYTEA NOT NULL,
            internaldate BIGINT NOT NULL, emailid TEXT NOT NULL, threadid TEXT NOT NULL,
            octets BYTEA,                                   -- of a small content that is kept here; NULL: it is an object
            PRIMARY KEY (account, mid));
        CREATE INDEX msg_blob ON msg (blob);
        CREATE TABLE derived (
            account BIGINT NOT NULL, mid BIGINT NOT NULL, version INTEGER NOT NULL, header_length BIGINT NOT NULL,
            envelope BYTEA NOT NULL, bodystructure BYTEA NOT NULL, body BYTEA NOT NULL, parts BYTEA NOT NULL, fields BYTEA,
            preview TEXT NOT NULL, sent BIGINT NOT NULL, date_only BIGINT NOT NULL, subject_key TEXT NOT NULL, reply BIGINT NOT NULL,
            from_key TEXT NOT NULL, to_key TEXT NOT NULL, cc_key TEXT NOT NULL, display_from TEXT NOT NULL, display_to TEXT NOT NULL,
            from_text TEXT NOT NULL, to_text TEXT NOT NULL, cc_text TEXT NOT NULL, bcc_text TEXT NOT NULL, subject_text TEXT NOT NULL,
            "references" BYTEA NOT NULL, header_text TEXT NOT NULL, text TEXT NOT NULL,
            PRIMARY KEY (account, mid));
        CREATE TABLE relative (account BIGINT NOT NULL, hash BIGINT NOT NULL, threadid TEXT NOT NULL, PRIMARY KEY (account, hash));
        CREATE TABLE delivered (
            account BIGINT NOT NULL, received BIGINT NOT NULL, queue_id TEXT COLLATE "C" NOT NULL, recipient INTEGER NOT NULL,
            mailbox TEXT NOT NULL, uidvalidity BIGINT NOT NULL, uid BIGINT NOT NULL, at BIGINT NOT NULL,
            PRIMARY KEY (account, received, queue_id, recipient));
        CREATE INDEX delivered_at ON delivered (at);
        CREATE TABLE change (
            account BIGINT NOT NULL, mailbox BIGINT NOT NULL, modseq BIGINT NOT NULL, kind TEXT NOT NULL, uids TEXT NOT NULL,
            added BIGINT NOT NULL, removed BIGINT NOT NULL,
            PRIMARY KEY (account, mailbox, modseq));
        CREATE TABLE subscription (account BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL, PRIMARY KEY (account, name));
        CREATE TABLE metadata (
            account BIGINT NOT NULL, mailbox BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL, value BYTEA NOT NULL,
            PRIMARY KEY (account, mailbox, name));
        CREATE TABLE acl (
            account BIGINT NOT NULL, mailbox BIGINT NOT NULL, identifier TEXT COLLATE "C" NOT NULL, rights TEXT NOT NULL,
            PRIMARY KEY (account, mailbox, identifier));
        CREATE INDEX acl_identifier ON acl (identifier);
        CREATE TABLE removed (
            account BIGINT NOT NULL, mailbox BIGINT NOT NULL, name TEXT NOT NULL, special_use TEXT NOT NULL, keywords TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (account, mailbox));
        CREATE INDEX removed_at ON removed (at);
    """),
    Step("contents", """
        CREATE TABLE garbage (blob BYTEA PRIMARY KEY, since BIGINT NOT NULL);
        CREATE INDEX garbage_since ON garbage (since);
        CREATE TABLE doomed (blob BYTEA PRIMARY KEY, at BIGINT NOT NULL, gone BIGINT);
    """),
    Step("queue", """
        CREATE TABLE node (name TEXT COLLATE "C" PRIMARY KEY, fence BIGINT NOT NULL, until TIMESTAMPTZ NOT NULL, version TEXT NOT NULL);
        CREATE TABLE message (
            id TEXT COLLATE "C" PRIMARY KEY, node TEXT COLLATE "C" NOT NULL, seq BIGINT NOT NULL, queue TEXT COLLATE "C" NOT NULL,
            state INTEGER NOT NULL, due DOUBLE PRECISION NOT NULL, attempts INTEGER NOT NULL, deaths INTEGER NOT NULL,
            pushed DOUBLE PRECISION NOT NULL, size BIGINT NOT NULL, sha256 BYTEA NOT NULL, bare BOOLEAN NOT NULL, sender TEXT NOT NULL,
            recipients TEXT NOT NULL, count INTEGER NOT NULL, results TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
            envelope BYTEA NOT NULL) WITH (fillfactor = 70);
        CREATE INDEX message_order ON message (node, queue, state, due, seq);
        CREATE INDEX message_content ON message (sha256);
        CREATE TABLE tally (
            node TEXT COLLATE "C" NOT NULL, queue TEXT COLLATE "C" NOT NULL, word TEXT COLLATE "C" NOT NULL, messages BIGINT NOT NULL,
            PRIMARY KEY (node, queue, word));
    """),
    Step("moving", """
        CREATE TABLE moving (id TEXT PRIMARY KEY, phase TEXT NOT NULL, until TIMESTAMPTZ NOT NULL);
    """, additive=True),
)


def migrate(db: Database, steps: Sequence[Step] = STEPS) -> int:
    """Bring the database to the newest of `steps`, beside nodes that run on it; how many were applied. Raises DatabaseError, StoreFailed."""
    where = "the database"
    if not db.rows("SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'migration'"):
        _once(db, """CREATE TABLE IF NOT EXISTS migration (
            number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, additive BOOLEAN NOT NULL)""")
    due = missing([Applied(*row) for row in db.rows("SELECT number, name, checksum, additive FROM migration ORDER BY number")], steps, where)
    for number, step in due:
        _apply(db, number, step)
    missing([Applied(*row) for row in db.rows("SELECT number, name, checksum, additive FROM migration ORDER BY number")], steps, where)
    return len(due)


def _once(db: Database, sql: str) -> None:
    """Two nodes that make the first table at the same time: one of them is too late, and has it."""
    try:
        db.rows(sql)
    except (asyncpg.UniqueViolationError, StoreFailed):
        db.rows("SELECT 1 FROM migration")


def _apply(db: Database, number: int, step: Step) -> None:
    """One step, with its row first: another node that applies it at the same time waits there, and then finds it done."""
    for attempt in range(TRIES):
        try:
            with db.transaction():
                db.rows(f"SET LOCAL lock_timeout = '{LOCK}'")
                if db.rows("INSERT INTO migration VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1",
                           number, step.name, step.checksum, step.additive):
                    for statement in filter(str.strip, _without_comments(step.sql).split(";")):
                        db.rows(statement)
            return
        except (Conflicted, StoreFailed) as error:
            if attempt == TRIES - 1 or "lock timeout" not in str(error) and not isinstance(error, Conflicted):
                raise DatabaseError(f"step {number} {step.name!r}: {error}") from error


def _without_comments(sql: str) -> str:
    return "\n".join(line.partition("--")[0] for line in sql.splitlines())
