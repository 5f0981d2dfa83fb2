"""Delivery status notifications that come in, read tolerantly (RFC 3464, RFC 6522, RFC 6533).

Called by whoever wants to know which message of ours a notification speaks of, and what it says of each recipient. Takes anything for a
notification that has a delivery-status part; never believes more than it reads: every text is one printable line, and capped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .headers import Headers, iterate, scan_start
from .mime import scan
from .orcpt import split_orcpt
from .part import Part, Structure
from .status import valid
from .thread import message_id
from .words import decode_words

RECIPIENTS_LIMIT = 1_000
SIZE_LIMIT = 1_048_576               # octets of a status part that are read

_EMPTY = re.compile(rb"\n(?:[ \t]*+\r?\n)++")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded")


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What a notification says of one recipient."""

    final: str                       # the address that was tried
    original: str                    # the address as the sender gave it, "" if it isn't said
    action: str                      # failed, delayed, delivered, relayed, expanded; "" if it is none of them
    status: str                      # RFC 3463, "" if there is none
    diagnostic: str                  # "smtp; 550 5.1.1 ..."
    remote: str                      # the host that said it


@dataclass(frozen=True, slots=True)
class Report:
    """A notification."""

    envelope_id: str                 # ENVID of the original, decoded
    reporter: str                    # the mail system that tells it
    recipients: tuple[ReportedRecipient, ...]
    message_id: str                  # Message-ID of the original, "" if its header is not there


def read_report(content: bytes) -> Report | None:
    """Return what a message reports, None if it is no delivery status notification. Never raises."""
    structure = scan(content)
    part = _find(structure, "message", ("delivery-status", "global-delivery-status"))
    if part is None:
        return None
    groups = _groups(_octets(part, content))
    first = groups[0] if groups else None
    recipients = tuple(_recipient(group) for group in groups[1:])
    return Report(_text(first, "original-envelope-id"), _behind_type(_text(first, "reporting-mta")), recipients,
                  _original_id(structure, part, content))


def _find(structure: Structure, type_: str, subtypes: tuple[str, ...]) -> Part | None:
    return next((part for part in structure if part.type == type_ and part.subtype in subtypes), None)


def _octets(part: Part, content: bytes) -> bytes:
    """The decoded beginning of a part."""
    pieces, size = [], 0
    for piece in part.read(content):
        pieces.append(piece)
        size += len(piece)
        if size >= SIZE_LIMIT:
            break
    return b"".join(pieces)[:SIZE_LIMIT]


def _groups(octets: bytes) -> list[Headers]:
    """The groups of fields between empty lines: that of the message, then those of the recipients."""
    pieces = _EMPTY.split(b"\n" + octets, RECIPIENTS_LIMIT + 2)[:RECIPIENTS_LIMIT + 2]
    pieces = [piece.lstrip(b"\n") for piece in pieces if piece.strip()]
    return [Headers(piece, 0, len(piece), len(piece), iterate(piece, 0, len(piece), 100))
            for piece in pieces[:RECIPIENTS_LIMIT + 1]]


def _recipient(group: Headers) -> ReportedRecipient:
    action = _text(group, "action").lower()
    found = _STATUS.search(_text(group, "status"))
    return ReportedRecipient(
        _address(group, "final-recipient"), _address(group, "original-recipient"), action if action in _ACTIONS else "",
        found[0] if found and valid(found[0]) else "", _text(group, "diagnostic-code"), _behind_type(_text(group, "remote-mta")))


def _text(group: Headers | None, name: str) -> str:
    """A field's value as one printable line of at most 1,000 characters."""
    value = group.first(name) if group is not None else None
    text = decode_words(value, 4_000)[:1_000] if value else ""
    return "".join(char if char.isprintable() else "?" for char in text)


def _address(group: Headers, name: str) -> str:
    """The address of a recipient field, whatever its type is."""
    text = _text(group, name)
    try:
        return split_orcpt(text)[1]
    except ValueError:
        return _behind_type(text)


def _behind_type(text: str) -> str:
    """"dns; mx.example" -> "mx.example"."""
    return text.partition(";")[2].strip() if ";" in text else text


def _original_id(structure: Structure, status: Part, content: bytes) -> str:
    """The Message-ID of the message that the report speaks of: in the part behind the status part."""
    for part in structure.parts[status.index + 1:]:
        if part.content_type in ("message/rfc822", "message/global"):
            return message_id(scan_start(content, part.body, part.end).first("message-id") or b"")
        if part.content_type in ("text/rfc822-headers", "message/global-headers", "message/rfc822-headers"):
            return message_id(scan_start(_octets(part, content)).first("message-id") or b"")
    return ""
