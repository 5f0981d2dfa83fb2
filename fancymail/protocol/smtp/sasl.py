"""AUTH on the wire: base64, the two prompts of LOGIN, `*`, and the empty answer that ends SCRAM (RFC 4954).

Used by server.py. An exchange turns lines into SASL messages and back; what they mean is decided by the auth daemon. LOGIN is
told as the PLAIN message that it amounts to. Never keeps a password longer than its exchange.
"""

from __future__ import annotations

import binascii
from base64 import b64encode

from fancymail.protocol.smtp import reply as r
from fancymail.protocol.smtp.events import AuthStart, AuthStep
from fancymail.protocol.smtp.parameters import Refused

LINE_LIMIT = 12288                                   # octets of base64, RFC 4954 4
_PROMPTS = (b"Username:", b"Password:")


def decode(text: str) -> bytes:
    """Decode a response strictly: padding where it belongs, no stranger in between."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Refused(r.AUTH_BASE64) from None


def challenge(data: bytes) -> bytes:
    """RFC 4954 4: 334 and the challenge, which may be empty."""
    return b"334 " + b64encode(data) + b"\r\n"


class Exchange:
    """One AUTH command and the lines that follow it.

    `begin` and `answer` return the event to decide, or None when the exchange goes on by itself: then `to_send` is the challenge.
    """

    def __init__(self, mechanism: str) -> None:
        self.mechanism = mechanism
        self.to_send = b""
        self.confirming = False                      # the last challenge carried the proof of the server
        self._started = False
        self._login: list[bytes] = []

    def begin(self, initial: str | None) -> AuthStart | None:
        """Take the initial response, if one came with the command; "=" is the empty one."""
        if initial is None:
            self.to_send = challenge(_PROMPTS[0] if self.mechanism == "LOGIN" else b"")
            return None
        return self._take(b"" if initial == "=" else decode(initial))

    def answer(self, line: str) -> AuthStart | AuthStep | None:
        """Take one line of the client; raises Refused when it is not base64."""
        return self._take(decode(line))

    def _take(self, response: bytes) -> AuthStart | AuthStep | None:
        if self.mechanism == "LOGIN":
            return self._take_login(response)
        if self._started:
            return AuthStep(response)
        self._started = True
        return AuthStart(self.mechanism, response)

    def _take_login(self, response: bytes) -> AuthStart | None:
        self._login.append(response)
        if len(self._login) < len(_PROMPTS):
            self.to_send = challenge(_PROMPTS[len(self._login)])
            return None
        user, password = self._login
        if b"\0" in user or b"\0" in password:       # would move the borders inside PLAIN
            raise Refused(r.AUTH_BASE64)
        return AuthStart("PLAIN", b"\0" + user + b"\0" + password)
