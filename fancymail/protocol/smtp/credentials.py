"""The client's side of AUTH: how we prove ourselves to a smarthost.

`start(credentials, offered)` picks the best mechanism that both know; the object answers challenges until it is through. Used by
the client engine. The nonce comes in from outside: nothing here is random. Nothing here logs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..engine import ProtocolError
from ..sasl import SaslError, ScramClient, plain_message


@dataclass(frozen=True, slots=True)
class Credentials:
    """Account and password at a smarthost; `nonce` is fresh printable randomness for one session."""

    user: str
    password: str = field(repr=False)
    nonce: str = field(default="", repr=False)


class PlainAnswers:
    """PLAIN (RFC 4616): everything in the initial response."""

    name = "PLAIN"
    complete = True

    def __init__(self, credentials: Credentials) -> None:
        self.message = plain_message(credentials.user, credentials.password)

    def initial(self) -> bytes | None:
        return self.message

    def answer(self, challenge: bytes) -> bytes:
        raise ProtocolError("PLAIN: a challenge where none is due")


class LoginAnswers:
    """LOGIN: user and password on request, an old habit without an RFC."""

    name = "LOGIN"

    def __init__(self, credentials: Credentials) -> None:
        self.words = [credentials.user.encode(), credentials.password.encode()]

    @property
    def complete(self) -> bool:
        return not self.words

    def initial(self) -> bytes | None:
        return None

    def answer(self, challenge: bytes) -> bytes:
        if not self.words:
            raise ProtocolError("LOGIN: a third challenge")
        return self.words.pop(0)


class ScramAnswers:
    """SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding: the server proves itself, too."""

    name = "SCRAM-SHA-256"

    def __init__(self, credentials: Credentials) -> None:
        self.client = ScramClient(self.name, credentials.user, credentials.password, credentials.nonce)
        self.proved = self.complete = False

    def initial(self) -> bytes | None:
        return self.client.first()

    def answer(self, challenge: bytes) -> bytes:
        try:
            if not self.proved:
                self.proved = True
                return self.client.final(challenge)
            self.client.verify(challenge)
        except SaslError as error:
            raise ProtocolError(f"SCRAM: {error}") from None
        self.complete = True
        return b""


MECHANISMS = (ScramAnswers, PlainAnswers, LoginAnswers)      # the best first


def start(credentials: Credentials, offered: Iterable[str]) -> PlainAnswers | LoginAnswers | ScramAnswers | None:
    """Begin the best mechanism of those offered, or None when there is none in common.

    Raises ProtocolError when the credentials cannot be said (NUL, characters that SASLprep refuses).
    """
    names = {name.upper() for name in offered}
    try:
        return next((mechanism(credentials) for mechanism in MECHANISMS if mechanism.name in names), None)
    except (ValueError, SaslError) as error:
        raise ProtocolError(f"the credentials cannot be said: {error}") from None
