"""What FETCH may ask about a message: names of attributes, and sections of its content (RFC 9051 6.4.5).

Parsed by protocol/imap/fetch.py, rendered by core/imap/fetch.py. Each item carries its `label`, the octets that stand for it in the
response. The same list of items asked again is the same tuple object, so plans may be kept by it.
"""

from __future__ import annotations

from dataclasses import dataclass

# Attributes that have no parameter; an item of a list is one of these words or a section.
UID, FLAGS, INTERNALDATE, SIZE, ENVELOPE = "UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"
BODY, BODYSTRUCTURE = "BODY", "BODYSTRUCTURE"
MODSEQ = "MODSEQ"                                       # RFC 7162 3.1.4
EMAILID, THREADID = "EMAILID", "THREADID"               # RFC 8474 5
SAVEDATE = "SAVEDATE"                                   # RFC 8514 4.3
PREVIEW, PREVIEW_LAZY = "PREVIEW", "PREVIEW (LAZY)"     # RFC 8970 3
ATTRIBUTES = frozenset((UID, FLAGS, INTERNALDATE, SIZE, ENVELOPE, BODY, BODYSTRUCTURE, MODSEQ, EMAILID, THREADID, SAVEDATE, PREVIEW,
                        PREVIEW_LAZY))

# What of a part a section means; "" is all of it.
WHOLE, HEADER, HEADER_FIELDS, HEADER_FIELDS_NOT, TEXT, MIME = "", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """BODY[...], and RFC822, RFC822.HEADER and RFC822.TEXT, which differ by their label only.

    part: numbers, () for the message. what: one of the six above. fields: lower-case names. peek: \\Seen is not set.
    partial: (offset, most octets) or None. label: `BODY[1.TEXT]<0>`, ready to be written."""

    label: bytes
    part: tuple[int, ...] = ()
    what: str = WHOLE
    fields: tuple[bytes, ...] = ()
    peek: bool = False
    partial: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """BINARY[...] (RFC 9051 6.4.5, RFC 3516): the part decoded. `size`: only its size is asked (BINARY.SIZE)."""

    label: bytes
    part: tuple[int, ...] = ()
    peek: bool = False
    partial: tuple[int, int] | None = None
    size: bool = False


Item = str | Section | Binary
Items = tuple[Item, ...]
