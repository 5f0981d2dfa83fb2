"""What a client session is told and what it tells: profile, deadlines and events.

Values only. `Profile` and `Timeouts` go into SmtpClient, the events come out of it; servers/smtpout/destination.py makes the ones and
reads the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .answers import Outcome
from .credentials import Credentials

TLS_NEVER, TLS_MAY, TLS_REQUIRE = "never", "may", "require"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a host may take for each reply (RFC 5321 4.5.3.2); a trickle of octets does not prolong them."""

    greeting: float = 300
    hello: float = 300
    tls: float = 60
    auth: float = 120
    mail: float = 300
    rcpt: float = 300
    data: float = 120
    block: float = 180
    final: float = 600
    rset: float = 60
    quit: float = 5


@dataclass(frozen=True, slots=True)
class Profile:
    """Who we are for this host and what we insist on. `secured`: TLS was there before the greeting (port 465)."""

    hostname: str
    tls: str = TLS_MAY
    secured: bool = False
    credentials: Credentials | None = None
    auth_in_clear: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The session is up; the host offers `extensions` (keyword -> parameters)."""

    extensions: Mapping[str, str]
    tls: bool


@dataclass(frozen=True, slots=True)
class WantContent:
    """Say `content(...)` until it is all given, then `content_end()`."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A transaction is over: one outcome per recipient, in order. `dsn`: the host took over the duty to notify (RFC 3461)."""

    outcomes: tuple[Outcome, ...]
    dsn: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The session is over and no transaction was under way. kind: refused, lost, protocol, timeout, tls, auth."""

    kind: str
    outcome: Outcome


Event = Ready | WantContent | Ended | Failed
