"""What SMTP knows of a message besides its content (RFC 5321 section 2.3.1, RFC 3461).

Written by smtpin (and whoever injects mail), carried in the slot file, read by mailbox and smtpout. Values only.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Recipient:
    """One forward-path and what its sender wants to hear of it."""

    address: str                     # where it goes now: "local@domain", after aliases
    original: str = ""               # the RCPT address as it was given, when an alias led to `address`
    orcpt: str = ""                  # ORCPT, decoded, "rfc822;someone@example.org" (RFC 3461 4.2)
    notify: tuple[str, ...] = ()     # NEVER, or any of SUCCESS FAILURE DELAY; empty: not said


@dataclass(slots=True)
class Envelope:
    """Reverse-path, forward-paths and the facts of the session that brought the message."""

    id: str                          # the one id that follows the message everywhere: the id of its first slot
    sender: str                      # reverse-path; "" is the null reverse-path
    recipients: list[Recipient] = field(default_factory=list)
    received: float = 0.0            # seconds since the epoch
    account: str = ""                # the authenticated account that submitted it
    client: str = ""                 # address of the peer that brought it
    helo: str = ""
    protocol: str = ""               # SMTP, ESMTP, ESMTPSA, LMTP ... as in Received "with" (RFC 3848)
    body: str = "7BIT"               # 7BIT or 8BITMIME (RFC 6152)
    smtputf8: bool = False           # RFC 6531
    envid: str = ""                  # ENVID, decoded (RFC 3461 4.4)
    ret: str = ""                    # FULL, HDRS or "" (RFC 3461 4.3)
    require_tls: bool = False        # RFC 8689
    slot: str = ""                   # the slot file that it was written into: under another name the same octets are no message
