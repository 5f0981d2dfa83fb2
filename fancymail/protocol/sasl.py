"""SASL mechanisms as conversations without I/O: PLAIN, LOGIN, SCRAM and OAuth tokens on the server's side, PLAIN and SCRAM on the client's.

A server mechanism is fed decoded responses by `step(response)` and answers with one value: `Challenge(data)`; `CheckPassword`,
which the caller decides by itself; `NeedKeys(username)`, answered by `keys(...)`; or `Success(...)`. A client that breaks the
rules gets SaslError. servers/auth drives the server side, smtpout and the tests the client side. Nothing here reads a clock, a
random source or an account; nonces and keys come in as parameters.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass

from fancymail.mail.saslprep import saslprep
from fancymail.mail.scram import HASHES, MIN_ITERATIONS, ScramKeys, salted_password

MECHANISMS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
OAUTH = ("OAUTHBEARER", "XOAUTH2")
SECRETS = (*OAUTH, "PLAIN", "LOGIN")         # these show what opens the account to whoever can read the connection
MAX_RESPONSE = 12_288           # octets of base64 (RFC 4954 section 4)
MAX_ITERATIONS = 1_000_000      # a client computes no more than this for a server: 0.5 s or so


class SaslError(Exception):
    """The exchange is over. `syntax`: the message could not be read; `value`: the server-error-value of RFC 5802 section 7."""

    def __init__(self, reason: str, value: str = "other-error", syntax: bool = False) -> None:
        super().__init__(reason)
        self.value, self.syntax = value, syntax


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send `data` to the client and feed its response to `step`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """The client has shown a password; whether it is right is the caller's decision. `authzid`: "" or whom to act as."""

    authzid: str
    username: str
    password: bytes

    def __repr__(self) -> str:
        return f"CheckPassword(authzid={self.authzid!r}, username={self.username!r})"


@dataclass(frozen=True, slots=True)
class CheckToken:
    """The client has shown an OAuth token. If it is wrong, go on with `failed(...)`. `authzid`: "" or whom to act as."""

    authzid: str
    token: bytes

    def __repr__(self) -> str:
        return f"CheckToken(authzid={self.authzid!r})"


@dataclass(frozen=True, slots=True)
class NeedKeys:
    """Look up the SCRAM keys of `username` and hand them to `keys(...)`, made-up ones when there is no such user."""

    username: str


@dataclass(frozen=True, slots=True)
class Success:
    """The client has proved who it is; `data` is the server's own proof and belongs to the client."""

    authzid: str
    username: str
    data: bytes


Outcome = Challenge | CheckPassword | CheckToken | NeedKeys | Success


def offered(mechanisms: tuple[str, ...], tls: bool, binding: bool, plaintext: bool = False) -> tuple[str, ...]:
    """Return what to advertise of the configured mechanisms: passwords and tokens only under TLS (or where `plaintext` is
    allowed), -PLUS only where the connection has channel-binding data."""
    return tuple(name for name in mechanisms
                 if (tls or plaintext or name not in SECRETS) and (binding or not name.endswith("-PLUS")))


def decode_response(text: bytes) -> bytes:
    """Return the octets of a response line: strict base64, `=` for none at all; raises SaslError (syntax)."""
    if text == b"=":                    # RFC 4954 section 4: a present but empty initial response
        return b""
    if len(text) > MAX_RESPONSE:
        raise SaslError("the response is too long", syntax=True)
    try:
        return b64decode(text, validate=True)
    except binascii.Error:
        raise SaslError("the response is not base64", syntax=True) from None


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise SaslError("the response is not UTF-8", "invalid-encoding", syntax=True) from None


class Plain:
    """PLAIN (RFC 4616): authorization identity, user name and password in one message."""

    def step(self, response: bytes | None) -> Outcome:
        """Ask for the message, or read it."""
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:      # RFC 4616 section 2: NUL is in none of the three
            raise SaslError("PLAIN is authzid NUL authcid NUL password", syntax=True)
        return CheckPassword(_text(parts[0]), _text(parts[1]), parts[2])


class Login:
    """LOGIN (draft-murchison-sasl-login): two questions, asked in the words that old clients wait for."""

    def __init__(self) -> None:
        self._username: str | None = None

    def step(self, response: bytes | None) -> Outcome:
        """Ask for the user name, then for the password; an initial response is the user name."""
        if response is None:
            return Challenge(b"Username:")
        if not response or b"\0" in response:
            raise SaslError("an empty answer, or one with NUL", syntax=True)
        if self._username is None:
            self._username = _text(response)
            return Challenge(b"Password:")
        return CheckPassword("", self._username, response)


class Bearer:
    """OAUTHBEARER (RFC 7628) and Google's XOAUTH2: a token in one message. A wrong one is told by a challenge, whose answer ends it."""

    def __init__(self, mechanism: str) -> None:
        self._shape = _BEARER if mechanism == "OAUTHBEARER" else _XOAUTH2
        self._failed = False

    def step(self, response: bytes | None) -> Outcome:
        """Ask for the message, read it, or hear that the client knows that it failed."""
        if self._failed:
            raise SaslError("the token was refused")        # RFC 7628 3.2.3: whatever the client's last answer is
        if response is None:
            return Challenge(b"")
        match = self._shape.fullmatch(response)
        if match is None:
            raise SaslError("the message cannot be read", "invalid-encoding", syntax=True)
        user = match["user"] or b""
        return CheckToken(_name(user) if user else "", match["token"])

    def failed(self, told: bytes) -> Challenge:
        """The token is wrong; `told`: JSON for the client."""
        self._failed = True
        return Challenge(told)


_SASLNAME = rb"(?:[^\0=,]|=2C|=3D)+"
_CLIENT_FIRST = re.compile(
    rb"(?P<gs2>(?P<flag>n|y|p=(?P<kind>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>%s))?,)"
    rb"(?P<bare>n=(?P<name>%s),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]=[^\0,]+)*)" % (_SASLNAME, _SASLNAME))
_TOKEN = rb"(?i:bearer) (?P<token>[A-Za-z0-9._~+/-]+=*)"
_BEARER = re.compile(rb"[ny],(?:a=(?P<user>%s))?,\x01(?:(?!auth=)[A-Za-z]+=[^\0\x01]*\x01)*auth=%s\x01(?:(?!auth=)[A-Za-z]+=[^\0\x01]*\x01)*\x01"
                     % (_SASLNAME, _TOKEN))
_XOAUTH2 = re.compile(rb"user=(?P<user>[^\0\x01]*)\x01auth=%s\x01\x01" % _TOKEN)
_CLIENT_FINAL = re.compile(
    rb"(?P<unproved>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]=[^\0,]+)*)"
    rb",p=(?P<proof>[A-Za-z0-9+/=]+)")
_SERVER_FIRST = re.compile(
    rb"r=(?P<nonce>[!-+\--~]+),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<count>[1-9][0-9]{0,9})(?:,[A-Za-z]=[^\0,]+)*")


def _name(octets: bytes) -> str:
    """Return a saslname unescaped and prepared (RFC 5802 section 5.1)."""
    try:
        return saslprep(_text(octets).replace("=2C", ",").replace("=3D", "="))
    except ValueError as error:
        raise SaslError(f"the user name cannot be prepared: {error}", "invalid-username-encoding", syntax=True) from None


def _unbase64(octets: bytes) -> bytes:
    try:
        return b64decode(octets, validate=True)
    except binascii.Error:
        raise SaslError("an attribute is not base64", "invalid-encoding", syntax=True) from None


class Scram:
    """SCRAM (RFC 5802, 7677), with channel binding if it ends in -PLUS: the client proves that it knows the password, then we do.

    `nonce`: our part, printable without commas, unpredictable; `binding`: tls-server-end-point octets (RFC 5929 section 4) or
    b""; `plus_offered`: whether a -PLUS mechanism was advertised on this connection.
    """

    def __init__(self, mechanism: str, nonce: str, binding: bytes = b"", plus_offered: bool = False) -> None:
        self.plus = mechanism.endswith("-PLUS")
        self.mechanism = mechanism.removesuffix("-PLUS")
        self._hash = HASHES[self.mechanism]
        self._nonce, self._binding, self._plus_offered = nonce.encode(), binding, plus_offered
        self._authzid = self._username = ""
        self._first_bare = self._first_server = self._gs2 = b""
        self._keys: ScramKeys | None = None

    def step(self, response: bytes | None) -> Outcome:
        """Read the client's first message, then its final one."""
        if response is None:
            return Challenge(b"")
        if self._keys is None:
            return self._first(response)
        return self._final(response, self._keys)

    def keys(self, keys: ScramKeys) -> Challenge:
        """Go on with the keys of the user whom NeedKeys named: the server's first message."""
        self._keys = keys
        self._first_server = b"r=%s,s=%s,i=%d" % (self._nonce, b64encode(keys.salt), keys.iterations)
        return Challenge(self._first_server)

    def _first(self, message: bytes) -> NeedKeys:
        match = _CLIENT_FIRST.fullmatch(message)
        if not match:
            if re.match(rb"[^,]*,[^,]*,m=", message):      # RFC 5802 section 5.1: a mandatory extension that nobody knows
                raise SaslError("an unknown extension is required", "extensions-not-supported")
            raise SaslError("the first message cannot be read", "invalid-encoding", syntax=True)
        self._check_binding(match["flag"], match["kind"])
        self._gs2, self._first_bare = match["gs2"], match["bare"]
        self._nonce = match["nonce"] + self._nonce
        self._authzid = _name(match["authzid"]) if match["authzid"] else ""
        self._username = _name(match["name"])
        return NeedKeys(self._username)

    def _check_binding(self, flag: bytes, kind: bytes | None) -> None:
        """Hold the rules of RFC 5802 section 6 on who may bind, and notice a stripped -PLUS."""
        if self.plus:
            if kind is None:
                raise SaslError("a -PLUS mechanism without channel binding", "other-error", syntax=True)
            if kind != b"tls-server-end-point":
                raise SaslError("the channel binding type is not known here", "unsupported-channel-binding-type")
            if not self._binding:
                raise SaslError("there is no channel to bind to", "channel-binding-not-supported")
        elif kind is not None:
            raise SaslError("channel binding without a -PLUS mechanism", "other-error", syntax=True)
        elif flag == b"y" and self._plus_offered:
            # The client can bind and was told that we cannot: someone on the way took -PLUS out of the list.
            raise SaslError("the client did not see our -PLUS mechanisms", "server-does-support-channel-binding")

    def _final(self, message: bytes, keys: ScramKeys) -> Success:
        match = _CLIENT_FINAL.fullmatch(message)
        if not match:
            raise SaslError("the final message cannot be read", "invalid-encoding", syntax=True)
        if not hmac.compare_digest(match["nonce"], self._nonce):
            raise SaslError("the nonce is not the one of this exchange", "other-error")
        bound = self._gs2 + (self._binding if self.plus else b"")
        if not hmac.compare_digest(_unbase64(match["binding"]), bound):
            raise SaslError("the channel bindings differ", "channel-bindings-dont-match")
        signed = b",".join((self._first_bare, self._first_server, match["unproved"]))
        self._check_proof(_unbase64(match["proof"]), signed, keys)
        server_signature = hmac.digest(keys.server_key, signed, self._hash)
        return Success(self._authzid, self._username, b"v=" + b64encode(server_signature))

    def _check_proof(self, proof: bytes, signed: bytes, keys: ScramKeys) -> None:
        signature = hmac.digest(keys.stored_key, signed, self._hash)
        if len(proof) != len(signature):
            raise SaslError("the proof has a wrong length", "invalid-proof")
        client_key = _xor(proof, signature)
        if not hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), keys.stored_key):
            raise SaslError("the proof is wrong", "invalid-proof")


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def server(mechanism: str, nonce: str, binding: bytes = b"", plus_offered: bool = False) -> Plain | Login | Bearer | Scram:
    """Return a fresh server side of a mechanism named in capitals; raises KeyError for one that is not known."""
    if mechanism == "PLAIN":
        return Plain()
    if mechanism == "LOGIN":
        return Login()
    if mechanism in OAUTH:
        return Bearer(mechanism)
    return Scram(mechanism, nonce, binding, plus_offered)


def plain_message(username: str, password: str, authzid: str = "") -> bytes:
    """Return what a client sends for PLAIN; raises ValueError for NUL inside."""
    if "\0" in username + password + authzid:
        raise ValueError("NUL cannot be sent in PLAIN")
    return b"\0".join((authzid.encode(), username.encode(), password.encode()))


class ScramClient:
    """The client side of SCRAM: `first()`, then `final(server_first)`, then `verify(server_final)`.

    `nonce`: printable without commas, unpredictable. With `binding` (tls-server-end-point octets) a mechanism that ends in -PLUS
    binds; a plain one says `y` when it could have bound, so that the server notices a stripped list. Raises SaslError when the
    server breaks the rules, and ValueError when the name or the password cannot be prepared.
    """

    def __init__(self, mechanism: str, username: str, password: str, nonce: str, binding: bytes = b"") -> None:
        self.mechanism = mechanism.removesuffix("-PLUS")
        self._hash = HASHES[self.mechanism]
        self._password, self._nonce = saslprep(password), nonce.encode()
        plus = mechanism.endswith("-PLUS")
        if plus and not binding:
            raise SaslError("a -PLUS mechanism needs channel-binding data")
        self._gs2 = b"p=tls-server-end-point,," if plus else b"y,," if binding else b"n,,"
        self._bound = b64encode(self._gs2 + (binding if plus else b""))
        name = saslprep(username).replace("=", "=3D").replace(",", "=2C").encode()
        self._first_bare = b"n=%s,r=%s" % (name, self._nonce)
        self._server_signature = b""

    def first(self) -> bytes:
        """Return the client's first message."""
        return self._gs2 + self._first_bare

    def final(self, server_first: bytes) -> bytes:
        """Return the client's final message; blocks for the derivation, at most MAX_ITERATIONS of it."""
        match = _SERVER_FIRST.fullmatch(server_first)
        if not match:
            raise SaslError("the server's first message cannot be read")
        nonce, iterations = match["nonce"], int(match["count"])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise SaslError("the server's nonce does not continue ours")
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise SaslError(f"the server asks for {iterations} iterations")
        unproved = b"c=%s,r=%s" % (self._bound, nonce)
        signed = b",".join((self._first_bare, server_first, unproved))
        salted = salted_password(self.mechanism, self._password, _unbase64(match["salt"]), iterations)
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        signature = hmac.digest(hashlib.new(self._hash, client_key).digest(), signed, self._hash)
        self._server_signature = hmac.digest(hmac.digest(salted, b"Server Key", self._hash), signed, self._hash)
        return unproved + b",p=" + b64encode(_xor(client_key, signature))

    def verify(self, server_final: bytes) -> None:
        """Check the server's own proof; raises SaslError when it isn't the server that knows us."""
        if server_final.startswith(b"e="):
            raise SaslError("the server refuses", server_final[2:].decode("ascii", "replace"))
        expected = b"v=" + b64encode(self._server_signature)
        if not self._server_signature or not hmac.compare_digest(server_final.split(b",", 1)[0], expected):
            raise SaslError("the server could not prove that it knows the password")
