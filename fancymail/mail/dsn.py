"""Delivery status notifications that we send (RFC 3461 6, RFC 3464, RFC 6522, RFC 6533).

Called by smtpout and mailbox when a recipient failed, is late, or somebody asked to hear of success. A notification has three parts: words
for a person, fields for a program, and the original's header (its whole content where RET=FULL asks for it).
Everything that strangers said (replies, names, ENVID, ORCPT) is cut and made printable first. Never answers the null reverse-path.
Time and id come in; the same values give the same octets.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import transfer
from .dates import format_date
from .envelope import Envelope, Recipient
from .fields import field, text_field
from .headers import Headers, scan_start
from .letter import letter, subject
from .orcpt import encode_utf8_address, split_orcpt
from .results import RecipientResult
from .status import safe_text
from .thread import message_id

FAILED, DELAYED, DELIVERED, RELAYED, EXPANDED = "failed", "delayed", "delivered", "relayed", "expanded"
KINDS = (FAILED, DELAYED, DELIVERED, RELAYED, EXPANDED)             # RFC 3464 2.3.3
FULL_LIMIT = 10_485_760              # octets of an original that are sent back whole
HEADER_LIMIT = 65_536                # octets of its header otherwise
SAID = 70_000                        # characters of replies that are repeated in the status part of one notification


def build(kind: str, envelope: Envelope, results: Sequence[RecipientResult], content: bytes, *, host: str, id: str, time: float,
          whole: bool = False, retry_until: float = 0.0, offset: int = 0) -> bytes:
    """Return the notification as a message with CRLF line ends, to be sent from the null reverse-path to `envelope.sender`.

    results name recipients of the envelope; their text is the remote host's reply if they name a remote, else our own reason.
    content is the original or its beginning (at least its header), `whole` says which. host is our name, id is unique, retry_until
    and time are seconds since the epoch, offset the zone of Date in minutes. Raises ValueError for a null reverse-path, an unknown
    kind, or no results.
    """
    if not envelope.sender:                                        # RFC 5321 6.1, RFC 3461 6.2
        raise ValueError("the null reverse-path is never notified")
    if kind not in KINDS or not results:
        raise ValueError("a notification needs a kind and results")
    original = scan_start(content)
    full = kind == FAILED and whole and envelope.ret == "FULL" and len(content) <= FULL_LIMIT      # RFC 3461 4.3
    words = letter(kind, envelope, results, original, host, full, retry_until, offset)
    parts = [_text_part(words), _status_part(kind, envelope, results, host, time, retry_until, offset),
             _whole_part(content, envelope) if full else _header_part(original, envelope)]
    boundary = f"=_{safe_text(id, 50)}"
    while any(boundary.encode() in part for part in parts):
        boundary += "="
    head = _head(kind, envelope, original, host, id, time, offset, boundary)
    mark = f"--{boundary}\r\n".encode()
    return head + b"".join(mark + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


def wanted(kind: str, envelope: Envelope, recipient: Recipient) -> bool:
    """Does the sender want to hear this of this recipient (RFC 3461 4.1)? Unasked, failures and delays are told."""
    if not envelope.sender or "NEVER" in recipient.notify:
        return False
    word = {FAILED: "FAILURE", DELAYED: "DELAY"}.get(kind, "SUCCESS")
    return word in recipient.notify or not recipient.notify and word != "SUCCESS"


def needs(message: bytes) -> tuple[str, bool]:
    """Return (BODY parameter, SMTPUTF8) that a notification must be sent with."""
    if message.isascii():
        return "7BIT", False
    return "8BITMIME", not message[:message.find(b"\r\n\r\n")].isascii()


def _head(kind: str, envelope: Envelope, original: Headers, host: str, id: str, time: float, offset: int, boundary: str) -> bytes:
    """The header of the notification; it joins the thread of the original."""
    fields = [field("From", f"Mail Delivery System <MAILER-DAEMON@{safe_text(host, 255)}>"),
              field("To", f"<{envelope.sender}>", smtputf8=True),
              text_field("Subject", subject(kind, original)),
              field("Date", format_date(time, offset)),
              field("Message-ID", f"<{safe_text(id, 100)}@{safe_text(host, 255)}>"),
              field("Auto-Submitted", "auto-replied")]             # RFC 3834 5
    answered = safe_text(message_id(original.first("message-id") or b""), 900)
    if answered and " " not in answered:
        fields += [field("In-Reply-To", f"<{answered}>"), field("References", f"<{answered}>")]
    fields.append(field("MIME-Version", "1.0"))
    fields.append(field("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'))
    return b"".join(fields) + b"\r\n"


def _text_part(words: str) -> bytes:
    text = words.replace("\n", "\r\n").encode()
    if text.isascii():
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text
    return (b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            + transfer.encode_quoted_printable(text))


def _status_part(kind: str, envelope: Envelope, results: Sequence[RecipientResult], host: str, time: float, retry_until: float,
                 offset: int) -> bytes:
    """message/delivery-status: one group of fields for the message, one for each recipient (RFC 3464 2.2, 2.3)."""
    groups = [_message_group(envelope, host, offset)]
    share = min(700, max(SAID // len(results), 60))      # what hosts said to very many must not make a flood of it
    for result in results:
        groups.append(_recipient_group(kind, envelope, result, time, retry_until, offset, share))
    return b"Content-Type: message/delivery-status\r\n\r\n" + b"\r\n".join(groups)


def _message_group(envelope: Envelope, host: str, offset: int) -> bytes:
    fields = []
    if envelope.envid:
        fields.append(_field("Original-Envelope-Id", safe_text(envelope.envid, 100)))
    fields.append(_field("Reporting-MTA", f"dns; {safe_text(host, 255)}"))
    if envelope.helo:
        fields.append(_field("Received-From-MTA", f"dns; {safe_text(envelope.helo, 255)}"))
    fields.append(_field("Arrival-Date", format_date(envelope.received, offset)))
    return b"".join(fields)


def _recipient_group(kind: str, envelope: Envelope, result: RecipientResult, time: float, retry_until: float, offset: int,
                     share: int) -> bytes:
    recipient = envelope.recipients[result.recipient]
    fields = []
    if recipient.orcpt:
        fields.append(_field("Original-Recipient", _original(recipient.orcpt)))
    fields.append(_field("Final-Recipient", _typed(recipient.original or recipient.address)))    # an alias keeps its secret
    fields.append(_field("Action", kind))
    fields.append(_field("Status", result.status))
    if result.remote:
        fields.append(_field("Remote-MTA", f"dns; {safe_text(result.remote, 255)}"))
    if result.text:
        said = "smtp" if result.remote and result.text[:3].isdigit() else "x-fancymail"
        fields.append(_field("Diagnostic-Code", f"{said}; {safe_text(result.text, share)}"))
    fields.append(_field("Last-Attempt-Date", format_date(time, offset)))
    if kind == DELAYED and retry_until:
        fields.append(_field("Will-Retry-Until", format_date(retry_until, offset)))
    return b"".join(fields)


def _original(orcpt: str) -> str:
    try:
        kind, address = split_orcpt(orcpt)
    except ValueError:
        return f"unknown; {safe_text(orcpt, 500)}"
    return f"{kind}; {encode_utf8_address(address) if kind == 'utf-8' else safe_text(address, 500)}"


def _typed(address: str) -> str:
    """An address with its type; one outside ASCII is written in ASCII, which any program can read (RFC 6533 3)."""
    return f"rfc822; {safe_text(address, 500)}" if address.isascii() else f"utf-8; {encode_utf8_address(address)}"


def _field(name: str, value: str) -> bytes:
    """One field of a status group; what cannot be folded into lines is cut."""
    return field(name, " ".join(word[:900] for word in value.split(" ")))


def _whole_part(content: bytes, envelope: Envelope) -> bytes:
    """The original as message/rfc822, or message/global where its header needs it (RFC 6532 3.7)."""
    head = scan_start(content)
    kind = "global" if not content[head.start:head.end].isascii() else "rfc822"
    encoding = b"" if content.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    return f"Content-Type: message/{kind}\r\n".encode() + encoding + b"\r\n" + content


def _header_part(original: Headers, envelope: Envelope) -> bytes:
    """The header of the original as text/rfc822-headers, cut between fields; 8-bit octets are encoded."""
    octets, size = [], 0
    for one in original:
        size += one.end - one.start
        if size > HEADER_LIMIT:
            break
        octets.append(original.raw(one))
    header = b"".join(octets)
    if header.isascii():
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + header
    kind = "message/global-headers" if envelope.smtputf8 else "text/rfc822-headers"
    return (f"Content-Type: {kind}\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n".encode()
            + transfer.encode_quoted_printable(header))
