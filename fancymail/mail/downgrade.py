"""A message in UTF-8 for a client that reads ASCII headers only: fields are written anew (RFC 6858, with RFC 2047 and 2231).

Used by servers/pop3 and core/imap/surrogate.py as a message goes out; nothing is stored. RFC 6858 lets more be lost than has to be, and a copy of a
mailbox wants all: an address whose domain alone is not in ASCII stays one that can be written to (in A-labels), parameters are said by RFC 2231,
comments by RFC 2047, and what has no form in ASCII is kept as `Downgraded-NAME` (all as RFC 6857 has it). Only what is UTF-8 is written anew:
fields with other octets are no mail of RFC 6532, and go out as they came, as they always did.
Headers only, those of parts and of messages in messages too; a body is never touched. `Downgrade` takes a message in pieces and holds back no more
than one header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote as percent

from .address import quote
from .addresses import Group, Mailbox, entries
from .domain import DomainError, parse_domain
from .headers import find_end, iterate, unfold
from .parameters import parse_token, parse_type
from .words import decode_words, encode_words, phrase

LARGEST = 256 * 1024                # octets of a header that is written anew; of a larger one each octet over 127 becomes "?"
FIELDS = 10_000
LONG = 60                           # octets of a piece of a parameter
CHARSET = "utf-8''"
NOWHERE = "invalid@internationalized-address.invalid"       # RFC 6858 2.1: where nobody can answer to

# RFC 6858 2.1: addresses elsewhere are none; nobody shall send a notification, or believe a delivery, to an address that was made up.
ADDRESSES = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"resent-from", b"resent-sender", b"resent-to", b"resent-cc",
                       b"resent-bcc"))
TEXTS = frozenset((b"subject", b"comments", b"content-description", b"thread-topic", b"organization"))
STRUCTURED = {b"content-type": lambda value: ("/".join((found := parse_type(value))[:2]), found[2]), b"content-disposition": parse_token}

_QUESTIONS = bytes(range(128)) + b"?" * 128
_COMMENT = re.compile(r"\(([^()\\]*)\)")
_DOMAIN = re.compile(r"[A-Za-z0-9.\-]+|\[[A-Za-z0-9.:\-]+\]")


class Downgrade:
    """Takes a message in pieces of any size. `headers`: where header sections are, ascending, (start, end) of each."""

    def __init__(self, headers: Iterable[tuple[int, int]]) -> None:
        spans = [(start, end, end - start <= LARGEST) for start, end in headers if start < end]
        self._headers = spans[::-1]     # the next one is the last; (start, end, whether it is written anew)
        self._at = 0                # of the first octet that was not given back
        self._held = b""

    def __call__(self, chunk: bytes) -> bytes:
        """Return what can be sent of all that came."""
        if not self._headers:
            return chunk
        data, self._held, found = self._held + chunk if self._held else chunk, b"", []
        first, last = self._at, self._at + len(data)
        while self._headers and self._headers[-1][0] < last:
            start, end, anew = self._headers.pop()
            start = max(start, self._at)            # no two overlap, unless the table is wrong
            found.append(data[self._at - first:start - first])
            if end > last and anew:
                self._held, self._at = data[start - first:], start
                self._headers.append((start, end, anew))
                return b"".join(found)
            self._at = max(min(end, last), start)
            header = data[start - first:self._at - first]
            if end > last:
                self._headers.append((last, end, anew))
            found.append(ascii_header(header) if anew else unreadable(header))
        found.append(data[self._at - first:])
        self._at = last
        return b"".join(found)


def unreadable(octets: bytes) -> bytes:
    """As many octets, of which each over 127 is a question mark."""
    return octets.translate(_QUESTIONS)


def ascii_header(header: bytes) -> bytes:
    """A header section, with its empty line or without, with all that is UTF-8 in it said in ASCII. Other octets of old stay as they are."""
    if header.isascii():
        return header
    end, _ = find_end(header)
    found, position = [], 0
    for field in iterate(header, 0, end, FIELDS):
        line, position = header[field.start:field.end], field.end
        found.append(_field(header[field.start:field.value - 1], field.name, unfold(header[field.value:field.end])) if _utf8(line) else line)
    rest = header[position:]
    found.append(rest if not _utf8(rest) else unreadable(rest))          # more than FIELDS of them, or no fields
    return b"".join(found)


def _utf8(octets: bytes) -> bool:
    """Whether octets are text in UTF-8 beyond ASCII: what RFC 6532 lets into headers, and Latin-1 of old hardly ever is."""
    try:
        return not octets.isascii() and bool(octets.decode())
    except UnicodeDecodeError:
        return False


def _field(label: bytes, name: bytes, value: bytes) -> bytes:
    """A field that is not in ASCII. One that cannot be said in its own form is kept under another name (as RFC 6857 does)."""
    if not label or not label.isascii():                # no field
        return b""
    lines = _said(name, value)
    if not lines:
        label, lines = b"Downgraded-" + label, encode_words(decode_words(value, LARGEST), 40)
    return label.rstrip() + b": " + "\r\n ".join(lines).replace("?= =?", "?=\r\n =?").encode("ascii", "replace") + b"\r\n"


def _said(name: bytes, value: bytes) -> list[str]:
    """A value in its own form, to be joined by folding; nothing if it cannot be said so."""
    if name in ADDRESSES:
        return list(_addresses(value))
    if name == b"return-path":
        return _path(value)
    if name in TEXTS or name.startswith(b"x-"):
        return encode_words(decode_words(value, LARGEST), 60)
    if name in STRUCTURED:
        word, parameters = STRUCTURED[name](value)
        lines = [word] * (word not in ("", "/")) + [piece for one in parameters for piece in _parameter(*one)]
        return [line + ";" for line in lines[:-1]] + lines[-1:]
    plain = _COMMENT.sub(_comment, value.decode())
    return [plain.strip()] if plain.isascii() else []


def _comment(match: re.Match[str]) -> str:
    """RFC 2047 5: encoded words may stand in the comments of a date or a trace."""
    return match[0] if match[0].isascii() else f"({' '.join(encode_words(decode_words(match[1], LARGEST), 40))})"


def _addresses(value: bytes) -> Iterator[str]:
    """The elements of an address list, each with what stands behind it."""
    line = ""
    for entry in entries(value):
        if isinstance(entry, Group) and not entry.begins:
            line = (line or "") + ";"
            continue
        if line:
            yield line if line.endswith(":") else line + ","
        line = f"{phrase(decode_words(entry.name))}:" if isinstance(entry, Group) else _mailbox(entry)
    if line:
        yield line


def _mailbox(one: Mailbox) -> str:
    """One element, with an address that can be written to if it can be said in ASCII (RFC 6858 2.1)."""
    name = one.display
    if address := _address(one):
        return f"{phrase(name)} <{address}>" if name else address
    address = f"{one.local}@{one.domain}" if one.domain else one.local
    said = f"{name} ({address})" if name and address else name or address
    return f"{phrase(said)} <{NOWHERE}>"


def _address(one: Mailbox) -> str:
    """The same address in ASCII, empty if there is none."""
    domain = one.domain
    if not domain.isascii():
        try:
            domain = parse_domain(domain)           # RFC 5890: the same domain in A-labels
        except DomainError:
            domain = ""
    return f"{quote(one.local)}@{domain}" if one.local and one.local.isascii() and _DOMAIN.fullmatch(domain) else ""


def _path(value: bytes) -> list[str]:
    """Return-Path, which has no name beside its address."""
    found = [one for one in entries(value, 2) if isinstance(one, Mailbox)]
    return [f"<{_address(found[0]) or NOWHERE}>"] if len(found) == 1 else []


def _parameter(name: str, value: str) -> Iterator[str]:
    """A parameter, in pieces if it is long (RFC 2231 3, 4). Values come as octets in Latin-1."""
    if value.isascii():
        yield f'{name}="' + re.sub(r'(["\\])', r"\\\1", value) + '"'
        return
    text = decode_words(value.encode("latin-1", "replace"))
    said = percent(text, safe="", errors="replace")
    if len(said) <= LONG:
        yield f"{name}*={CHARSET}{said}"
        return
    for number, match in enumerate(re.finditer(rf"(?:%..|[^%]){{1,{LONG // 3}}}", said)):
        yield f"{name}*{number}*={CHARSET if not number else ''}{match[0]}"
