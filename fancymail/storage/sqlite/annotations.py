"""What is said about mailboxes besides their messages, in SQLite: subscriptions, metadata, access lists; and what is made anew.

The lower half of storage/sqlite/account.py. Every method is one transaction, nested in the caller's if there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fancymail.mail import uidset
from fancymail.mail.mailbox import DELETED, SEEN
from fancymail.mail.uidset import Ranges
from fancymail.storage.ports.mailboxes import Mailbox, Name, NoSuchMailbox, State, Underived
from fancymail.storage.sqlite import marks
from fancymail.storage.sqlite.shard import Shard

MAILBOX = ", ".join(f"mailbox.{column}" for column in Mailbox._fields)
SIZE = "length + octet_length(prefix)"
LACKING = "NOT EXISTS (SELECT 1 FROM derived WHERE derived.mid = msg.mid AND derived.version = ?)"
LAST_GONE = ("SELECT max(ifnull((SELECT max(uid) FROM tomb WHERE mailbox = ?1), 0), "
             "ifnull((SELECT max(last) FROM vanished WHERE mailbox = ?1), 0))")
UNDERIVED = "msg.mid, blob, length, prefix, internaldate, octets FROM msg LEFT JOIN content ON content.number = msg.content"


class Annotations:
    """Half of an account's mailboxes; `mailbox(name)` is in the other."""

    __slots__ = ("shard", "name")

    shard: Shard
    name: str

    def subscribe(self, name: str, subscribed: bool) -> None:
        """Set or clear the subscription of a name, whatever has it."""
        with self.shard as shard:
            box = self.mailbox(name)
            if box is not None:
                shard.execute("UPDATE mailbox SET subscribed = ? WHERE id = ?", (int(subscribed), box.id))
            elif subscribed:
                shard.execute("INSERT INTO subscription VALUES (?, ?) ON CONFLICT DO NOTHING", (self._account(), name))
            if not subscribed:          # a mailbox may have got the name of one that is gone
                shard.execute("DELETE FROM subscription WHERE account = ? AND name = ?", (self._account(), name))

    def subscriptions(self) -> list[str]:
        """Subscribed names."""
        account = self._account()
        return sorted(name for (name,) in self.shard.execute("SELECT name FROM mailbox WHERE account = ? AND subscribed "
                                                             "UNION SELECT name FROM subscription WHERE account = ?", (account, account)))

    def metadata(self, name: Name | None) -> dict[str, bytes]:
        """Entries of a mailbox, or of the account."""
        key = self._account(), 0 if name is None else self._find(name).id
        return dict(self.shard.execute("SELECT name, value FROM metadata WHERE account = ? AND mailbox = ? ORDER BY name", key))

    def set_metadata(self, name: Name | None, entries: Mapping[str, bytes | None]) -> None:
        """Set entries, or take them away."""
        with self.shard as shard:
            key = self._account(), 0 if name is None else self._find(name).id
            for entry, value in entries.items():
                if value is None:
                    shard.execute("DELETE FROM metadata WHERE account = ? AND mailbox = ? AND name = ?", (*key, entry))
                else:
                    shard.execute("INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?)", (*key, entry, value))

    def acl(self, name: Name) -> dict[str, str]:
        """Identifier -> rights."""
        return dict(self.shard.execute("SELECT identifier, rights FROM acl WHERE mailbox = ? ORDER BY identifier", (self._find(name).id,)))

    def grant(self, name: Name, identifier: str, rights: str) -> None:
        """Give exactly these rights."""
        with self.shard as shard:
            box = self._find(name)
            if rights:
                shard.execute("INSERT OR REPLACE INTO acl VALUES (?, ?, ?)", (box.id, identifier, rights))
            else:
                shard.execute("DELETE FROM acl WHERE mailbox = ? AND identifier = ?", (box.id, identifier))

    def underived(self, name: Name, uids: Ranges, version: int) -> list[Underived]:
        """Of these messages, those of which nothing of this version was derived. A number may be that of a mailbox that is gone."""
        box = self.mailbox(name)
        if box is None and not isinstance(name, int):
            raise NoSuchMailbox(name)
        number, account = box.id if box else name, self._account()
        sql = " UNION ALL ".join(f"SELECT {UNDERIVED} JOIN {table} ON {table}.mid = msg.mid WHERE mailbox = ? AND uid BETWEEN ? AND ? "
                                 f"AND msg.account = ? AND {LACKING}" for table in ("entry", "tomb"))
        rows = {row[0]: row for pair in uids for row in self.shard.execute(sql, (number, *pair, account, version) * 2)}
        return [Underived((self.shard.number, mid), *row) for mid, *row in rows.values()]

    def rebuild(self) -> None:
        """Count all mailboxes anew, and forget what was derived; at a new modseq, from before which nobody learns what is new, but all."""
        with self.shard as shard:
            account = self._account()
            for box in self.mailboxes():
                sizes = dict(shard.execute(f"SELECT uid, {SIZE} FROM entry JOIN msg USING (mid) WHERE mailbox = ?", (box.id,)))
                states, (gone,) = self._matched(box, sizes), shard.one(LAST_GONE, (box.id,))
                counts = (len(states), sum(not state.flags & SEEN for state in states), sum(bool(state.flags & DELETED) for state in states),
                          sum(sizes.values()), max([gone, *sizes]) + 1, max((state.modseq for state in states), default=0))
                shard.execute("UPDATE mailbox SET messages = ?1, unseen = ?2, deleted = ?3, octets = ?4, uidnext = max(uidnext, ?5), "
                              "highestmodseq = max(highestmodseq, ?6) + 1, vanish_floor = max(highestmodseq, ?6) + 1 WHERE id = ?7",
                              (*counts, box.id))
            for table in ("derived", "text"):
                shard.execute(f"DELETE FROM {table} WHERE mid IN (SELECT mid FROM msg WHERE account = ?)", (account,))

    def _matched(self, box: Mailbox, uids: Iterable[int]) -> list[State]:
        """The marks of a mailbox, made to be those of its entries: others go, and a message that has none is a new one."""
        states = marks.states(self.shard, box.id)
        there, known = set(uids), {state.uid for state in states}
        if there == known:
            return states
        marks.take(self.shard, box.id, uidset.ranges(known - there))
        marks.add(self.shard, box.id, [(uid, 0, box.highestmodseq + 1) for uid in sorted(there - known)])
        return marks.states(self.shard, box.id)

    def _account(self) -> int:
        """The number of the account; made when it has none."""
        row = self.shard.one("SELECT id FROM account WHERE name = ?", (self.name,))
        if row is None:
            with self.shard as shard:
                row = shard.one("INSERT INTO account(name) VALUES (?) RETURNING id", (self.name,))
        return row[0]

    def _find(self, name: Name) -> Mailbox:
        box = self.mailbox(name)
        if box is None:
            raise NoSuchMailbox(name)
        return box
