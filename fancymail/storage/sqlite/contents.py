"""The octets of small messages, in the shard of the messages themselves: rows of `content`, shared by
messages of one hash that come soon after each other.

Used by storage/sqlite/{delivery,account,mailboxes,reader}.py inside their transactions: a content comes and goes with the rows that name it. Which
contents are small is decided by core/stowage.py. Nothing is found by its hash: hashes lie all over an index, numbers lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterable

from fancymail.storage.sqlite.shard import ReadShard, Shard

RECENT = 500                    # contents of which a shard remembers that it has them

READ = """SELECT octets FROM {table} AS box JOIN msg ON msg.mid = box.mid JOIN content ON content.number = msg.content
    WHERE box.mailbox = ? AND box.uid = ?"""
_READ = [READ.format(table=table) for table in ("entry", "tomb")]


def keep(shard: Shard, blob: bytes, octets: bytes) -> int:
    """The number of a content; written unless it was written a while ago, as for the other recipients of a message."""
    recent = shard.recent_contents
    number = recent.get(blob)
    if number is not None and shard.one("SELECT 1 FROM msg WHERE content = ? AND blob = ?", (number, blob)):
        return number           # whoever wrote it may have been undone meanwhile: the row tells
    shard.execute("INSERT INTO content(octets) VALUES (?)", (octets,))
    number = recent[blob] = shard.connection.last_insert_rowid()
    if len(recent) > RECENT:
        del recent[next(iter(recent))]
    return number


def read(shard: ReadShard, mailbox: int, uid: int) -> bytes | None:
    """The octets of a small message, also of one that was expunged; None when it is large, or no more."""
    for sql in _READ:
        for (octets,) in shard.read(sql, (mailbox, uid)):
            return octets
    return None


def drop(shard: Shard, numbers: Iterable[int]) -> None:
    """Delete those contents that no message names any more."""
    for number in numbers:
        shard.execute("DELETE FROM content WHERE number = ? AND NOT EXISTS (SELECT 1 FROM msg WHERE content = ?)", (number, number))
