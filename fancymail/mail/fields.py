"""Header fields that we write: folded, encoded, and never more than one field (RFC 5322 2.2, RFC 2047).

Called by trace, DSN building and whoever completes a submission. A value with CR, LF or NUL is refused, not repaired: whoever
hands one in has mixed up data and structure. Never reads mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .address import Address
from .headers import HeaderError
from .words import encode_words, phrase

WIDTH = 78                           # RFC 5322 2.1.1
LINE_LIMIT = 998

_NAME = re.compile(r"[!-9;-~]{1,76}")
_TOKEN = re.compile(r"[ \t]*+[^ \t]++")
_INJECTION = re.compile(r"[\r\n\x00]")


def text_field(name: str, value: str) -> bytes:
    """Return an unstructured field (Subject, Comments): encoded words where ASCII does not do, folded, with CRLF."""
    check(name, value)
    plain = value.isascii() and value.isprintable() and "=?" not in value
    if not plain or any(len(token) > LINE_LIMIT - 80 for token in value.split(" ")):
        value = " ".join(encode_words(value, 75 - len(name) - 2))
    return fold(name, value)


def field(name: str, value: str, smtputf8: bool = False) -> bytes:
    """Return a structured field whose value is ready: folded at white space, with CRLF. UTF-8 only if `smtputf8` (RFC 6532)."""
    check(name, value)
    if not smtputf8 and not value.isascii():
        raise HeaderError(f"the field {name} needs SMTPUTF8", "5.6.7")
    return fold(name, value)


def address_field(name: str, mailboxes: Iterable[tuple[str, Address]], smtputf8: bool = False) -> bytes:
    """Return a field of (display name, address) pairs: To, From, Reply-To."""
    parts = []
    for display, address in mailboxes:
        check(name, display)
        parts.append(f"{phrase(display)} <{address}>" if display else f"<{address}>")
    return field(name, ", ".join(parts), smtputf8)


def check(name: str, value: str) -> None:
    """Raise HeaderError if the name is no field name, or the value could end the field."""
    if _NAME.fullmatch(name) is None:
        raise HeaderError("not a field name")
    if _INJECTION.search(value):
        raise HeaderError(f"the value of {name} has a line end in it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise HeaderError(f"the value of {name} is not valid Unicode") from None


def fold(name: str, value: str) -> bytes:
    """Fold "name: value" before white space so that lines keep within 78 octets where they can, 998 always."""
    lines, line = [], f"{name}:"
    for token in _TOKEN.findall(" " + value.strip(" \t")):
        if len(line) + len(token) > WIDTH and line.strip() and len(line) > len(name) + 1:
            lines.append(line)
            line = ""
        line += token
    lines.append(line)
    encoded = [text.encode() for text in lines]
    if max(map(len, encoded)) > LINE_LIMIT:
        raise HeaderError(f"the value of {name} cannot be folded")       # RFC 5322 2.1.1
    return b"\r\n".join(encoded) + b"\r\n"
