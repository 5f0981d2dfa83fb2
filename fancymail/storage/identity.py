"""The identifiers that a message and a mailbox have for ever, whatever engine keeps them (RFC 8474).

Used by the engines of mailbox state, so that moving an account between them changes nothing for its clients.
"""

from __future__ import annotations

from hashlib import sha256


def object_id(account: str, uidvalidity: int) -> str:
    """MAILBOXID: since an account gives no UIDVALIDITY twice, both name a mailbox for ever (RFC 8474 4.1)."""
    return "F" + sha256(f"{account}\0{uidvalidity}".encode()).hexdigest()[:24]


def email_id(blob: bytes, prefix: bytes) -> str:
    """EMAILID: the same octets have the same id, in whatever mailbox (RFC 8474 5.1)."""
    return "M" + sha256(blob + prefix).hexdigest()[:32]
