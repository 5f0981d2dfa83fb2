"""The header of a message on its way in: what is refused in it, taken out of it, and completed.

Called by servers/smtpin once a header block is complete, before anything is written. Transfer is left as it came but for
fields that only we may set; submission is completed (RFC 6409 8). Blocks are whole lines with CR LF, without the empty line.
Asks no clock and makes no ids: both come in.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fancymail.core.reception import Refusal
from fancymail.mail.addresses import addresses
from fancymail.mail.fields import field
from fancymail.mail.headers import HeaderError, Headers, scan

FROM_LIMIT = 100                     # mailboxes of a From field that are looked at
BAD_FROM = Refusal(550, "5.6.0", "The From field has no readable address")
MANY_FROMS = Refusal(550, "5.6.0", "The message has more than one From field")                     # RFC 5322 3.6
NO_FROM = Refusal(550, "5.6.0", "The message has neither a From field nor a sender")
LOOP = Refusal(554, "5.4.6", "Mail loop: too many Received fields")                                # RFC 5321 6.3
ROUND = Refusal(554, "5.4.6", "Mail loop: this address has sent the message away before")

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_OURS = (b"\nreturn-path", b"\nauthentication-results")


class Submission(NamedTuple):
    """What completes a submitted header: ready Message-ID and Date values, and the sender for a missing From."""

    message_id: str
    date: str
    sender: str
    smtputf8: bool = False


def transfer_heading(header: bytes, host: str, hops: int) -> bytes | Refusal:
    """Return the header of transferred mail: nothing may claim to be our own doing."""
    lower = b"\n" + header.lower()
    if lower.count(b"\nreceived:") > hops:
        return LOOP
    if any(name in lower for name in _OURS):
        fields = _scan(header)
        if isinstance(fields, Refusal):
            return fields
        header = _without(fields, _claims(fields, host))
    return _delimited(header)


def submission_heading(header: bytes, host: str, hops: int, own: Submission) -> bytes | Refusal:
    """Return the header of submitted mail: Bcc and Return-Path are gone, From, Date and Message-ID are there (RFC 6409 8)."""
    if not _FIELD.match(header):
        return _completion(None, own) + _delimited(header)
    fields = _scan(header)
    if isinstance(fields, Refusal):
        return fields
    if fields.count("received") > hops:
        return LOOP
    if not own.sender and "from" not in fields:
        return NO_FROM
    unwanted = _claims(fields, host) | {number for number, one in enumerate(fields) if one.name in (b"bcc", b"resent-bcc")}
    return _completion(fields, own) + (_without(fields, unwanted) if unwanted else header)


def header_senders(header: bytes) -> list[str] | Refusal:
    """Return the addresses of the From field, [] when there is none; a Refusal when they cannot be told for certain."""
    if not _FIELD.match(header):
        return []
    fields = _scan(header)
    if isinstance(fields, Refusal):
        return fields
    if fields.count("from") > 1:
        return MANY_FROMS
    value = fields.first("from")
    if value is None:
        return []
    found = addresses(value, FROM_LIMIT + 1)
    senders = [str(mailbox.address) for mailbox in found if mailbox.address is not None]
    if not found or len(senders) < len(found) or len(found) > FROM_LIMIT:
        return BAD_FROM
    return senders


def _scan(header: bytes) -> Headers | Refusal:
    try:
        return scan(header)
    except HeaderError as error:
        return Refusal(550, error.status, error.reason)


def _claims(fields: Headers, host: str) -> set[int]:
    """Fields that only we may set: Return-Path (RFC 5321 4.4), and results in our name (RFC 8601 5)."""
    own = host.lower().encode()
    return {number for number, one in enumerate(fields)
            if one.name == b"return-path"
            or one.name == b"authentication-results" and fields.value(one).lower().split(b";")[0].split()[:1] in ([own], [])}


def _without(fields: Headers, unwanted: set[int]) -> bytes:
    """The header without some of its fields, the rest octet for octet."""
    return b"".join(fields.raw(one) for number, one in enumerate(fields) if number not in unwanted)


def _delimited(header: bytes) -> bytes:
    """A text that begins without a header keeps all its lines: an empty one makes it a body."""
    return header if not header or _FIELD.match(header) else b"\r\n" + header


def _completion(fields: Headers | None, own: Submission) -> bytes:
    present = fields or ()
    added = b""
    if "message-id" not in present:
        added += field("Message-ID", own.message_id)
    if "date" not in present:
        added += field("Date", own.date)
    if "from" not in present:
        added += field("From", f"<{own.sender}>", own.smtputf8)
    return added
