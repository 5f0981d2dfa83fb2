"""Columns of messages by UID, read through the reader port, of those too that were expunged while a view still shows them.

Used by fetch, search, sort and what is shown instead of messages. One question is one moment; it holds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from fancymail.mail.uidset import compress
from fancymail.storage.ports.reader import CONTENT, BoxReader, Content


async def read_columns(box: BoxReader, names: Sequence[str], uids: Sequence[int]) -> list[tuple]:
    """Columns of these ascending UIDs; those that were expunged meanwhile are read as long as they are kept."""
    rows = await box.columns(names, compress(uids))
    return rows if len(rows) == len(uids) else await with_kept(box, names, uids, rows)


async def with_kept(box: BoxReader, names: Sequence[str], uids: Sequence[int], rows: list[tuple]) -> list[tuple]:
    """The same rows, and those of the UIDs that they lack, as far as these can still be read."""
    there = {row[0] for row in rows}
    return sorted([*rows, *await box.columns(names, compress([uid for uid in uids if uid not in there]), kept=True)])


async def read_column(box: BoxReader, name: str, uid: int):
    """One value. Raises KeyError."""
    for _, value in await read_columns(box, (name,), [uid]):
        return value
    raise KeyError(uid)


async def read_octets(box: BoxReader, uid: int, length: str = "size") -> bytes:
    """A message, or as much of it as the column `length` says: its header. Raises KeyError."""
    for *content, octets in await read_columns(box, (*CONTENT, length), [uid]):
        return await box.octets(Content(*content), 0, octets)
    raise KeyError(uid)
