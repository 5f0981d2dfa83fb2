"""What was derived of messages, as rows: `derived` for what answers are made of, `text` for what is searched in, apart, since it is long.

Used by storage/sqlite/{delivery,mailboxes,reader,fulltext}.py inside their transactions. Texts worth it are compressed. It computes nothing:
core/imap/precompute.py does.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from fancymail.mail.derived import Derived
from fancymail.storage.sqlite.shard import Shard

TEXTS = ("header_text", "text")
FIELDS = tuple(field for field in Derived._fields if field not in TEXTS)
COMPRESSED = 1024               # octets from which a text is compressed

_FIRST_TEXT = len(FIELDS)
_NAMES = ", ".join(f'"{field}"' for field in FIELDS)          # quoted: "references" is a word of SQL
_DERIVED = f"INSERT OR REPLACE INTO derived(mid, {_NAMES}) VALUES (?{', ?' * len(FIELDS)})"
_TEXT = "INSERT OR REPLACE INTO text VALUES (?, ?, ?)"

if Derived._fields[_FIRST_TEXT:] != TEXTS:
    raise TypeError("the texts stand at the end of Derived")


def keep(shard: Shard, messages: Sequence[tuple[int, Derived]]) -> None:
    """Write the rows of messages, each with its number."""
    if messages:
        shard.connection.executemany(_DERIVED, [(mid, *derived[:_FIRST_TEXT]) for mid, derived in messages])
        shard.connection.executemany(_TEXT, [(mid, pack(derived.header_text), pack(derived.text)) for mid, derived in messages])


def forget(shard: Shard, mid: int) -> None:
    """Delete the rows of one message."""
    shard.execute("DELETE FROM derived WHERE mid = ?", (mid,))
    shard.execute("DELETE FROM text WHERE mid = ?", (mid,))


def pack(text: str) -> str | bytes:
    """A text as it is kept."""
    if len(text) < COMPRESSED:
        return text.encode("utf-8", "replace").decode() if not text.isascii() else text      # lone surrogates are no UTF-8
    return zlib.compress(text.encode("utf-8", "replace"), 1)


def unpack(kept: str | bytes) -> str:
    """A text as it was."""
    return kept if isinstance(kept, str) else zlib.decompress(kept).decode()
