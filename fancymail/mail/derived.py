"""What is computed once of a message and kept beside it: answers ready for the wire, keys to sort by, text to search in.

Made by core/imap/precompute.py at delivery, kept by storage, read by IMAP, search and webmail. Everything in here can be made again from the
content, and is when VERSION is newer than a row's. A value only: it never reads a message.
"""

from __future__ import annotations

from typing import NamedTuple

VERSION = 3


class Derived(NamedTuple):
    """Of one message as a client gets it: prefix and content together. Offsets and lengths are octets of that whole."""

    version: int = VERSION
    header_length: int = 0      # of the header section, the empty line included
    envelope: bytes = b""       # ENVELOPE, BODYSTRUCTURE and BODY as they stand in a FETCH answer (RFC 9051 7.5.2)
    bodystructure: bytes = b""
    body: bytes = b""
    parts: bytes = b""          # where each section is: core/imap/parts.py packs and reads it
    fields: bytes | None = None  # the header fields that clients list mailboxes by, as they stand; None: too large, read the header
    preview: str = ""           # RFC 8970: at most 200 characters
    sent: int = 0               # the Date field in seconds since the epoch; the internal date when it has none
    date_only: int = 0          # the day that the Date field names in its own zone, as days since the epoch (SENTBEFORE and its like)
    subject_key: str = ""       # RFC 5256 2.1 base subject, folded
    reply: int = 0              # 1: the subject says that it is a reply or forwarded
    from_key: str = ""          # RFC 5256 3: the local part of the first address, folded
    to_key: str = ""
    cc_key: str = ""
    display_from: str = ""      # RFC 5957: the display name of the first address, or the address
    display_to: str = ""
    from_text: str = ""         # decoded and folded (core/imap/folding.py), for SEARCH FROM, TO, CC, BCC, SUBJECT
    to_text: str = ""
    cc_text: str = ""
    bcc_text: str = ""
    subject_text: str = ""
    references: bytes = b""     # packed signed 64-bit hashes: its own id (0: none), then the ancestors, root first (RFC 5256 3 REFERENCES)
    header_text: str = ""       # all fields decoded and folded, a line each: "name: value\n"; then those of parts: "\tname: value\n"
    text: str = ""              # the text of all text parts decoded and folded, at most 1 MiB: SEARCH BODY looks here, TEXT in both
