"""Which names an account, an alias or a domain may have, and when two names look like one.

Used by core/accounts.py before anything is kept. Looking an address up is never stricter than mail.address; creating one is: no
name that could be taken for a path, a command, a tag or a pattern, and none that a reader cannot tell from one that exists
(after Unicode TR 39: one script in a name, and no equal skeletons).
"""

from __future__ import annotations

import re
import unicodedata

from fancymail.mail.address import Address, AddressError, parse_mailbox
from fancymail.mail.domain import DomainError, kind, parse_domain

_ASCII = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._'&~-]*[A-Za-z0-9_&~-])?")
_PATTERN = re.compile(r"[A-Za-z0-9_.'&~*-]+")
_COMMON = frozenset("0123456789._'-")
_CATEGORIES = frozenset(("Ll", "Lu", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"))
# Scripts that are written together (Unicode TR 39 section 5.2, "highly restrictive").
_TOGETHER = (frozenset(("LATIN", "CJK", "HIRAGANA", "KATAKANA")), frozenset(("LATIN", "CJK", "HANGUL")),
             frozenset(("LATIN", "CJK", "BOPOMOFO")))
# Letters of other scripts that are drawn as Latin ones (from Unicode's confusables, those of scripts in daily use).
_DRAWN_ALIKE = {int(pair[:4], 16): pair[4:] for pair in (
    "0430a 0432b 0435e 0433r 043ak 043cm 043dh 043eo 0440p 0441c 0442t 0443y 0445x 0455s 0456i 0458j 04bbh 0501d 051bq 051dw "
    "04cfl 04bde 0475v 03b1a 03b3y 03b5e 03b9i 03bak 03bdv 03bfo 03c1p 03c3o 03c4t 03c5u 03c7x 03c9w 03f2c "
    "0570h 0578n 057du 0585o 0566q 0581g 0131i 0237j 0251a 0261g 026fw").split()}


class NameRefused(ValueError):
    """No account, alias or domain may be called so; the text says why, for people."""


def skeleton(local: str) -> str:
    """Return what a local part looks like: names with one skeleton cannot be told apart by eye."""
    folded = unicodedata.normalize("NFKD", local).casefold().translate(_DRAWN_ALIKE)
    return unicodedata.normalize("NFKD", folded)


def new_domain(text: str) -> str:
    """Return the canonical name of a domain that is to be ours; raises NameRefused."""
    try:
        name = parse_domain(text.strip().rstrip("."))
    except DomainError as error:
        raise NameRefused(str(error)) from None
    if kind(name) != "domain":
        raise NameRefused("an address literal cannot be a domain of ours")
    return name


def new_name(text: str, separator: str) -> Address:
    """Return the address of a new account or exact alias; raises NameRefused. `separator`: what begins a plus-tag."""
    address = parse(text)
    local = unicodedata.normalize("NFC", address.local)
    if separator and separator in local:
        raise NameRefused(f"{separator} begins a tag, so no name may contain it")
    if local.isascii():
        if not _ASCII.fullmatch(local):
            raise NameRefused("a name is made of letters, digits and . _ ' & ~ -, and does not begin or end with a mark")
    else:
        _check_script(local)
    return Address(local, address.domain)


def new_pattern(text: str) -> Address:
    """Return the address of a new wildcard alias: `*` stands for any characters; raises NameRefused."""
    if text.startswith("@"):
        text = f"*{text}"               # "@example.test" is how others write a catch-all
    address = parse(text)
    if not _PATTERN.fullmatch(address.local) or address.local.count("*") != 1:
        raise NameRefused("a pattern is one * with letters, digits and . _ ' & ~ - around it")
    return address


def parse(text: str) -> Address:
    """Return any address with a domain that mail could go to; raises NameRefused."""
    try:
        return parse_mailbox(text, local_limit=64)
    except AddressError as error:
        raise NameRefused(error.reason) from None


def _check_script(local: str) -> None:
    if local[0] in "._'-" or local[-1] in ".'":
        raise NameRefused("a name does not begin or end with a mark")
    scripts = set()
    for character in local:
        if character in _COMMON:
            continue
        if unicodedata.category(character) not in _CATEGORIES:
            raise NameRefused(f"no name has the character U+{ord(character):04X}")
        if unicodedata.normalize("NFKC", character) != character:
            raise NameRefused(f"U+{ord(character):04X} is another way to write a plainer character")
        scripts.add(unicodedata.name(character, "UNKNOWN").split(maxsplit=1)[0].split("-")[0])
    scripts.discard("COMBINING")
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        raise NameRefused(f"a name is written in one script, not in {' and '.join(sorted(s.capitalize() for s in scripts))}")
