"""Reading mailboxes from the shards of this machine, beside fm-mailbox (ports.reader.Reader): read-only connections, nothing in between.

Made by fm-imap, by fm-mailbox for its reading verbs, by tests. Each call is one read transaction, so what it gives is one moment. What was
not derived yet it has fm-mailbox derive (`derive`), since it may not write. Looking through texts is done by `run`, in a thread of the caller's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from fancymail.mail import uidset
from fancymail.mail.derived import VERSION
from fancymail.mail.uidset import LARGEST, Ranges
from fancymail.storage.contents import Contents
from fancymail.storage.ports.mailboxes import Mailbox, StoreFailed
from fancymail.storage.ports.reader import KEPT, STORED, Changes, Content, Loaded, MailboxGone, Shared
from fancymail.storage.sqlite import contents, fulltext, marks
from fancymail.storage.sqlite.annotations import MAILBOX, SIZE
from fancymail.storage.sqlite.derived import FIELDS, TEXTS, unpack
from fancymail.storage.sqlite.mailboxes import shared
from fancymail.storage.sqlite.shard import ReadShard, shard_of

OWN = f"SELECT {MAILBOX} FROM mailbox JOIN account ON account.id = mailbox.account WHERE account.name = ?"
ALL_OWN, ONE_OWN = f"{OWN} ORDER BY mailbox.name", f"{OWN} AND mailbox.name = ?"
LOGGED = 100                    # changes that the log surely has; with more, all messages are looked at
SCATTERED = 400                 # ranges of UIDs in these from which on, too
MAPPED = 1 << 30                # octets of a database that are mapped into memory: the same pages for all processes
SLICE = 500                     # texts looked through at a time

# The messages of one run of UIDs, and of many runs, as what stands behind FROM.
RUN = "{table} AS box{joins} WHERE box.mailbox = ? AND box.uid BETWEEN ? AND ?"
RUNS = ("json_each(?) AS pair CROSS JOIN {table} AS box ON box.mailbox = ? AND box.uid BETWEEN pair.value ->> 0 AND pair.value ->> 1"
        "{joins} WHERE 1")
MSG = " CROSS JOIN msg ON msg.mid = box.mid"
DERIVED = f" LEFT JOIN derived ON derived.mid = box.mid AND derived.version = {VERSION}"
KEPT_CONTENT = " LEFT JOIN content ON content.number = msg.content"
TEXT = " LEFT JOIN text ON text.mid = box.mid"
INDEXED = " LEFT JOIN fulltext.indexed AS indexed ON indexed.mid = box.mid AND indexed.emailid = msg.emailid"
# Of some messages those that the index finds or does not know; it is asked about their numbers alone, whatever else it holds.
CANDIDATES = """WITH part AS MATERIALIZED (SELECT box.uid AS uid, box.mid AS mid, indexed.mid AS known FROM {source})
    SELECT uid FROM part WHERE known IS NULL OR mid IN (
        SELECT rowid FROM fulltext.words WHERE words MATCH ? AND rowid BETWEEN (SELECT min(mid) FROM part) AND (SELECT max(mid) FROM part))"""

_SOURCES = {"savedate": "box.savedate", "size": SIZE, "length": "length", "prefix": "prefix", "blob": "blob", "internaldate": "internaldate",
            "emailid": "emailid", "threadid": "threadid", KEPT: "content.octets", "header_text": "text.header", "text": "text.body",
            **{field: f'derived."{field}"' for field in FIELDS}}

Derive = Callable[[str, int, Ranges], Awaitable[None]]
Run = Callable[[Callable[[], Any]], Awaitable[Any]]


async def at_once(work: Callable[[], Any]) -> Any:
    """Do it here and now."""
    return work()


async def nothing(account: str, mailbox: int, uids: Ranges) -> None:
    """Derive nothing."""


class SqliteReader:
    """All accounts of `directory`/shard-N.db, contents in `directory`/blobs. Files are opened when first needed."""

    def __init__(self, directory: Path | str, shards: int = 1, *, derive: Derive = nothing, run: Run = at_once, mapped: int = MAPPED) -> None:
        self.contents = Contents(Path(directory) / "blobs")
        self.derive, self.run = derive, run
        self.shards = [ReadShard(Path(directory) / f"shard-{number}.db", mapped // shards) for number in range(shards)]
        self.scanned = [ReadShard(shard.path, mapped // shards, fulltext.path_of(shard.path)) for shard in self.shards]     # in another thread
        self.scanning = threading.Lock()

    def number(self, account: str) -> int:
        """The shard of an account."""
        return shard_of(account, len(self.shards))

    async def mailboxes(self, account: str) -> list[Mailbox]:
        """All of an account."""
        return self._rows(account, ALL_OWN, (account,), Mailbox._make)

    async def mailbox(self, account: str, name: str) -> Mailbox | None:
        """One, or None."""
        found = self._rows(account, ONE_OWN, (account, name), Mailbox._make)
        return found[0] if found else None

    async def subscriptions(self, account: str) -> list[str]:
        """Subscribed names."""
        mine = "(SELECT id FROM account WHERE name = ?)"
        return sorted(name for (name,) in self._rows(account, f"SELECT name FROM mailbox WHERE account = {mine} AND subscribed "
                                                     f"UNION SELECT name FROM subscription WHERE account = {mine}", (account, account)))

    async def metadata(self, account: str, mailbox: int = 0) -> dict[str, bytes]:
        """Entries of a mailbox or of the account."""
        sql = ("SELECT metadata.name, value FROM metadata JOIN account ON account.id = metadata.account "
               "WHERE account.name = ? AND mailbox = ? ORDER BY metadata.name")
        return dict(self.shards[self.number(account)].read(sql, (account, mailbox)))          # values may be large: they are not remembered

    async def acl(self, account: str, mailbox: int) -> dict[str, str]:
        """Identifier -> rights."""
        return dict(self._rows(account, "SELECT identifier, rights FROM acl JOIN mailbox ON mailbox.id = acl.mailbox JOIN account "
                               "ON account.id = mailbox.account WHERE account.name = ? AND mailbox.id = ? ORDER BY identifier", (account, mailbox)))

    async def shared(self, account: str) -> list[Shared]:
        """What others gave an account rights to."""
        found = []
        for shard in self.shards:
            with shard:
                found += [Shared(*row) for row in shared(shard, account)]
        return sorted(found, key=lambda row: (row.owner, row.mailbox.name))

    def open(self, account: str, mailbox: int) -> SqliteBox:
        """One mailbox."""
        return SqliteBox(self, account, mailbox)

    def close(self) -> None:
        """Let go of the files."""
        with self.scanning:
            for shard in (*self.shards, *self.scanned):
                shard.close()

    def _rows(self, account: str, sql: str, bindings: tuple, make: Callable[[tuple], Any] | None = None) -> list[Any]:
        shards = self.shards
        return (shards[0] if len(shards) == 1 else shards[self.number(account)]).rows(sql, bindings, make)


class SqliteBox:
    """One mailbox (ports.reader.BoxReader)."""

    __slots__ = ("reader", "account", "mailbox", "shard", "_own")

    def __init__(self, reader: SqliteReader, account: str, mailbox: int) -> None:
        self.reader, self.account, self.mailbox = reader, account, mailbox
        self.shard = reader.shards[reader.number(account)]
        self._own = (f"{OWN} AND mailbox.id = ?", (account, mailbox))

    async def load(self) -> Loaded:
        """All of it."""
        with self.shard as shard:
            box = self._box()
            return Loaded(box, self._keywords(), *marks.load(shard, self.mailbox))

    async def changes(self, modseq: int, uidnext: int) -> Changes:
        """What became of it since."""
        key = ("changes", self.account, self.mailbox, modseq)
        if (nothing := self.shard.recall(key)) is not None:
            return nothing
        with self.shard as shard:
            box = self._box()
            if box.highestmodseq == modseq:
                nothing = Changes(box, self._keywords(), [], [])
                self.shard.keep(key, nothing)
                return nothing
            vanished = None
            if modseq >= box.vanish_floor:
                vanished = uidset.merge(shard.execute("SELECT first, last FROM vanished WHERE mailbox = ? AND modseq > ?", (self.mailbox, modseq)))
            states = marks.states(shard, self.mailbox, self._suspects(box, modseq, uidnext), modseq)
            return Changes(box, self._keywords(), states, vanished)

    async def columns(self, names: Sequence[str], uids: Ranges, kept: bool = False) -> list[tuple]:
        """Values in bulk."""
        if not uids:
            return []
        rows, lacking = self._columns(names, uids, kept)
        if not rows and not kept and not self.shard.rows(*self._own):
            raise MailboxGone(str(self.mailbox))
        if lacking:
            await self.reader.derive(self.account, self.mailbox, uidset.ranges(lacking))
            rows, lacking = self._columns(names, uids, kept)
            if lacking:                     # they went meanwhile, or fm-mailbox could not
                without = set(lacking)
                rows = [row for row in rows if row[0] not in without]
        return rows

    async def octets(self, content: Content, start: int = 0, length: int | None = None) -> bytes:
        """Octets of a message."""
        kept = contents.read(self.shard, self.mailbox, content.uid)
        if kept is None:
            return self.reader.contents.octets(content, start, length)
        whole = content.prefix + kept
        return whole[start:] if length is None else whole[start:start + length]

    async def matching(self, words: Sequence[str], place: str, uids: Ranges) -> list[int]:
        """UIDs of those with all the words."""
        there = [row[0] for row in await self.columns(("version",), uids)]          # derives what was not
        if asked := fulltext.query(words):
            there = await self.reader.run(lambda: self._candidates(asked, uids, there))
        found: list[int] = []
        for start in range(0, len(there), SLICE):
            part = uidset.ranges(there[start:start + SLICE])
            found += await self.reader.run(lambda: self._scan(words, place, part))
        return found

    def _candidates(self, asked: str, uids: Ranges, there: list[int]) -> list[int]:
        """The messages that may hold what is asked: the index says so, or does not know them."""
        source, bindings = _within(uids, self.mailbox)
        sql = CANDIDATES.format(source=source.format(table="entry", joins=MSG + INDEXED))
        try:
            with self.reader.scanning, self.reader.scanned[self.reader.number(self.account)] as shard:
                return [uid for (uid,) in shard.execute(sql, (*bindings, asked))] if shard.indexed() else there
        except StoreFailed:                 # the index is broken; what is wrong with the shard itself will show
            return there

    def _scan(self, words: Sequence[str], place: str, wanted: Ranges) -> list[int]:
        """Look through the texts of some messages; in whichever thread."""
        texts = {"header": "text.header", "body": "text.body", "text": "text.header, text.body"}[place]
        source, bindings = _within(wanted, self.mailbox)
        with self.reader.scanning, self.reader.scanned[self.reader.number(self.account)] as shard:
            source = source.format(table="entry", joins=" CROSS JOIN text ON text.mid = box.mid")
            return [uid for uid, *kept in shard.execute(f"SELECT box.uid, {texts} FROM {source}", bindings) if _holds(words, map(unpack, kept))]

    def _columns(self, names: Sequence[str], uids: Ranges, kept: bool) -> tuple[list[tuple], list[int]]:
        """Rows, and the UIDs of those of which nothing was derived."""
        sql, witness, surplus, packed = _question(tuple(names), len(uids) == 1, kept)
        rows = self.shard.read(sql, (self.mailbox, *uids[0]) if len(uids) == 1 else (json.dumps(uids), self.mailbox))
        lacking = [row[0] for row in rows if row[witness] is None] if witness else []
        if packed:
            rows = [_unpacked(names, row) for row in rows]
        elif surplus:
            rows = [row[:-1] for row in rows]
        return rows, lacking

    def _suspects(self, box: Mailbox, modseq: int, uidnext: int) -> Ranges:
        """The UIDs among which are all that changed since."""
        if box.highestmodseq - modseq > LOGGED:
            return [(1, LARGEST)]
        rows = self.shard.execute("SELECT uids FROM change WHERE mailbox = ? AND modseq > ? AND kind = 'flags'", (self.mailbox, modseq))
        pairs = [pair for (uids,) in rows for pair in uidset.parse(uids)]
        return uidset.merge([*pairs, (uidnext, LARGEST)]) if len(pairs) <= SCATTERED else [(1, LARGEST)]

    def _box(self) -> Mailbox:
        row = self.shard.one(*self._own)
        if row is None:
            raise MailboxGone(str(self.mailbox))
        return Mailbox._make(row)

    def _keywords(self) -> dict[str, int]:
        return dict(self.shard.execute("SELECT name, 1 << bit FROM keyword WHERE mailbox = ? ORDER BY bit", (self.mailbox,)))


@lru_cache(256)
def _question(names: tuple[str, ...], run: bool, kept: bool) -> tuple[str, int, bool, bool]:
    """The SELECT of some columns, of one run of UIDs or of many; which of them is NULL where nothing was derived (0: no matter), whether that one
    was not asked for, and whether there are texts to unpack."""
    derived, texts = any(name in FIELDS for name in names), any(name in TEXTS for name in names)
    joins = MSG if any(name in STORED and name != "savedate" for name in names) else ""
    joins += KEPT_CONTENT if KEPT in names else ""
    joins += DERIVED if derived or texts else ""
    joins += TEXT if texts else ""
    witness = next((place for place, name in enumerate(names, 1) if name in FIELDS and name != "fields"), 0)
    columns = ["box.uid", *(_SOURCES[name] for name in names)]
    if (derived or texts) and not witness:
        columns.append("derived.version")
        witness = len(columns) - 1
    source = (RUN if run else RUNS).format(table="tomb" if kept else "entry", joins=joins)
    return f"SELECT {', '.join(columns)} FROM {source}", witness, witness > len(names), texts


def _within(uids: Ranges, mailbox: int) -> tuple[str, tuple]:
    """RUN or RUNS, whichever these UIDs are, and its bindings."""
    return (RUN, (mailbox, *uids[0])) if len(uids) == 1 else (RUNS, (json.dumps(uids), mailbox))


def _unpacked(names: Sequence[str], row: tuple) -> tuple:
    """A row of `columns` with readable texts, and without its witness."""
    return (row[0], *(unpack(value) if name in TEXTS and value is not None else value for name, value in zip(names, row[1:])))


def _holds(words: Sequence[str], texts: Iterable[str]) -> bool:
    """Whether each of the words is in one of the texts."""
    missing = words
    for text in texts:
        missing = [word for word in missing if word not in text]
        if not missing:
            return True
    return False
