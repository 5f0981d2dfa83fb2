"""What is said about mailboxes besides their messages, in PostgreSQL: subscriptions, metadata, access lists; and what is made anew.

The lower half of storage/postgres/account.py. Every method is one transaction, nested in the caller's if there is one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from fancymail.mail.mailbox import DELETED, SEEN
from fancymail.mail.uidset import Ranges
from fancymail.storage.ports.mailboxes import Mailbox, Name, NoSuchMailbox, Underived

from .database import Database, transactional

MAILBOX = ", ".join(f"mailbox.{column}" for column in Mailbox._fields)
SIZE = "(msg.length + length(msg.prefix))"
LACKING = "NOT EXISTS (SELECT 1 FROM derived WHERE derived.account = msg.account AND derived.mid = msg.mid AND derived.version = $%d)"
UNDERIVED = "msg.account, msg.mid, msg.blob, msg.length, msg.prefix, msg.internaldate, msg.octets"
JOINED = "JOIN msg ON msg.account = {0}.account AND msg.mid = {0}.mid"


class Annotations:
    """Half of an account's mailboxes; `mailbox(name)` is in the other."""

    __slots__ = ("db", "name", "_number")

    db: Database
    name: str

    @transactional
    def subscribe(self, name: str, subscribed: bool) -> None:
        """Set or clear the subscription of a name, whatever has it."""
        account, box = self.lock(), self.mailbox(name)
        if box is not None:
            self.db.rows("UPDATE mailbox SET subscribed = $3 WHERE account = $1 AND id = $2", account, box.id, int(subscribed))
        elif subscribed:
            self.db.rows("INSERT INTO subscription VALUES ($1, $2) ON CONFLICT DO NOTHING", account, name)
        if not subscribed:              # a mailbox may have got the name of one that is gone
            self.db.rows("DELETE FROM subscription WHERE account = $1 AND name = $2", account, name)

    def subscriptions(self) -> list[str]:
        """Subscribed names."""
        return [name for name, in self.db.rows("SELECT name FROM mailbox WHERE account = $1 AND subscribed <> 0 "
                                               "UNION SELECT name FROM subscription WHERE account = $1 ORDER BY name", self.number())]

    def metadata(self, name: Name | None) -> dict[str, bytes]:
        """Entries of a mailbox, or of the account."""
        mailbox = 0 if name is None else self._find(name).id
        return dict(self.db.rows("SELECT name, value FROM metadata WHERE account = $1 AND mailbox = $2 ORDER BY name", self.number(), mailbox))

    @transactional
    def set_metadata(self, name: Name | None, entries: Mapping[str, bytes | None]) -> None:
        """Set entries, or take them away."""
        account, mailbox = self.lock(), 0 if name is None else self._find(name).id
        for entry, value in entries.items():
            if value is None:
                self.db.rows("DELETE FROM metadata WHERE account = $1 AND mailbox = $2 AND name = $3", account, mailbox, entry)
            else:
                self.db.rows("INSERT INTO metadata VALUES ($1, $2, $3, $4) ON CONFLICT (account, mailbox, name) DO UPDATE SET value = excluded.value",
                             account, mailbox, entry, value)

    def acl(self, name: Name) -> dict[str, str]:
        """Identifier -> rights."""
        return dict(self.db.rows("SELECT identifier, rights FROM acl WHERE account = $1 AND mailbox = $2 ORDER BY identifier",
                                 self.number(), self._find(name).id))

    @transactional
    def grant(self, name: Name, identifier: str, rights: str) -> None:
        """Give exactly these rights."""
        account, box = self.lock(), self._find(name)
        if rights:
            self.db.rows("INSERT INTO acl VALUES ($1, $2, $3, $4) ON CONFLICT (account, mailbox, identifier) DO UPDATE SET rights = excluded.rights",
                         account, box.id, identifier, rights)
        else:
            self.db.rows("DELETE FROM acl WHERE account = $1 AND mailbox = $2 AND identifier = $3", account, box.id, identifier)

    def underived(self, name: Name, uids: Ranges, version: int) -> list[Underived]:
        """Of these messages, those of which nothing of this version was derived. A number may be that of a mailbox that is gone."""
        box = self.mailbox(name)
        if box is None and not isinstance(name, int):
            raise NoSuchMailbox(name)
        number = box.id if box else name
        sql = " UNION ".join(f"SELECT {UNDERIVED} FROM {table} {JOINED.format(table)} JOIN unnest($3::bigint[], $4::bigint[]) AS pair(first, last) "
                             f"ON {table}.uid BETWEEN pair.first AND pair.last WHERE {table}.account = $1 AND {table}.mailbox = $2 AND {LACKING % 5}"
                             for table in ("state", "tomb"))
        rows = self.db.rows(f"{sql} ORDER BY mid", self.number(), number, *columns(uids), version)
        return [Underived((account, mid), *row) for account, mid, *row in rows]

    @transactional
    def rebuild(self) -> None:
        """Count all mailboxes anew, and forget what was derived; at a new modseq, from before which nobody learns what is new, but all."""
        account = self.lock()
        for box in self.mailboxes():
            counts = self.db.one(f"""SELECT count(*), count(*) FILTER (WHERE flags & {SEEN} = 0), count(*) FILTER (WHERE flags & {DELETED} <> 0),
                coalesce(sum({SIZE}), 0)::bigint, greatest(max(uid), (SELECT max(uid) FROM tomb WHERE account = $1 AND mailbox = $2),
                (SELECT max(last) FROM vanished WHERE account = $1 AND mailbox = $2), 0) + 1, coalesce(max(modseq), 0)
                FROM state {JOINED.format("state")} WHERE state.account = $1 AND mailbox = $2""", account, box.id)
            self.db.rows("UPDATE mailbox SET messages = $3, unseen = $4, deleted = $5, octets = $6, uidnext = greatest(uidnext, $7), "
                         "highestmodseq = greatest(highestmodseq, $8) + 1, vanish_floor = greatest(highestmodseq, $8) + 1 "
                         "WHERE account = $1 AND id = $2", account, box.id, *counts)
        self.db.rows("DELETE FROM derived WHERE account = $1", account)

    # -- the account's row -------------------------------------------------------------------------------------------------------

    def number(self) -> int:
        """The number of the account; 0 when it has none, which no row has."""
        if not self._number:
            row = self.db.one("SELECT id FROM owner WHERE name = $1", self.name)
            self._number = row[0] if row else 0
        return self._number

    def lock(self) -> int:
        """Have the account for this transaction, made when it has no row; its number."""
        row = self.db.one("SELECT id FROM owner WHERE name = $1 FOR UPDATE", self.name)
        if row is None:
            self.db.rows("INSERT INTO owner (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", secrets.randbits(62), self.name)
            row = self.db.one("SELECT id FROM owner WHERE name = $1 FOR UPDATE", self.name)
        return row[0]

    def _find(self, name: Name) -> Mailbox:
        box = self.mailbox(name)
        if box is None:
            raise NoSuchMailbox(name)
        return box


def columns(uids: Ranges) -> tuple[list[int], list[int]]:
    """Ranges as two arrays."""
    return [first for first, _ in uids], [last for _, last in uids]
