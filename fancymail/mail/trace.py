"""The fields that tell where a message has been: Received, Return-Path, Delivered-To (RFC 5321 4.4).

Written by whoever takes a message over (smtpin, injection, notices) or hands it on (mailbox, and smtpout for what an alias sends
away). Delivered-To is also the mark that ends loops: who meets his own mark again has had the message before. Time and ids come
in. Never reads more of a message than its header, and never says more of an address than its copy's reader may know.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .address import AddressError, parse_mailbox
from .dates import format_date
from .headers import unfold

MOST = 900                           # octets of an address that are written, so that any fits into a line

_ODD = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_UNPRINTED = re.compile(r"[^!-~]")
_MARK = re.compile(rb"^delivered-to[ \t]*:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.IGNORECASE | re.MULTILINE)


def received_field(helo: str, client: str, host: str, protocol: str, tls: str, id: str, recipient: str, now: float) -> bytes:
    """Return our trace field (RFC 5321 4.4), in ASCII. `recipient` is "" unless there is exactly one: the others are not told of each other."""
    where = f"[IPv6:{client}]" if ":" in client else f"[{client}]" if client else "localhost"
    secure = f" ({tls})" if tls else ""
    # Without it the header of a message that an alias leads on may be in ASCII, and any next hop can take it (RFC 6531 3.7.3)
    to = f"\r\n\tfor <{recipient}>" if recipient and recipient.isascii() else ""
    return (f"Received: from {_ODD.sub('?', helo)} ({where})\r\n\tby {host} with {protocol}{secure} id {id}{to};\r\n\t{_date(int(now))}\r\n"
            .encode())


def made_here(host: str, id: str, now: float) -> bytes:
    """Return the trace field of a message that we wrote ourselves: nobody brought it."""
    return f"Received: by {host} (FancyMail) with local id {id};\r\n\t{_date(int(now))}\r\n".encode()


def transmission_type(lmtp: bool, extended: bool, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """The word behind "with" in Received (RFC 3848, RFC 6531 4.3)."""
    base = "LMTP" if lmtp else "SMTP"
    if smtputf8:
        base = f"UTF8{base}"
    elif extended and not lmtp:
        base = "ESMTP"
    return f"{base}{'S' if tls else ''}{'A' if authenticated else ''}"


def return_path(sender: str) -> bytes:
    """Return the field that final delivery puts on top; "<>" is the null reverse-path."""
    return b"Return-Path: <%s>\r\n" % _plain(sender)


def delivered_to(address: str) -> bytes:
    """Return the field that names the mailbox of this copy."""
    return b"Delivered-To: %s\r\n" % _plain(address)


def forwarded_by(address: str) -> bytes:
    """Return the mark of an address of ours that sends mail away: in ASCII, so that no next hop refuses the message for it."""
    return b"Delivered-To: %s\r\n" % mark(address)


@lru_cache(maxsize=1024)
def mark(address: str) -> bytes:
    """Return what `marks` finds of an address, however its name is written."""
    try:
        address = parse_mailbox(address).key
    except AddressError:
        pass                                         # an odd text is its own mark
    return _UNPRINTED.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", address).lower().encode()[:MOST]


def marks(header: bytes) -> frozenset[bytes]:
    """Return the marks in a header section; the line ends may be folded as a host on the way liked it."""
    return frozenset(unfold(match[1]).lower() for match in _MARK.finditer(header))


def _plain(address: str) -> bytes:
    """An address as it may stand in a header line: whatever the envelope holds, it forges no line."""
    if address.isprintable() and len(address) <= MOST:
        return address.encode()
    return _CONTROLS.sub(" ", address).encode("utf-8", "replace")[:MOST]


@lru_cache(maxsize=8)
def _date(second: int) -> str:
    return format_date(second)
