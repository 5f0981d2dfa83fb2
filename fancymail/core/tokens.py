"""Whose bearer token is it? JSON Web Tokens (RFC 7519) of configured issuers, verified by keys that are configured too.

Used by servers/auth/exchanges.py for OAUTHBEARER and XOAUTH2. Nothing is fetched and nobody is asked: a token is right if a known issuer signed
it for us and its time has come and not gone. Only asymmetric algorithms are taken, whatever a token says of itself (RFC 8725 3.1, 3.2).
Keeps no token.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:               # fifty modules, imported where somebody has an issuer: every daemon shares the memory of what is imported at the top
    from joserfc.jwk import KeySet

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
LONGEST = 8192                  # octets of a token
LEEWAY = 60                     # seconds by which clocks may differ


class TokenRefused(Exception):
    """The token opens nothing here; the text says why, for the log."""


class Issuer(NamedTuple):
    """One that signs tokens. claim: names the account; scope: must be among those of the token, "" for any."""

    issuer: str
    audience: str
    keys: KeySet
    claim: str = "email"
    scope: str = ""


def keys_of(text: str | bytes) -> KeySet:
    """Read a JWK Set (RFC 7517 5). Raises ValueError when it is none, or has a secret or symmetric key in it."""
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet
    try:
        found = json.loads(text)
        listed = found["keys"]
        if any(key.get("kty") == "oct" or "d" in key for key in listed):
            raise ValueError("holds a secret; only public keys belong here")
        keys = KeySet.import_key_set({"keys": [key for key in listed if key.get("use", "sig") == "sig"]})
    except (JoseError, TypeError, KeyError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"is no JWK set: {error}") from None
    if not keys.keys:
        raise ValueError("holds no key for signatures")
    return keys


class Tokens:
    """All issuers."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}

    def __bool__(self) -> bool:
        return bool(self._issuers)

    def challenge(self) -> bytes:
        """What a client is told about a token that was refused (RFC 7628 3.2.2)."""
        scopes = " ".join(sorted({issuer.scope for issuer in self._issuers.values() if issuer.scope}))
        told = {"status": "invalid_token", "schemes": "bearer"} | ({"scope": scopes} if scopes else {})
        if len(self._issuers) == 1:
            told["openid-configuration"] = next(iter(self._issuers)).rstrip("/") + "/.well-known/openid-configuration"
        return json.dumps(told).encode()

    def user(self, token: bytes, now: float) -> str:
        """Return the user that a token names. Raises TokenRefused."""
        issuer = self._issuers.get(_claimed_issuer(token))
        if issuer is None:
            raise TokenRefused("not of an issuer of ours")
        from joserfc import jwt
        from joserfc.errors import JoseError
        try:
            claims = jwt.decode(token, issuer.keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise TokenRefused(f"not signed as it should be: {error}") from None
        _check_time(claims, now)
        _check_purpose(claims, issuer)
        user = claims.get(issuer.claim)
        if not isinstance(user, str) or not user or len(user) > 320:
            raise TokenRefused(f"has no {issuer.claim}")
        if issuer.claim == "email" and claims.get("email_verified") is False:
            raise TokenRefused("its email was not verified by the issuer")
        return user


def _claimed_issuer(token: bytes) -> str:
    """Who is said to have signed it: only to choose the keys."""
    if len(token) > LONGEST or token.count(b".") != 2:
        raise TokenRefused("not a signed token")
    try:
        payload = token.split(b".")[1]
        claims = json.loads(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, RecursionError) as error:
        raise TokenRefused(f"not a token: {error}") from None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else ""


def _check_time(claims: dict, now: float) -> None:
    expires, begins = claims.get("exp"), claims.get("nbf", claims.get("iat", 0))
    if not isinstance(expires, (int, float)) or not isinstance(begins, (int, float)):
        raise TokenRefused("does not say until when it is good")
    if now > expires + LEEWAY:
        raise TokenRefused("is over")
    if now < begins - LEEWAY:
        raise TokenRefused("is of the future")


def _check_purpose(claims: dict, issuer: Issuer) -> None:
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise TokenRefused("is for somebody else")
    scopes = claims.get("scope", claims.get("scp", ""))
    if issuer.scope and issuer.scope not in (scopes.split() if isinstance(scopes, str) else scopes if isinstance(scopes, list) else ()):
        raise TokenRefused("lacks the scope")
