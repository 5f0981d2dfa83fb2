"""One spelling for text that differs by case and composition only: what SEARCH and SORT compare (RFC 9051 6.4.4, RFC 5255 i;unicode-casemap).

Used when a message is computed and when a search key is read, by the same function: so both sides always agree. White space is folded too, since
a phrase that was wrapped is the same phrase. Never fails, whatever the text.
"""

from __future__ import annotations

import unicodedata

from fancymail.mail.words import LIMIT, decode_words

_SPACE = b" \t\n\v\f\r\x1c\x1d\x1e\x1f"          # what str.split() takes for white space in ASCII
_LOWER = bytes(32 if octet in _SPACE else octet + 32 if 65 <= octet <= 90 else octet for octet in range(256))
_PLAIN = bytes(32 if octet <= 32 or octet == 127 else _LOWER[octet] for octet in range(256))


def fold(text: str) -> str:
    """Case folded, decomposed (so "cafe" finds "café", and sorts beside it: RFC 5051 2), each run of white space one space."""
    if text.isascii():                                  # as below, without an object for each word
        octets = text.encode().translate(_LOWER)
        while b"  " in octets:
            octets = octets.replace(b"  ", b" ")
        return octets.strip(b" ").decode()
    return " ".join(unicodedata.normalize("NFKD", text.casefold()).casefold().split())


def fold_field(value: bytes) -> str:
    """The unfolded value of a header field, decoded and folded."""
    if value.isascii() and b"=?" not in value:          # as below, but in one go
        return b" ".join(value[:LIMIT].translate(_PLAIN).split()).decode()
    return fold(decode_words(value))


def fold_key(text: str) -> str:
    """As fold, but white space at either end counts: what a client searches for may begin or end with it."""
    folded = fold(text)
    if not folded:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + folded + (" " if text[-1].isspace() else "")
