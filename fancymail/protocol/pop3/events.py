"""What a POP3 engine asks of its session, and what it is told at its beginning. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Options:
    """How one connection is served. Durations are seconds."""

    banner: str = "FancyMail POP3 ready"
    mechanisms: tuple[str, ...] = ("PLAIN",)    # all that are configured; what is offered depends on TLS
    plaintext: bool = False                     # passwords are taken without TLS on this connection
    stls: bool = True                           # there is a certificate
    login_failures: int = 3
    login_delay: int = 0
    errors: int = 50
    idle: float = 600.0
    login_timeout: float = 120.0


@dataclass(frozen=True, slots=True)
class Login:
    """USER and PASS: answer with logged_in or refused."""

    user: str
    password: bytes

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


@dataclass(frozen=True, slots=True)
class SaslStep:
    """A step of AUTH, base64 as on the wire: answer with challenge, logged_in or refused. `response` None: there was none."""

    mechanism: str
    response: bytes | None

    def __repr__(self) -> str:
        return f"SaslStep(mechanism={self.mechanism!r})"


@dataclass(frozen=True, slots=True)
class SaslCancelled:
    """The client gave AUTH up; nothing is to be answered."""

    mechanism: str


@dataclass(frozen=True, slots=True)
class Retrieve:
    """RETR, or TOP when `lines` is a number: answer with content, or begin_content ... end_content, or failed."""

    number: int
    uid: int
    octets: int
    lines: int | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """QUIT in a session: expunge these (RFC 1939 6), then answer with updated or failed. Without it nothing is ever deleted."""

    uids: list[int]


Event = Login | SaslStep | SaslCancelled | Retrieve | Update


class Maildrop(Protocol):
    """What the engine needs of a maildrop; core.maildrop.Maildrop is one."""

    count: int
    octets: int

    def find(self, number: int) -> tuple[int, int] | None:
        """Return (uid, octets)."""

    def delete(self, number: int) -> bool:
        """Mark as deleted."""

    def reset(self) -> None:
        """Take the marks away."""

    def unique_id(self, uid: int) -> bytes:
        """Return the unique-id."""

    def scan_listing(self) -> bytes:
        """Return the lines of LIST."""

    def unique_listing(self) -> bytes:
        """Return the lines of UIDL."""

    def deleted_uids(self) -> list[int]:
        """Return what QUIT has to expunge."""
