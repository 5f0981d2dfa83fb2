"""The octets of small messages, in the shard of the messages themselves: rows of `content`, one for all messages of a hash.

Used by storage/sqlite/{delivery,account,mailboxes,reader}.py inside their transactions: a content comes and goes with the rows that name it. Which
contents are small is decided by core/stowage.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from fancymail.storage.sqlite.shard import ReadShard, Shard

READ = "SELECT octets FROM content WHERE number = (SELECT content FROM msg WHERE blob = ? AND content IS NOT NULL LIMIT 1)"


def keep(shard: Shard, blob: bytes, octets: bytes) -> int:
    """The number of a content; written when the shard does not have it yet."""
    known = shard.one("SELECT content FROM msg WHERE blob = ? AND content IS NOT NULL LIMIT 1", (blob,))
    return (known or shard.one("INSERT INTO content(octets) VALUES (?) RETURNING number", (octets,)))[0]


def read(shard: ReadShard, blob: bytes) -> bytes | None:
    """The octets of a content; None when the shard keeps none of this hash."""
    rows = shard.read(READ, (blob,))
    return rows[0][0] if rows else None


def drop(shard: Shard, contents: Iterable[tuple[bytes, int]]) -> None:
    """Delete those (hash, number) that no message names any more."""
    for blob, number in contents:
        shard.execute("DELETE FROM content WHERE number = ? AND NOT EXISTS (SELECT 1 FROM msg WHERE blob = ? AND content = ?)",
                      (number, blob, number))
