"""Bearer tokens: who may open what, and everything that is wrong with the others (RFC 8725's list among it)."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from fancymail.core.tokens import Issuer, TokenRefused, Tokens, keys_of

NOW = 1_800_000_000
KEY = ECKey.generate_key("P-256", {"kid": "one"}, auto_kid=False)
OTHER = ECKey.generate_key("P-256", {"kid": "one"}, auto_kid=False)
RSA = RSAKey.generate_key(2048, {"kid": "two"}, auto_kid=False)
JWKS = json.dumps({"keys": [KEY.as_dict(private=False), RSA.as_dict(private=False)]})
CLAIMS = {"iss": "https://id.example.test", "aud": "mail", "email": "alice@example.test", "exp": NOW + 600, "iat": NOW - 5}


@pytest.fixture
def tokens():
    return Tokens([Issuer("https://id.example.test", "mail", keys_of(JWKS)),
                   Issuer("https://other.test", "mail", keys_of(JWKS), "sub", "imap")])


def sign(key=KEY, algorithm="ES256", header=None, **claims) -> bytes:
    merged = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.as_dict().get("kid", "one"), **(header or {})}, merged, key, algorithms=[algorithm]).encode()


def test_right_ones(tokens):
    assert tokens.user(sign(), NOW) == "alice@example.test"
    assert tokens.user(sign(RSA, "RS256"), NOW) == "alice@example.test"
    assert tokens.user(sign(aud=["x", "mail"]), NOW) == "alice@example.test"
    assert tokens.user(sign(exp=NOW - 30), NOW) == "alice@example.test", "clocks differ a little"
    assert tokens.user(sign(iss="https://other.test", sub="bob", scope="openid imap"), NOW) == "bob"


@pytest.mark.parametrize("wrong, why", [
    ({"exp": NOW - 61}, "over"), ({"exp": None}, "until when"), ({"exp": "never"}, "until when"), ({"nbf": NOW + 61}, "future"),
    ({"aud": "other"}, "somebody else"), ({"aud": None}, "somebody else"), ({"iss": "https://evil.test"}, "issuer of ours"),
    ({"iss": None}, "issuer of ours"), ({"iss": ["https://id.example.test"]}, "issuer of ours"), ({"email": None}, "no email"),
    ({"email": ["alice@example.test"]}, "no email"), ({"email_verified": False}, "not verified"),
    ({"iss": "https://other.test", "sub": "bob", "scope": "openid"}, "scope"), ({"iss": "https://other.test", "sub": "bob"}, "scope")])
def test_wrong_claims(tokens, wrong, why):
    with pytest.raises(TokenRefused, match=why):
        tokens.user(sign(**wrong), NOW)


def test_a_foreign_signature(tokens):
    with pytest.raises(TokenRefused, match="signed"):
        tokens.user(sign(OTHER), NOW)


def test_a_changed_claim(tokens):
    head, _, signature = sign().split(b".")
    changed = urlsafe_b64encode(json.dumps(CLAIMS | {"email": "bob@example.test"}).encode()).rstrip(b"=")
    with pytest.raises(TokenRefused, match="signed"):
        tokens.user(b".".join((head, changed, signature)), NOW)


def test_no_algorithm_and_symmetric_ones(tokens):
    head = urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=")
    body = urlsafe_b64encode(json.dumps(CLAIMS).encode()).rstrip(b"=")
    signed = urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=") + b"." + body
    proof = urlsafe_b64encode(hmac.digest(KEY.as_pem(private=False), signed, "sha256")).rstrip(b"=")        # RFC 8725 2.1
    for token in (head + b"." + body + b".", signed + b"." + proof):
        with pytest.raises(TokenRefused, match="signed"):
            tokens.user(token, NOW)


@pytest.mark.parametrize("token", [b"", b"x", b"a.b.c", b"..", b"e30.e30.e30", b"e30.W10.", b"." * 9000, b"a." + b"W1" * 4000 + b".c"])
def test_garbage(tokens, token):
    with pytest.raises(TokenRefused):
        tokens.user(token, NOW)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": 3}', '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
                                  json.dumps({"keys": [KEY.as_dict(private=True)]}), '{"keys": [{"kty": "EC"}]}'])
def test_keys_that_are_none(text):
    with pytest.raises(ValueError):
        keys_of(text)


def test_what_a_client_is_told(tokens):
    assert json.loads(tokens.challenge()) == {"status": "invalid_token", "schemes": "bearer", "scope": "imap"}
    one = Tokens([Issuer("https://id.example.test/", "mail", keys_of(JWKS))])
    assert json.loads(one.challenge())["openid-configuration"] == "https://id.example.test/.well-known/openid-configuration"
