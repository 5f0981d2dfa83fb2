"""Passwords: what may be one, how it is kept, whether one is right. The only place that sees a hash and a password together.

Used by servers/auth/daemon.py. Kept as argon2id; hashes brought from elsewhere (core/crypts.py) are read, and replaced at the first login
that proves the password, when the SCRAM keys are derived too. Whoever does not exist costs as much as whoever does: a check is
made in any case. Every method that hashes blocks for milliseconds and belongs into the bounded pool.
"""

from __future__ import annotations

import hmac
import secrets
import warnings
from dataclasses import dataclass, field

from fancymail.core import crypts
from fancymail.mail.saslprep import saslprep
from fancymail.mail.scram import MIN_ITERATIONS, ScramKeys, derive
from fancymail.storage.ports.accounts import Account

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)        # passlib asks for `crypt` and argon2's version the old way
    import passlib.hash
    from passlib.context import CryptContext
    passlib.hash.argon2.set_backend("argon2_cffi")

LONGEST = 1024              # octets; looked at before anything is hashed
SALT = 16                   # octets of SCRAM salt


class PasswordRefused(ValueError):
    """This can't be a password here; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is kept of a password."""

    password: str = field(repr=False)
    scram: dict[str, ScramKeys] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password was right, and what to keep from now on if the old is no longer good enough."""

    right: bool
    upgrade: Credentials | None = None


class Passwords:
    """Makes and checks credentials. `secret`: 32 octets that stay the same for the life of the store."""

    def __init__(self, secret: bytes, *, mechanisms: tuple[str, ...] = ("SCRAM-SHA-256", "SCRAM-SHA-1"), iterations: int = 10_000,
                 memory: int = 19_456, passes: int = 2, lanes: int = 1, shortest: int = 8) -> None:
        """memory: KiB of argon2id; iterations: of SCRAM, at least 4096; shortest: characters of a new password."""
        if iterations < MIN_ITERATIONS:
            raise ValueError(f"SCRAM needs at least {MIN_ITERATIONS} iterations")
        self._secret, self._mechanisms, self._iterations, self._shortest = secret, mechanisms, iterations, shortest
        argon2 = passlib.hash.argon2.using(type="ID", memory_cost=memory, time_cost=passes, parallelism=lanes)
        self._context = CryptContext(schemes=[argon2, *crypts.READABLE], default="argon2", deprecated="auto")
        self._nobody = self._context.hash(secrets.token_hex(16))

    def make(self, password: str) -> Credentials:
        """Return what to keep of a new password; raises PasswordRefused."""
        try:
            prepared = saslprep(password)
        except ValueError as error:
            raise PasswordRefused(f"this cannot be a password: {error}") from None
        if len(prepared) < self._shortest:
            raise PasswordRefused(f"a password has at least {self._shortest} characters")
        if len(prepared.encode()) > LONGEST or len(password.encode()) > LONGEST:
            raise PasswordRefused(f"a password has at most {LONGEST} octets")
        return self._make(prepared)

    def bring(self, text: str) -> Credentials:
        """Return what to keep of a hash made elsewhere, or of `{PLAIN}password`; raises PasswordRefused."""
        password = crypts.cleartext(text)
        if password is not None:
            return self.make(password)
        try:
            return Credentials(crypts.canonical(text), {})
        except ValueError as error:
            raise PasswordRefused(str(error)) from None

    def scheme(self, account: Account) -> str:
        """Name the format of an account's hash for people: "argon2", "sha512_crypt" ..., "" for none."""
        return (self._context.identify(account.password) or "unknown") if account.password else ""

    def verify(self, account: Account | None, password: bytes) -> Verdict:
        """Check a password; the same work is done when there is no account, or it may not log in."""
        spellings = _spellings(password)
        usable = account is not None and account.enabled and bool(account.password)
        kept = account.password if usable else self._nobody
        right = any(self._matches(spelling, kept) for spelling in spellings)
        if not (right and usable):
            return Verdict(False)
        return Verdict(True, self._upgrade(account, spellings[0]))

    def keys(self, account: Account | None, name: str, mechanism: str) -> tuple[ScramKeys, bool]:
        """Return SCRAM keys and whether they are real. Made-up ones are the same each time that somebody asks for `name`."""
        made_up = self._made_up(name, mechanism)
        real = account.scram.get(mechanism) if account is not None and account.enabled else None
        return (made_up, False) if real is None else (real, True)

    def _make(self, prepared: str) -> Credentials:
        scram = {name: derive(name, prepared, secrets.token_bytes(SALT), self._iterations) for name in self._mechanisms}
        return Credentials(self._context.hash(prepared), scram)

    def _matches(self, spelling: str, kept: str) -> bool:
        try:
            return self._context.verify(spelling, kept)
        except (ValueError, TypeError):         # a damaged hash is nobody's; passlib's errors are ValueErrors
            return False

    def _upgrade(self, account: Account, prepared: str) -> Credentials | None:
        """Return new credentials if the hash is not of today's kind or SCRAM keys are missing or of another cost."""
        stale = any(name not in account.scram or account.scram[name].iterations != self._iterations for name in self._mechanisms)
        if not stale and not self._context.needs_update(account.password):
            return None
        return self._make(prepared)

    def _made_up(self, name: str, mechanism: str) -> ScramKeys:
        def octets(purpose: bytes) -> bytes:
            return hmac.digest(self._secret, b"\0".join((purpose, mechanism.encode(), name.encode())), "sha256")
        return ScramKeys(octets(b"salt")[:SALT], self._iterations, octets(b"stored key"), octets(b"server key"))


def _spellings(password: bytes) -> list[str]:
    """Return what to compare a shown password as: prepared, as we keep it; and as typed, as others have kept it. [] is none."""
    if not 0 < len(password) <= LONGEST or b"\0" in password:
        return []
    try:
        typed = password.decode()
    except UnicodeDecodeError:
        return []
    try:
        prepared = saslprep(typed)
    except ValueError:
        return [typed]
    return [prepared] if prepared == typed else [prepared, typed]
