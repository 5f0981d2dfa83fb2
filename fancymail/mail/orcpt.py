"""Original recipients: the type;address form of ORCPT and Original-Recipient (RFC 3461 4.2, RFC 6533 3).

Called when delivery status notifications are written and read; the xtext around it on the wire is the engines' matter. Escapes that stand for
characters nobody can print are left as they are, so no line end comes out of one.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_UNSAFE = re.compile(r"[^!-*,-<>-\[\]-~]")                  # outside QCHAR of RFC 6533
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


def split_orcpt(orcpt: str) -> tuple[str, str]:
    """Split a decoded ORCPT into (address type in lower case, address); raise ValueError if it is none."""
    kind, semicolon, address = orcpt.partition(";")
    kind, address = kind.strip().lower(), address.strip()
    if not semicolon or not address or _TYPE.fullmatch(kind) is None or not address.isprintable():
        raise ValueError("not an original recipient")
    return kind, decode_utf8_address(address) if kind == "utf-8" else address


def decode_utf8_address(text: str) -> str:
    r"""Return an address of type utf-8 with its "\x{20AC}" forms decoded."""
    def char(match: re.Match[str]) -> str:
        point = int(match[1], 16)
        decoded = chr(point) if point <= 0x10FFFF else ""
        return decoded if decoded and decoded.isprintable() else match[0]
    return _ESCAPE.sub(char, text)


def encode_utf8_address(text: str) -> str:
    r"""Write an address of type utf-8 in ASCII: what needs it as "\x{HEX}" (utf-8-addr-xtext)."""
    return _UNSAFE.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", text)
