"""Mailbox state in PostgreSQL (ports.mailboxes.MailboxStore): all accounts in one database, written by the fm-mailbox of every node.

Opened by fm-mailbox. Whoever changes anything of an account locks the account's row first, so the changes of one account follow each other, on
whatever node they are made; different accounts never wait for each other. Messages' octets are not here but in storage/s3/blobs.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fancymail.mail.derived import Derived
from fancymail.storage.ports.mailboxes import Keep, Mailbox, Underived, effective_rights

from .account import CHANGES_KEPT, PostgresAccount
from .annotations import LACKING, MAILBOX, UNDERIVED
from .contents import SETTLE, collect, throw_away
from .database import Database, Transaction, transactional
from .delivery import keep as keep_derived
from .schema import migrate

SLICE = 1000                    # rows of one kind that one purge lets go: it runs between deliveries
UNUSED = """NOT EXISTS (SELECT 1 FROM state WHERE state.account = msg.account AND state.mid = msg.mid)
    AND NOT EXISTS (SELECT 1 FROM tomb WHERE tomb.account = msg.account AND tomb.mid = msg.mid)"""


class PostgresMailboxes:
    """All accounts of the cluster."""

    def __init__(self, db: Database, changes: int = CHANGES_KEPT, settle: int = SETTLE) -> None:
        """settle: seconds of storage/postgres/contents.py; 0 where nobody else writes. Raises DatabaseError, StoreFailed."""
        self.db, self.changes, self.settle = db, changes, settle
        migrate(db)

    def account(self, name: str) -> PostgresAccount:
        """The mailboxes of an account."""
        return PostgresAccount(self.db, name, self.changes)

    def accounts(self) -> list[str]:
        """Those that have mailboxes."""
        return [name for name, in self.db.rows(
            "SELECT name FROM owner WHERE EXISTS (SELECT 1 FROM mailbox WHERE mailbox.account = owner.id) ORDER BY name")]

    def transaction(self) -> Transaction:
        """Over all accounts; one transaction of the database."""
        return self.db.transaction()

    def shared(self, account: str) -> list[tuple[str, Mailbox, str]]:
        """What others gave an account rights to."""
        rows = self.db.rows(SHARED, [account, f"-{account}", "anyone", "-anyone"], account)
        return shares(rows, account)

    @transactional
    def ungrant(self, identifier: str) -> None:
        """Take somebody from all access lists."""
        self.db.rows("DELETE FROM acl WHERE identifier = ANY($1)", [identifier, f"-{identifier}"])

    def underived(self, version: int, after: tuple[int, int], limit: int) -> tuple[list[Underived], tuple[int, int] | None]:
        """Of the next messages those of which nothing of this version was derived."""
        places = self.db.rows("SELECT account, mid FROM msg WHERE (account, mid) > ($1, $2) ORDER BY account, mid LIMIT $3", *after, limit)
        if not places:
            return [], None
        last = tuple(places[-1])
        rows = self.db.rows(f"SELECT {UNDERIVED} FROM msg WHERE (msg.account, msg.mid) > ($1, $2) AND {LACKING % 3} "
                            "AND (msg.account, msg.mid) <= ($4, $5) ORDER BY msg.account, msg.mid", *after, version, *last)
        return [Underived((account, mid), *row) for account, mid, *row in rows], last

    @transactional
    def derive(self, rows: Sequence[tuple[Underived, Derived]]) -> None:
        """Keep what was derived of messages that are still there. A message's number is never that of another one."""
        accounts, mids = zip(*(message.place for message, _ in rows)) if rows else ((), ())
        there = {tuple(row) for row in self.db.rows(
            "SELECT msg.account, msg.mid FROM msg JOIN unnest($1::bigint[], $2::bigint[]) AS each(account, mid) "
            "ON msg.account = each.account AND msg.mid = each.mid", list(accounts), list(mids))}
        keep_derived(self.db, [(message.place, value) for message, value in rows if message.place in there])

    def purge(self, now: int, keep: Keep) -> list[bytes]:
        """Let go of what is older than `keep` says; see the port. Several nodes may do so at the same time."""
        return self.db.retried(lambda: self._purge(now, keep))

    def overdue(self, now: int, keep: Keep) -> bool:
        """Whether anything is older than `keep` says."""
        return self.db.one("SELECT EXISTS (SELECT 1 FROM tomb WHERE expunged < $1) OR EXISTS (SELECT 1 FROM removed WHERE at < $1) "
                           "OR EXISTS (SELECT 1 FROM delivered WHERE at < $2) OR EXISTS (SELECT 1 FROM garbage WHERE since <= $3) "
                           "OR EXISTS (SELECT 1 FROM doomed WHERE gone IS NULL AND at <= $4)",
                           now - keep.expunged, now - keep.delivered, now - keep.blobs, now - self.settle)[0]

    def _purge(self, now: int, keep: Keep) -> list[bytes]:
        rows = self.db.rows(f"DELETE FROM tomb WHERE (account, mailbox, uid) IN (SELECT account, mailbox, uid FROM tomb WHERE expunged < $1 "
                            f"ORDER BY expunged LIMIT {SLICE} FOR UPDATE SKIP LOCKED) RETURNING account, mid", now - keep.expunged)
        drop_unused(self.db, now, [tuple(row) for row in rows])
        self.db.rows(f"DELETE FROM removed WHERE (account, mailbox) IN (SELECT account, mailbox FROM removed WHERE at < $1 LIMIT {SLICE} "
                     "FOR UPDATE SKIP LOCKED)", now - keep.expunged)
        self.db.rows("DELETE FROM delivered WHERE (account, received, queue_id, recipient) IN (SELECT account, received, queue_id, recipient "
                     f"FROM delivered WHERE at < $1 ORDER BY at LIMIT {SLICE} FOR UPDATE SKIP LOCKED)", now - keep.delivered)
        return collect(self.db, now, keep.blobs, self.settle)

    @transactional
    def referenced(self, blobs: Iterable[bytes]) -> set[bytes]:
        """Those that have to stay: some message names them, or (with others who write) nobody can tell yet, and they are noted as garbage."""
        blobs = list(blobs)
        named = {blob for blob, in self.db.rows("SELECT blob FROM msg WHERE blob = ANY($1) AND octets IS NULL UNION "
                                                "SELECT sha256 FROM message WHERE sha256 = ANY($1)", blobs)}
        if not self.settle:
            return named
        throw_away(self.db, set(blobs) - named, int(self.db.one("SELECT extract(epoch FROM now())::bigint")[0]))
        return set(blobs)

    def close(self) -> None:
        """The database is its maker's to close."""


SHARED = f"""SELECT owner.name, acl.identifier, acl.rights, {MAILBOX} FROM acl
    JOIN mailbox ON mailbox.account = acl.account AND mailbox.id = acl.mailbox
    JOIN owner ON owner.id = acl.account WHERE acl.identifier = ANY($1) AND owner.name <> $2"""


def shares(rows: Iterable, account: str) -> list[tuple[str, Mailbox, str]]:
    """(owner, mailbox, rights) from the rows of SHARED: RFC 4314 2."""
    granted: dict[tuple[str, Mailbox], dict[str, str]] = {}
    for owner, identifier, rights, *box in rows:
        granted.setdefault((owner, Mailbox._make(box)), {})[identifier] = rights
    found = [(owner, box, effective_rights(rights, account)) for (owner, box), rights in granted.items()]
    return sorted((row for row in found if row[2]), key=lambda row: (row[0], row[1].name))


def drop_unused(db: Database, now: int, places: list[tuple[int, int]]) -> None:
    """Delete those messages that are in no mailbox and no tomb any more; their blobs may be garbage from now on."""
    if not places:
        return
    accounts, mids = map(list, zip(*dict.fromkeys(places)))
    gone = db.rows("DELETE FROM msg USING unnest($1::bigint[], $2::bigint[]) AS each(account, mid) WHERE msg.account = each.account "
                   f"AND msg.mid = each.mid AND {UNUSED} RETURNING msg.account, msg.mid, msg.blob, msg.octets IS NULL", accounts, mids)
    if gone:
        accounts, mids = [row[0] for row in gone], [row[1] for row in gone]
        db.rows("DELETE FROM derived USING unnest($1::bigint[], $2::bigint[]) AS each(account, mid) "
                "WHERE derived.account = each.account AND derived.mid = each.mid", accounts, mids)
        throw_away(db, [blob for *_, blob, large in gone if large], now)
