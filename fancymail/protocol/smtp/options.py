"""What one listening port of SMTP offers: fixed for its sessions, so the replies it leads to are rendered once.

Made by servers/smtpin from the settings; read by server.py. Values only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fancymail.protocol.smtp.content import ContentLimits
from fancymail.protocol.smtp.reply import Reply

MECHANISMS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")


@dataclass(frozen=True)
class Deadlines:
    """Seconds that each phase may last as a whole, however the octets trickle."""

    greeting: float = 0.0        # silence before the banner, to catch who speaks first; 0: none
    hello: float = 30.0          # from the banner to the first hello
    command: float = 300.0       # from a reply to the next command (RFC 5321 4.5.3.2.7)
    auth: float = 60.0           # each step of an authentication
    content: float = 1200.0      # from 354, or from a BDAT, to the end of its octets
    linger: float = 10.0         # after a refusal that ends the session in the middle of content


@dataclass(frozen=True)
class Options:
    """One port. Limits of 0 mean none."""

    host: str
    mode: str = "transfer"                           # transfer, submission or lmtp
    banner: str = "FancyMail"
    tls: bool = False                                # STARTTLS can be offered
    tls_required: bool = False                       # nothing but STARTTLS before TLS
    mechanisms: tuple[str, ...] = ()                 # SASL mechanisms; empty: AUTH is not offered
    auth_in_plain: bool = False                      # AUTH also without TLS
    auth_required: bool = False                      # MAIL needs an account
    sync: bool = True                                # refuse who sends ahead of a reply it must wait for
    recipients: int = 1000                           # per message
    messages: int = 100                              # per session
    errors: int = 50
    junk: int = 100                                  # commands in a row that bring no mail
    logins: int = 3                                  # failed ones
    content: ContentLimits = field(default_factory=ContentLimits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    _hello: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def protocol(self) -> str:
        """The protocol's own name in the banner (RFC 2033 4.1: LMTP says so)."""
        return "LMTP" if self.mode == "lmtp" else "ESMTP"

    def greeting(self) -> Reply:
        """RFC 5321 4.2: the banner."""
        return Reply(220, "", f"{self.host} {self.protocol} {self.banner}")

    def extended_hello(self, tls: bool, binding: bool, authenticated: bool) -> Reply:
        """The answer to EHLO or LHLO; made once per kind of session."""
        key = (tls, binding, authenticated)
        if key not in self._hello:
            self._hello[key] = Reply(250, "", self.host, *self._keywords(*key))
        return self._hello[key]

    def offered_mechanisms(self, tls: bool, binding: bool) -> tuple[str, ...]:
        """SASL mechanisms of this moment: channel binding needs something to bind to (RFC 5802 6)."""
        if not (tls or self.auth_in_plain):
            return ()
        return tuple(name for name in self.mechanisms if binding or not name.endswith("-PLUS"))

    def _keywords(self, tls: bool, binding: bool, authenticated: bool) -> list[str]:
        words = ["PIPELINING", f"SIZE {self.content.octets}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
        limits = [f"{name}={value}" for name, value in (("MAILMAX", self.messages), ("RCPTMAX", self.recipients)) if value]
        if limits:
            words.append("LIMITS " + " ".join(limits))                   # RFC 9422
        if self.tls and not tls:
            words.append("STARTTLS")
        mechanisms = () if authenticated else self.offered_mechanisms(tls, binding)
        if mechanisms:
            words.append("AUTH " + " ".join(mechanisms))
        if self.mode != "lmtp":
            words.append("HELP")
        return words
