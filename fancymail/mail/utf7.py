"""Modified UTF-7, the spelling of mailbox names for clients that did not ask for UTF-8 (RFC 3501 5.1.3, RFC 9051 A.1).

Called by protocol/imap for what clients send, by mail/imap/strings.py for what they get. Strict: each name has one spelling, and any
other is refused, so that no two spellings ever name one mailbox. Linear, whole runs at a time.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error

_PLAIN = re.compile(rb"[\x20-\x25\x27-\x7e]*+")
_SHIFT = re.compile(rb"&([A-Za-z0-9+,]*+)-")
_ENCODED = re.compile(r"[^\x20-\x25\x27-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def decode(name: bytes) -> str:
    """Return the name as text; raises ValueError on whatever is not the one right spelling of it."""
    if _PLAIN.fullmatch(name):
        return name.decode("ascii")
    text = _SHIFT.sub(_shifted, name)
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise ValueError("not modified UTF-7") from None
    # One rule for all that is forbidden: ASCII in base64, loose bits, shifts side by side, 8-bit octets, a lone "&".
    if _CONTROL.search(decoded) or encode(decoded) != name:
        raise ValueError("not modified UTF-7")
    return decoded


def _shifted(match: re.Match[bytes]) -> bytes:
    if not match[1]:
        return b"&"
    text = match[1].replace(b",", b"/")
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True).decode("utf-16-be").encode()
    except (Error, UnicodeError):
        raise ValueError("not modified UTF-7") from None


def encode(name: str) -> bytes:
    """Return the name in modified UTF-7; raises ValueError on a lone surrogate."""
    if name.isascii() and name.isprintable() and "&" not in name:
        return name.encode()
    return _ENCODED.sub(_encoded, name).encode()


def _encoded(match: re.Match[str]) -> str:
    # "&" inside of a run is encoded with it only when something else is; alone it has its own spelling.
    return "&-".join(_run(piece) for piece in match[0].split("&"))


def _run(text: str) -> str:
    if not text:
        return ""
    return "&" + b64encode(text.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",").decode() + "-"
