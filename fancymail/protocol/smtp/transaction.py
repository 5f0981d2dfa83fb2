"""One mail transaction as a client speaks it: what is asked of the next hop, and the commands for it.

Built by servers/smtpout/destination.py for one message and its recipients at one destination; used by the client engine. `refusal` says
before anything is sent what this server cannot do for this message. Never talks, never reads the content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping

from fancymail.mail.envelope import Recipient

from .answers import Outcome

_BREAKS = re.compile(r"[\x00-\x20\x7f<>]")
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"@[^\x00-\x20\x7f<>"]+')
_XTEXT = re.compile(r"[^!-*,-<>-~]")


@dataclass(frozen=True, slots=True)
class Transaction:
    """A reverse-path, the recipients and what the content needs. `size` is exact, in octets, dots unstuffed."""

    sender: str
    recipients: tuple[Recipient, ...]
    size: int
    eight_bit: bool = False          # the content has octets above 127
    utf8: bool = False               # the header needs SMTPUTF8 (RFC 6531); whether an address does, it shows
    envid: str = ""
    ret: str = ""
    require_tls: bool = False

    def refusal(self, extensions: Mapping[str, str], tls: bool) -> Outcome | None:
        """Tell why this message must not be offered to a server with these extensions, or None."""
        if self.require_tls and not (tls and "REQUIRETLS" in extensions):       # RFC 8689 4.2.1
            return Outcome("failed", "5.7.30", "REQUIRETLS is not supported by the next hop")
        limit = extensions.get("SIZE", "")
        if limit.isdecimal() and len(limit) < 20 and 0 < int(limit) < self.size:    # RFC 1870 6.1
            return Outcome("failed", "5.3.4", f"the message has {self.size} octets, the next hop takes {int(limit)}")
        if (self.utf8 or not self.sender.isascii()) and "SMTPUTF8" not in extensions:      # RFC 6531 3.2
            return Outcome("failed", "5.6.7", "the message needs SMTPUTF8, which the next hop does not offer")
        if self.eight_bit and "8BITMIME" not in extensions:                     # RFC 6152 3
            return Outcome("failed", "5.6.3", "the message has 8-bit content, the next hop does not offer 8BITMIME")
        return None

    def objection(self, recipient: Recipient, extensions: Mapping[str, str]) -> Outcome | None:
        """Tell why this recipient must not be named to a server with these extensions, or None; the others are not concerned."""
        if not speakable(recipient.address):
            return Outcome("failed", "5.1.3", "the address cannot be said in SMTP")
        if not recipient.address.isascii() and "SMTPUTF8" not in extensions:    # RFC 6531 3.2
            return Outcome("failed", "5.6.7", "the address needs SMTPUTF8, which the next hop does not offer")
        return None

    def mail_command(self, extensions: Mapping[str, str]) -> bytes:
        """MAIL with the parameters that the server offers."""
        words = [f"MAIL FROM:<{self.sender}>"]
        if "SIZE" in extensions:
            words.append(f"SIZE={self.size}")
        if self.eight_bit:
            words.append("BODY=8BITMIME")
        addresses = (self.sender, *(recipient.address for recipient in self.recipients))
        if "SMTPUTF8" in extensions and (self.utf8 or not all(map(str.isascii, addresses))):
            words.append("SMTPUTF8")
        if self.require_tls:
            words.append("REQUIRETLS")
        if "DSN" in extensions:
            words += [f"RET={self.ret}"] if self.ret in ("FULL", "HDRS") else []
            words += [f"ENVID={xtext(self.envid)}"] if self.envid else []
        return " ".join(words).encode() + b"\r\n"

    def rcpt_command(self, recipient: Recipient, extensions: Mapping[str, str]) -> bytes:
        """RCPT with NOTIFY and ORCPT where the server offers DSN (RFC 3461 5.2.1)."""
        words = [f"RCPT TO:<{recipient.address}>"]
        if "DSN" in extensions:
            words += ["NOTIFY=" + ",".join(recipient.notify)] if recipient.notify else []
            kind, found, address = recipient.orcpt.partition(";")
            words += [f"ORCPT={kind};{xtext(address)}"] if found and kind.replace("-", "").isalnum() else []
        return " ".join(words).encode() + b"\r\n"


def speakable(address: str) -> bool:
    """Whether an address can stand between < and > without becoming something else; it was checked before, and is again."""
    return bool(address) and (not _BREAKS.search(address) or bool(_QUOTED.fullmatch(address)))


def xtext(text: str) -> str:
    """Encode as xtext; beyond ASCII as utf-8-addr-xtext (RFC 3461 4, RFC 6533 3)."""
    return _XTEXT.sub(lambda match: f"+{ord(match[0]):02X}" if match[0] < "\x80" else f"\\x{{{ord(match[0]):X}}}", text)
