"""Reading mailboxes from PostgreSQL (ports.reader.Reader): fm-imap of every node asks the database itself, nothing in between.

Made by fm-imap, by fm-mailbox for its reading verbs, by tests. What takes several statements is read in one REPEATABLE READ transaction: one moment.
What was not derived yet it has fm-mailbox derive (`derive`). Words are looked for by the database. Octets come from `contents` (storage/s3/blobs.py).
"""

from __future__ import annotations

import asyncio
import functools
from array import array
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fancymail.mail import uidset
from fancymail.mail.derived import VERSION
from fancymail.mail.uidset import LARGEST, Ranges
from fancymail.storage.ports.mailboxes import Mailbox, State
from fancymail.storage.ports.reader import STORED, Changes, Content, Loaded, MailboxGone, Shared

from .annotations import MAILBOX, SIZE, columns
from .database import Database
from .delivery import FIELDS
from .mailboxes import SHARED, shares
from .texts import clean

LOGGED = 100                    # changes that the log surely has; with more, all messages are looked at
SCATTERED = 400                 # ranges of UIDs in these from which on, too
SMALL = 64 << 10                # octets up to which a content may be kept with its row
SLICE = 2000                    # messages whose texts are looked through by one statement
MINE = "(SELECT id FROM owner WHERE name = $1)"
OWN = f"SELECT {MAILBOX} FROM mailbox WHERE account = {MINE}"

_SOURCES = {"savedate": "box.savedate", "size": SIZE, "length": "msg.length", "prefix": "msg.prefix", "blob": "msg.blob",
            "internaldate": "msg.internaldate", "emailid": "msg.emailid", "threadid": "msg.threadid", "octets": "msg.octets",
            **{field: f'derived."{field}"' for field in FIELDS}}
_MSG = " JOIN msg ON msg.account = box.account AND msg.mid = box.mid"
_DERIVED = f" LEFT JOIN derived ON derived.account = box.account AND derived.mid = box.mid AND derived.version = {VERSION}"
_PLACES = {"header": ("header_text",), "body": ("text",), "text": ("header_text", "text")}

Derive = Callable[[str, int, Ranges], Awaitable[None]]


def in_task(method: Callable) -> Callable:
    """A session of fm-imap takes the first steps of a command outside of any task; asyncpg wants to be in one."""
    @functools.wraps(method)
    async def call(*values: Any, **named: Any) -> Any:
        return await asyncio.get_running_loop().create_task(method(*values, **named))
    return call


async def nothing(account: str, mailbox: int, uids: Ranges) -> None:
    """Derive nothing."""


class PostgresReader:
    """All accounts of the cluster."""

    def __init__(self, db: Database, contents: Any, derive: Derive | None = None) -> None:
        """contents: its coroutine `octets(content, start, length)` gives octets of a message; raises KeyError."""
        self.db, self.contents, self.derive = db, contents, derive or nothing

    @in_task
    async def mailboxes(self, account: str) -> list[Mailbox]:
        """All of an account."""
        return list(map(Mailbox._make, await self.db.fetch(f"{OWN} ORDER BY name", account)))

    @in_task
    async def mailbox(self, account: str, name: str) -> Mailbox | None:
        """One, or None."""
        return next(map(Mailbox._make, await self.db.fetch(f"{OWN} AND name = $2", account, name)), None)

    @in_task
    async def subscriptions(self, account: str) -> list[str]:
        """Subscribed names."""
        return [name for name, in await self.db.fetch(f"SELECT name FROM mailbox WHERE account = {MINE} AND subscribed <> 0 "
                                                      f"UNION SELECT name FROM subscription WHERE account = {MINE} ORDER BY name", account)]

    @in_task
    async def metadata(self, account: str, mailbox: int = 0) -> dict[str, bytes]:
        """Entries of a mailbox or of the account."""
        return dict(await self.db.fetch(f"SELECT name, value FROM metadata WHERE account = {MINE} AND mailbox = $2 ORDER BY name", account, mailbox))

    @in_task
    async def acl(self, account: str, mailbox: int) -> dict[str, str]:
        """Identifier -> rights."""
        return dict(await self.db.fetch(f"SELECT identifier, rights FROM acl WHERE account = {MINE} AND mailbox = $2 ORDER BY identifier",
                                        account, mailbox))

    @in_task
    async def shared(self, account: str) -> list[Shared]:
        """What others gave an account rights to."""
        rows = await self.db.fetch(SHARED, [account, f"-{account}", "anyone", "-anyone"], account)
        return [Shared(*row) for row in shares(rows, account)]

    def open(self, account: str, mailbox: int) -> PostgresBox:
        """One mailbox."""
        return PostgresBox(self, account, mailbox)

    def close(self) -> None:
        """The database is its maker's to close."""


class PostgresBox:
    """One mailbox (ports.reader.BoxReader)."""

    __slots__ = ("reader", "account", "mailbox", "number")

    def __init__(self, reader: PostgresReader, account: str, mailbox: int) -> None:
        self.reader, self.account, self.mailbox, self.number = reader, account, mailbox, 0

    @in_task
    async def load(self) -> Loaded:
        """All of it."""
        async with self.reader.db.moment() as fetch:
            box, keywords = await self._box(fetch), await self._keywords(fetch)
            rows = await fetch("SELECT uid, flags, modseq FROM state WHERE account = $1 AND mailbox = $2 ORDER BY uid", self.number, self.mailbox)
        uids, flags, modseqs = zip(*rows) if rows else ((), (), ())
        return Loaded(box, keywords, array("I", uids), array("Q", flags), array("Q", modseqs))

    @in_task
    async def changes(self, modseq: int, uidnext: int) -> Changes:
        """What became of it since."""
        async with self.reader.db.moment() as fetch:
            box, keywords = await self._box(fetch), await self._keywords(fetch)
            if box.highestmodseq == modseq:
                return Changes(box, keywords, [], [])
            vanished = None
            if modseq >= box.vanish_floor:
                vanished = uidset.merge(map(tuple, await fetch("SELECT first, last FROM vanished WHERE account = $1 AND mailbox = $2 AND modseq > $3",
                                                               self.number, self.mailbox, modseq)))
            joined, values = _within(await self._suspects(fetch, box, modseq, uidnext))
            rows = await fetch(f"SELECT box.uid, box.flags, box.modseq FROM state AS box {joined} AND box.modseq > $3 ORDER BY box.uid",
                               self.number, self.mailbox, modseq, *values)
        return Changes(box, keywords, list(map(State._make, rows)), vanished)

    @in_task
    async def columns(self, names: Sequence[str], uids: Ranges, kept: bool = False) -> list[tuple]:
        """Values in bulk."""
        if not uids:
            return []
        rows, lacking = await self._columns(names, uids, kept)
        if lacking:
            await self.reader.derive(self.account, self.mailbox, uidset.ranges(lacking))
            rows, lacking = await self._columns(names, uids, kept)
            if lacking:                     # they went meanwhile, or fm-mailbox could not
                without = set(lacking)
                rows = [row for row in rows if row[0] not in without]
        return rows

    @in_task
    async def octets(self, content: Content, start: int = 0, length: int | None = None) -> bytes:
        """Octets of a message."""
        if content.length <= SMALL and (kept := await self._kept(content)) is not None:
            whole = content.prefix + kept
            return whole[start:] if length is None else whole[start:start + length]
        return await self.reader.contents.octets(content, start, length)

    async def _kept(self, content: Content) -> bytes | None:
        rows = await self.reader.db.fetch(f"SELECT octets FROM msg WHERE account = {MINE} AND blob = $2 AND octets IS NOT NULL LIMIT 1",
                                          self.account, content.blob)
        return rows[0][0] if rows else None

    @in_task
    async def matching(self, words: Sequence[str], place: str, uids: Ranges) -> list[int]:
        """UIDs of those with all the words; the database looks through the texts, a slice of messages at a time."""
        there = [row[0] for row in await self.columns(("version",), uids)]          # derives what was not
        texts = _PLACES[place]
        tests = " AND ".join("(" + " OR ".join(f"strpos(derived.{text}, ${number}) > 0" for text in texts) + ")"
                             for number in range(3, 3 + len(words))) or "true"
        found: list[int] = []
        for start in range(0, len(there), SLICE):
            joined, values = _within(uidset.ranges(there[start:start + SLICE]), _DERIVED, 3 + len(words))
            found += [uid for uid, in await self.reader.db.fetch(f"SELECT box.uid FROM state AS box {joined} AND {tests} ORDER BY box.uid",
                                                                 self.number, self.mailbox, *map(clean, words), *values)]
        return found

    async def _columns(self, names: Sequence[str], uids: Ranges, kept: bool) -> tuple[list[tuple], list[int]]:
        """Rows, and the UIDs of those of which nothing was derived."""
        derived = any(name in FIELDS for name in names)
        joins = (_MSG if any(name in STORED and name != "savedate" for name in names) else "") + (_DERIVED if derived else "")
        wanted = ["box.uid", *(_SOURCES[name] for name in names), *(["derived.version"] if derived else [])]
        joined, values = _within(uids, joins, 3)
        sql = f"SELECT {', '.join(wanted)} FROM {'tomb' if kept else 'state'} AS box {joined} ORDER BY box.uid"
        if kept:
            number = await self._number(self.reader.db.fetch)
            rows = await self.reader.db.fetch(sql, number, self.mailbox, *values)
        else:
            async with self.reader.db.moment() as fetch:
                await self._box(fetch)
                rows = await fetch(sql, self.number, self.mailbox, *values)
        if not derived:
            return list(map(tuple, rows)), []
        return [tuple(row)[:-1] for row in rows], [row[0] for row in rows if row[-1] is None]

    async def _suspects(self, fetch: Callable, box: Mailbox, modseq: int, uidnext: int) -> Ranges:
        """The UIDs among which are all that changed since."""
        if box.highestmodseq - modseq > LOGGED:
            return [(1, LARGEST)]
        rows = await fetch("SELECT uids FROM change WHERE account = $1 AND mailbox = $2 AND modseq > $3 AND kind = 'flags'",
                           self.number, self.mailbox, modseq)
        pairs = [pair for uids, in rows for pair in uidset.parse(uids)]
        return uidset.merge([*pairs, (uidnext, LARGEST)]) if len(pairs) <= SCATTERED else [(1, LARGEST)]

    async def _box(self, fetch: Callable) -> Mailbox:
        rows = await fetch(f"SELECT account, {MAILBOX} FROM mailbox WHERE account = {MINE} AND id = $2", self.account, self.mailbox)
        if not rows:
            raise MailboxGone(str(self.mailbox))
        self.number, *box = rows[0]
        return Mailbox._make(box)

    async def _number(self, fetch: Callable) -> int:
        rows = await fetch("SELECT id FROM owner WHERE name = $1", self.account)
        return rows[0][0] if rows else 0

    async def _keywords(self, fetch: Callable) -> dict[str, int]:
        rows = await fetch("SELECT name, bit FROM keyword WHERE account = $1 AND mailbox = $2 ORDER BY bit", self.number, self.mailbox)
        return {name: 1 << bit for name, bit in rows}


def _within(uids: Ranges, joins: str = "", number: int = 4) -> tuple[str, tuple]:
    """The messages of some UIDs as what stands behind FROM table AS box; and its parameters, from `number` on. $1 is the account, $2 the mailbox."""
    where = "WHERE box.account = $1 AND box.mailbox = $2"
    if len(uids) == 1:
        return f"{joins} {where} AND box.uid BETWEEN ${number} AND ${number + 1}", uids[0]
    return (f"JOIN unnest(${number}::bigint[], ${number + 1}::bigint[]) AS pair(first, last) ON box.uid BETWEEN pair.first AND pair.last"
            f"{joins} {where}"), columns(uids)
