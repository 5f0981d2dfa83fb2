"""What a server keeps to check SCRAM without keeping the password, and how it is derived (RFC 5802 section 3, RFC 7677).

Used by core/passwords (derives when a password is set or seen) and by protocol/sasl (both sides of the exchange). From these
keys nobody can log in without a search for the password; they are as secret as a password hash all the same.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
MIN_ITERATIONS = 4096           # RFC 5802 section 5.1, RFC 7677 section 4: a smaller count is refused


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """Salt and keys of one account for one hash."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return f"ScramKeys(iterations={self.iterations})"       # never the keys: a repr ends in logs


def salted_password(mechanism: str, prepared: str, salt: bytes, iterations: int) -> bytes:
    """Return Hi(password, salt, i): the costly step, done without the GIL; `prepared` went through saslprep."""
    return hashlib.pbkdf2_hmac(HASHES[mechanism], prepared.encode(), salt, iterations)


def derive(mechanism: str, prepared: str, salt: bytes, iterations: int) -> ScramKeys:
    """Return the keys that a server keeps of a prepared password; blocks for milliseconds."""
    hash_name = HASHES[mechanism]
    salted = salted_password(mechanism, prepared, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    return ScramKeys(salt, iterations, hashlib.new(hash_name, client_key).digest(), hmac.digest(salted, b"Server Key", hash_name))
