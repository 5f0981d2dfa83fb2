"""Which messages a message belongs with: hashes of its own Message-ID and of those that it answers (RFC 5322 3.6.4).

Used by core/mailboxes.py at delivery, on octets straight from the wire; a few microseconds, whatever is in there. It decides nothing: storage gives
a message the thread of the first relative that it knows.
"""

from __future__ import annotations

import re
from hashlib import blake2b

MOST = 30                               # ids looked at: the message's own, the root, and the nearest of the rest

_FIELD = re.compile(rb"\n(?i:(message-id)|(in-reply-to)|references)[ \t]*:([^\n]*+(?:\n[ \t][^\n]*+)*+)")
_ID = re.compile(rb"<([^<>]{1,998}+)>")
_FOLD = re.compile(rb"[ \t\r\n]+")


def relatives(head: bytes) -> list[int]:
    """Hashes (64-bit, signed) of the ids in a header section: its own first, then the nearest ancestors before the far ones."""
    end = head.find(b"\r\n\r\n")
    own, parents, ancestors = [], [], []
    for match in _FIELD.finditer(b"\n" + (head if end < 0 else head[:end])):
        ids = _ID.findall(match[3])
        if match[1]:
            own = own or ids[:1]        # a second Message-ID is a forgery or a mistake
        elif match[2]:
            parents += ids[:MOST]
        else:
            ancestors += reversed(ids)
    if len(ancestors) > MOST:
        ancestors = [*ancestors[:MOST - 1], ancestors[-1]]
    return [_hash(id) for id in dict.fromkeys([*own, *ancestors, *parents])][:MOST + 1]


def _hash(id: bytes) -> int:
    return int.from_bytes(blake2b(_FOLD.sub(b"", id) if b"\n" in id or b" " in id else id, digest_size=8).digest(), "little", signed=True)
