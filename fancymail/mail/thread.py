"""The words that threads are made of: Message-IDs and the base form of a subject (RFC 5322 3.6.4, RFC 5256 2.1).

Called by mailbox when it files a message, by IMAP for SORT and THREAD. Everything is linear and capped.
Never decides what belongs together.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .charset import guess

IDS_LIMIT = 100                      # ids taken from one field: the first one and the last ones
ID_LIMIT = 998                       # octets of one id, as in the expression below
SUBJECT_LIMIT = 4_096                # characters of a subject that are looked at

_ID = re.compile(rb"<([^<>]{1,998}+)>")
_SPACE = re.compile(rb"[ \t\r\n]++")
_BARE = re.compile(rb"[^\s<>,;()\"@]++@[^\s<>,;()\"@]++")
_BLOB = re.compile(r"\[[^\[\]]*+\]\s*+")
_REFWD = re.compile(r"(?:re|fwd?)\s*+(?:\[[^\[\]]*+\]\s*+)?:", re.IGNORECASE)
_TRAILER = "(fwd)"


class Subject(NamedTuple):
    """The base form of a subject, and whether the subject says that this is a reply or forwarded."""

    base: str
    reply: bool


def message_ids(value: bytes, limit: int = IDS_LIMIT) -> list[str]:
    """Return the ids of a Message-ID, In-Reply-To or References field without their brackets, in order, none twice.

    Of more than `limit` the first one and the last ones stay: the thread's root and the nearest ancestors.
    """
    found = [_bare(match[1]) for match in _ID.finditer(value)]
    if not found and b"<" not in value:
        found = [match[0] for match in _BARE.finditer(value[:ID_LIMIT])]
    ids = [octets for octets in dict.fromkeys(found) if octets]
    if len(ids) > limit:
        ids = ids[:1] + ids[len(ids) - limit + 1:]
    return [guess(octets) for octets in ids]


def _bare(octets: bytes) -> bytes:
    """An id without the white space that folding put into it; a quoted one keeps its own."""
    return octets.strip(b" \t\r\n") if b'"' in octets else _SPACE.sub(b"", octets)


def message_id(value: bytes) -> str:
    """Return the one id of a Message-ID field, "" if it has none."""
    ids = message_ids(value, 2)
    return ids[0] if ids else ""


def base_subject(subject: str) -> Subject:
    """Return the base of a decoded subject: without Re:, Fwd:, [list] and (fwd), white space collapsed (RFC 5256 2.1)."""
    text = " ".join(subject[:SUBJECT_LIMIT].split())
    start, end, reply = 0, len(text), False
    while True:
        end, trailed = _trail(text, start, end)
        start, led = _lead(text, start, end)
        reply = reply or trailed or led
        if not (text[start:start + 5].lower() == "[fwd:" and end - start > 5 and text[end - 1] == "]"):
            return Subject(text[start:end], reply)
        start, end, reply = start + 5, end - 1, True          # step 6


def _trail(text: str, start: int, end: int) -> tuple[int, bool]:
    """Step 2: take "(fwd)" and white space from the end."""
    found = False
    while end > start:
        if text[end - 1] == " ":
            end -= 1
        elif end - start >= 5 and text[end - 5:end].lower() == _TRAILER:
            end, found = end - 5, True
        else:
            break
    return end, found


def _lead(text: str, start: int, end: int) -> tuple[int, bool]:
    """Steps 3 to 5: take leaders and blobs from the front; a run of blobs is crossed once, so this is linear."""
    found = False
    while True:
        while start < end and text[start] == " ":
            start += 1
        position, last = start, start
        while (blob := _BLOB.match(text, position, end)) and not _forwarded(text, position, end):
            last, position = position, blob.end()
        if refwd := _REFWD.match(text, position, end):
            start, found = refwd.end(), True
        elif position == start:
            return start, found
        else:
            return (position if position < end else last), found


def _forwarded(text: str, start: int, end: int) -> bool:
    """Is text[start:end] all of "[fwd: ... ]"? That is step 6, not a blob."""
    return text[end - 1] == "]" and text[start:start + 5].lower() == "[fwd:"
