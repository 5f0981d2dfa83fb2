"""The tables of a shard of mailbox state, as migration steps (storage/sqlite/database.py). Their text never changes once released.

What changes is apart from what never does: `marks` (flags and modseqs, 250 UIDs a row: storage/sqlite/marks.py), `entry` (which message a UID is),
`msg`. Rows of `msg` are shared by copies and by tombstones, and counted by these rows alone; a row of `content` lives as long as some row of `msg`
names it. All belongs to an account, so accounts can move between shards and engines.
"""

from __future__ import annotations

from fancymail.storage.sqlite.database import Step

STEPS = (
    Step("shard", """
        CREATE TABLE shard(number INTEGER NOT NULL, count INTEGER NOT NULL) STRICT;
    """),
    Step("mailboxes", """
        CREATE TABLE account(
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            uidvalidity INTEGER NOT NULL DEFAULT 0          -- the last one given; survives the mailboxes that had it
        ) STRICT;

        CREATE TABLE mailbox(
            id INTEGER PRIMARY KEY AUTOINCREMENT,           -- never used again: sessions are bound to it
            account INTEGER NOT NULL REFERENCES account(id),
            name TEXT NOT NULL,
            uidvalidity INTEGER NOT NULL,
            uidnext INTEGER NOT NULL DEFAULT 1,
            highestmodseq INTEGER NOT NULL DEFAULT 1,
            vanish_floor INTEGER NOT NULL DEFAULT 0,
            special_use TEXT NOT NULL DEFAULT '',
            subscribed INTEGER NOT NULL DEFAULT 1,
            objectid TEXT NOT NULL,
            messages INTEGER NOT NULL DEFAULT 0,
            unseen INTEGER NOT NULL DEFAULT 0,
            deleted INTEGER NOT NULL DEFAULT 0,
            octets INTEGER NOT NULL DEFAULT 0,
            recent_floor INTEGER NOT NULL DEFAULT 1,
            created INTEGER NOT NULL,
            UNIQUE(account, name)
        ) STRICT;

        CREATE TABLE keyword(
            mailbox INTEGER NOT NULL, name TEXT NOT NULL, bit INTEGER NOT NULL,
            PRIMARY KEY(mailbox, name)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE state(
            mailbox INTEGER NOT NULL, uid INTEGER NOT NULL,
            flags INTEGER NOT NULL,                         -- bits of mail/mailbox.py, keywords from bit 5
            modseq INTEGER NOT NULL,                        -- no index: a scan of this table is faster than keeping one
            mid INTEGER NOT NULL,
            savedate INTEGER NOT NULL,
            PRIMARY KEY(mailbox, uid)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX state_mid ON state(mid);

        CREATE TABLE vanished(
            mailbox INTEGER NOT NULL, modseq INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
            PRIMARY KEY(mailbox, modseq, first)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE tomb(
            mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, flags INTEGER NOT NULL, mid INTEGER NOT NULL, savedate INTEGER NOT NULL,
            expunged INTEGER NOT NULL,
            PRIMARY KEY(mailbox, uid)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX tomb_mid ON tomb(mid);
        CREATE INDEX tomb_expunged ON tomb(expunged);

        CREATE TABLE msg(
            mid INTEGER PRIMARY KEY,
            account INTEGER NOT NULL,
            blob BLOB NOT NULL,
            length INTEGER NOT NULL,                        -- of the content; with the prefix it is RFC822.SIZE
            prefix BLOB NOT NULL,
            internaldate INTEGER NOT NULL,
            emailid TEXT NOT NULL,
            threadid TEXT NOT NULL
        ) STRICT;
        CREATE INDEX msg_blob ON msg(blob);

        CREATE TABLE reference(
            account INTEGER NOT NULL, hash INTEGER NOT NULL, threadid TEXT NOT NULL,
            PRIMARY KEY(account, hash)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE delivered(
            received INTEGER NOT NULL,                      -- of the envelope: ids are random, so new rows would lie all over the table
            queue_id TEXT NOT NULL, recipient INTEGER NOT NULL, account INTEGER NOT NULL,
            mailbox TEXT NOT NULL, uidvalidity INTEGER NOT NULL, uid INTEGER NOT NULL, at INTEGER NOT NULL,
            PRIMARY KEY(received, queue_id, recipient)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX delivered_at ON delivered(at);

        CREATE TABLE change(
            mailbox INTEGER NOT NULL, modseq INTEGER NOT NULL,
            kind TEXT NOT NULL, uids TEXT NOT NULL, added INTEGER NOT NULL, removed INTEGER NOT NULL,
            PRIMARY KEY(mailbox, modseq)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE garbage(
            blob BLOB PRIMARY KEY, since INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX garbage_since ON garbage(since);
    """),
    Step("derived", """
        CREATE TABLE derived(                               -- mail.derived.Derived but its two long texts; made again from the content at will
            mid INTEGER PRIMARY KEY,
            version INTEGER NOT NULL, header_length INTEGER NOT NULL,
            envelope BLOB NOT NULL, bodystructure BLOB NOT NULL, body BLOB NOT NULL, parts BLOB NOT NULL, fields BLOB,
            preview TEXT NOT NULL, sent INTEGER NOT NULL, date_only INTEGER NOT NULL,
            subject_key TEXT NOT NULL, reply INTEGER NOT NULL, from_key TEXT NOT NULL, to_key TEXT NOT NULL, cc_key TEXT NOT NULL,
            display_from TEXT NOT NULL, display_to TEXT NOT NULL,
            from_text TEXT NOT NULL, to_text TEXT NOT NULL, cc_text TEXT NOT NULL, bcc_text TEXT NOT NULL, subject_text TEXT NOT NULL,
            "references" BLOB NOT NULL
        ) STRICT;

        CREATE TABLE text(                                  -- TEXT as it is, a BLOB when it was worth compressing
            mid INTEGER PRIMARY KEY, header ANY NOT NULL, body ANY NOT NULL
        ) STRICT;

        CREATE TABLE subscription(                          -- of names that no mailbox has
            account INTEGER NOT NULL, name TEXT NOT NULL,
            PRIMARY KEY(account, name)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE metadata(                              -- mailbox 0: of the account
            account INTEGER NOT NULL, mailbox INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
            PRIMARY KEY(account, mailbox, name)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE acl(
            mailbox INTEGER NOT NULL, identifier TEXT NOT NULL, rights TEXT NOT NULL,
            PRIMARY KEY(mailbox, identifier)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX acl_identifier ON acl(identifier);

        CREATE TABLE removed(                               -- mailboxes whose messages can still be brought back
            mailbox INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, special_use TEXT NOT NULL,
            keywords TEXT NOT NULL,                         -- JSON: keyword -> bit
            at INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX removed_name ON removed(account, name, at);
    """),
    Step("contents", """
        CREATE TABLE content(                               -- octets of small messages, apart from msg, which is read without them
            number INTEGER PRIMARY KEY,                     -- ascending: new ones lie side by side
            octets BLOB NOT NULL
        ) STRICT;
        ALTER TABLE msg ADD COLUMN content INTEGER;         -- NULL: they are a blob. Messages of one hash share a content
    """),
    Step("deleted", """
        CREATE INDEX state_deleted ON state(mailbox, uid) WHERE flags & 8;       -- EXPUNGE looks for few among very many
    """),
    Step("content index", """
        DROP INDEX msg_blob;                                -- hashes are random: each message changed a page of it that no other one did
        CREATE INDEX msg_blob ON msg(blob) WHERE content IS NULL;
        CREATE INDEX msg_content ON msg(content) WHERE content IS NOT NULL;
    """),
    Step("marks", """
        CREATE TABLE marks(
            place INTEGER PRIMARY KEY,                      -- mailbox * 2**25 + (uid - 1) / 250
            messages INTEGER NOT NULL, deleted INTEGER NOT NULL, modseq INTEGER NOT NULL,       -- none is above it
            octets BLOB NOT NULL                            -- little-endian pairs of 64 bits: flags, modseq; 0, 0: no such message
        ) STRICT;
        CREATE INDEX marks_deleted ON marks(place) WHERE deleted > 0;                   -- EXPUNGE looks for few among very many
        INSERT INTO marks WITH RECURSIVE
            slot(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM slot WHERE number < 249),
            span AS (SELECT mailbox, (uid - 1) / 250 AS window, max(uid) AS last, count(*) AS messages, sum(flags & 8 <> 0) AS deleted,
                max(modseq) AS modseq FROM state GROUP BY 1, 2)
            SELECT mailbox * 33554432 + window, messages, deleted, modseq, (SELECT unhex(group_concat(
                substr(pair, 15, 2) || substr(pair, 13, 2) || substr(pair, 11, 2) || substr(pair, 9, 2) || substr(pair, 7, 2) ||
                substr(pair, 5, 2) || substr(pair, 3, 2) || substr(pair, 1, 2) || substr(pair, 31, 2) || substr(pair, 29, 2) ||
                substr(pair, 27, 2) || substr(pair, 25, 2) || substr(pair, 23, 2) || substr(pair, 21, 2) || substr(pair, 19, 2) ||
                substr(pair, 17, 2),
                '' ORDER BY number)) FROM (
                SELECT number, printf('%016X%016X', ifnull(state.flags, 0), ifnull(state.modseq, 0)) AS pair FROM slot LEFT JOIN state
                ON state.mailbox = span.mailbox AND state.uid = window * 250 + 1 + number WHERE window * 250 + 1 + number <= last)) FROM span;
        DROP INDEX state_deleted;
        DROP INDEX state_mid;
        ALTER TABLE state DROP COLUMN flags;
        ALTER TABLE state DROP COLUMN modseq;
        ALTER TABLE state RENAME TO entry;
        CREATE INDEX entry_mid ON entry(mid);
    """),
)
