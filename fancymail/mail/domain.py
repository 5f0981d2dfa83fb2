"""Domain names and address literals of mail addresses (RFC 5321 4.1.2, 4.1.3; RFC 5890-5893).

Called by mail.address and by whoever takes a domain from a person (settings, fmctl, auth). `parse_domain` gives the one
canonical text of a domain: lower-case A-labels, so that the U-label and A-label spellings of a name are the same domain.
Labels follow IDNA 2008, computed from unicodedata: nothing is mapped (the stdlib "idna" codec is IDNA 2003 and would turn a
fullwidth or sharp-s name into another one's domain). Never looks anything up.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

LIMIT = 253                          # octets of a domain in A-labels (RFC 1035 3.1 less the root)

_LDH = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LITERAL = re.compile(r"\[(IPv6:)?([0-9A-Fa-f:.]{1,45})\]", re.IGNORECASE | re.ASCII)

# RFC 5892 2.6: exceptions to what the categories say
_VALID = frozenset("\u00df\u03c2\u06fd\u06fe\u0f0b\u3007")
_CONTEXT = frozenset("\u00b7\u0375\u05f3\u05f4\u30fb")
_DISALLOWED = frozenset("\u0640\u07fa\u302e\u302f\u3031\u3032\u3033\u3034\u3035\u303b")
_LETTER_DIGITS = frozenset(("Ll", "Lo", "Lm", "Mn", "Mc", "Nd"))
_JOINERS = "\u200c\u200d"
_RTL = frozenset(("R", "AL", "AN"))
_RTL_ALLOWED = frozenset(("R", "AL", "AN", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"))
_LTR_ALLOWED = frozenset(("L", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"))


class DomainError(ValueError):
    """The text is not a domain that mail can go to; str() is the reason."""


@lru_cache(maxsize=4096)
def parse_domain(text: str) -> str:
    """Return the canonical text of a domain or address literal; raise DomainError with the reason."""
    if text.startswith("["):
        return parse_literal(text)
    if not text:
        raise DomainError("the domain is empty")
    if len(text) > LIMIT:
        raise DomainError(f"the domain is longer than {LIMIT} octets")
    labels = [_a_label(label) for label in text.split(".")]
    domain = ".".join(labels)
    if len(domain) > LIMIT:
        raise DomainError(f"the domain is longer than {LIMIT} octets")
    if _NUMERIC.fullmatch(labels[-1]):                    # 127.0.0.1, 2130706433, 0x7f.1: no top-level domain looks so
        raise DomainError("an IP address must stand in brackets")
    return domain


def parse_literal(text: str) -> str:
    """Return the canonical text of "[127.0.0.1]" or "[IPv6:::1]"; no other tag is known (RFC 5321 4.1.3)."""
    match = _LITERAL.fullmatch(text)
    if match is None:
        raise DomainError("not a valid address literal")
    tag, address = match.groups()
    try:
        if tag:
            return f"[IPv6:{ipaddress.IPv6Address(address)}]"
        return f"[{ipaddress.IPv4Address(address)}]"
    except ValueError:
        raise DomainError("not a valid address literal") from None


def kind(domain: str) -> str:
    """Tell what a canonical domain is: "domain", "ipv4", "ipv6", or "" for none."""
    if not domain.startswith("["):
        return "domain" if domain else ""
    return "ipv6" if domain.startswith("[IPv6:") else "ipv4"


def unicode_domain(domain: str) -> str:
    """Return a canonical domain for human eyes: its valid A-labels as U-labels, everything else as it is."""
    if "xn--" not in domain:
        return domain
    return ".".join(_u_label(label) or label for label in domain.split("."))


def _a_label(label: str) -> str:
    """Return one label as lower-case LDH; raise DomainError."""
    if label.isascii():
        label = label.lower()
        if not label:
            raise DomainError("the domain has an empty label")
        if len(label) > 63:
            raise DomainError("a label of the domain is longer than 63 octets")
        if _LDH.fullmatch(label) is None:
            raise DomainError("the domain has a character that no host name has")
        return label                                      # an A-label that IDNA refuses stays what DNS says it is
    folded = unicodedata.normalize("NFC", "".join(map(_lower, label)))
    check_u_label(folded)
    encoded = "xn--" + folded.encode("punycode").decode("ascii")
    if len(encoded) > 63:
        raise DomainError("a label of the domain is longer than 63 octets")
    return encoded


def _lower(char: str) -> str:
    """Lower one character (RFC 5895 2.1), but never onto an ASCII one: the Kelvin sign is not a k."""
    lower = unicodedata.normalize("NFC", char.lower())
    return char if len(lower) > 1 or lower.isascii() > char.isascii() else lower


def _u_label(label: str) -> str:
    """Return the U-label of an A-label, or "" if it isn't a valid one."""
    if not label.startswith("xn--"):
        return ""
    try:
        text = label[4:].encode("ascii").decode("punycode")
        check_u_label(text)
        if text.isascii() or "xn--" + text.encode("punycode").decode("ascii") != label:
            return ""
    except (UnicodeError, DomainError, OverflowError):
        return ""
    return text


def check_u_label(label: str) -> None:
    """Raise DomainError unless the label is a U-label of IDNA 2008 (RFC 5891 5.4)."""
    if len(label) > 63:
        raise DomainError("a label of the domain is longer than 63 octets")
    if not unicodedata.is_normalized("NFC", label):
        raise DomainError("a label of the domain is not in Unicode normal form C")
    if label.startswith("-") or label.endswith("-") or label[2:4] == "--":
        raise DomainError("a label of the domain has hyphens where none may be")
    if unicodedata.category(label[0]).startswith("M"):
        raise DomainError("a label of the domain begins with a combining mark")
    for index, char in enumerate(label):
        if not _permitted(label, index, char):
            raise DomainError(f"the domain has a character that IDNA 2008 does not permit: U+{ord(char):04X}")
    _check_bidi(label)


def _permitted(label: str, index: int, char: str) -> bool:
    """RFC 5892 3: is this code point PVALID, or are its contextual rules met?"""
    if char.isascii():
        return char.isdigit() or char == "-" or "a" <= char <= "z"
    if char in _VALID:
        return True
    if char in _DISALLOWED:
        return False
    if char in _JOINERS:                                  # RFC 5892 A.1, A.2: only behind a virama
        return index > 0 and unicodedata.combining(label[index - 1]) == 9
    if char in _CONTEXT:
        return _context(label, index, char)
    if _mixed_digits(label, char):
        return False
    if unicodedata.category(char) not in _LETTER_DIGITS or 0x1100 <= ord(char) <= 0x11FF:
        return False
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", char).casefold())
    return folded == char                                 # "unstable" code points are disallowed (RFC 5892 2.2)


def _context(label: str, index: int, char: str) -> bool:
    """RFC 5892 A.3 to A.7: the characters that are allowed in one place only."""
    before = label[index - 1] if index else ""
    after = label[index + 1:index + 2]
    if char == "\u00b7":
        return before == "l" and after == "l"
    if char == "\u0375":
        return bool(after) and unicodedata.name(after, "").startswith("GREEK")
    if char == "\u30fb":
        return any(unicodedata.name(c, "").startswith(("HIRAGANA", "KATAKANA LETTER", "CJK UNIFIED")) for c in label)
    return bool(before) and unicodedata.name(before, "").startswith("HEBREW")


def _mixed_digits(label: str, char: str) -> bool:
    """RFC 5892 A.8, A.9: Arabic-Indic and extended Arabic-Indic digits never stand together."""
    if "\u0660" <= char <= "\u0669":
        return any("\u06f0" <= c <= "\u06f9" for c in label)
    if "\u06f0" <= char <= "\u06f9":
        return any("\u0660" <= c <= "\u0669" for c in label)
    return False


def _check_bidi(label: str) -> None:
    """RFC 5893 2: a label with right-to-left characters must read the same way from everywhere."""
    directions = [unicodedata.bidirectional(char) for char in label]
    if not _RTL.intersection(directions):
        return
    last = next((d for d in reversed(directions) if d != "NSM"), "")
    first = directions[0]
    if first in ("R", "AL"):
        good = _RTL_ALLOWED.issuperset(directions) and last in ("R", "AL", "EN", "AN")
        good = good and not {"EN", "AN"}.issubset(directions)
    else:
        good = first == "L" and _LTR_ALLOWED.issuperset(directions) and last in ("L", "EN")
    if not good:
        raise DomainError("a label of the domain mixes writing directions")
