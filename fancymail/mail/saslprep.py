"""SASLprep: how user names and passwords are made comparable before they are hashed or compared (RFC 4013).

Used by core/passwords when a password is set or checked and by protocol/sasl on both sides of SCRAM. Text that holds
characters which no name or password may have is refused with ValueError; nothing is ever dropped silently but the characters
that RFC 3454 B.1 maps to nothing.
"""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

# RFC 4013 2.3: what a prepared string may not contain. Unassigned code points (A.1) are allowed, as in a query (RFC 3454 7):
# the tables end at Unicode 3.2, and people do put newer characters into their passwords.
_PROHIBITED = (
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4, stringprep.in_table_c5,
    stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9)


def saslprep(text: str) -> str:
    """Return the prepared form of a name or password; raises ValueError naming why it has none."""
    if text.isascii():
        if not text.isprintable():
            raise ValueError("control characters are not allowed")
        return text                     # mapping, normalization and bidi leave printable ASCII as it is
    # RFC 4013 2.1: other spaces become SPACE, "commonly mapped to nothing" goes.
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = ucd_3_2_0.normalize("NFKC", mapped)     # RFC 4013 2.2
    for character in prepared:
        if any(prohibited(character) for prohibited in _PROHIBITED):
            raise ValueError(f"the character U+{ord(character):04X} is not allowed")
    _check_directions(prepared)
    return prepared


def _check_directions(text: str) -> None:
    """Raise ValueError for a mix of writing directions that RFC 3454 section 6 forbids."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)):
        raise ValueError("left-to-right and right-to-left characters are mixed")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise ValueError("right-to-left text must begin and end with a right-to-left character")
