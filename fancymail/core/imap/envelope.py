"""ENVELOPE as it stands in a FETCH answer (RFC 9051 7.5.2, 4.3), made of octets that may be anything.

Called by precompute and structure.py. A string that is no plain ASCII goes as a literal, which every client reads, with UTF8=ACCEPT or without; so
one rendering does for all. The number of addresses is bounded, whatever a header lists. Never decodes encoded words: clients do.
"""

from __future__ import annotations

import re
from functools import lru_cache

from fancymail.mail.addresses import Group, Mailbox, entries
from fancymail.mail.headers import Headers
from fancymail.mail.imap.strings import nstring, string

MOST_ADDRESSES = 1_000              # of one field; "a,a,a,..." would grow sixteenfold
SHORT = 200                         # octets of a field that is remembered

# The spellings that nearly all mail has: Name <local@domain>, <local@domain> and local@domain. What else there is goes through mail.addresses.
_USUAL = re.compile(rb'(?:(?:(?:"([ !#-\[\]-~]*+)"|([A-Za-z0-9][A-Za-z0-9 !#$%&\'*+/=?^_`{|}~-]*+)) ?)?<([A-Za-z0-9!#$%&\'*+/=?^_`{|}~-]++'
                    rb'(?:\.[A-Za-z0-9!#$%&\'*+/=?^_`{|}~-]++)*+)@([A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)*+)>'
                    rb'|([A-Za-z0-9!#$%&\'*+/=?^_`{|}~-]++(?:\.[A-Za-z0-9!#$%&\'*+/=?^_`{|}~-]++)*+)@([A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)*+))')
_COMMA = re.compile(rb"[ \t]*+,[ \t]*+(?=[^\s,])")
_FIELDS = ("sender", "reply-to", "to", "cc", "bcc")


def envelope(headers: Headers, most: int = MOST_ADDRESSES) -> bytes:
    """The ENVELOPE of a header section; of each field at most `most` addresses."""
    author = address_list(headers.all("from"), most)
    lists = {name: address_list(headers.all(name), most) for name in _FIELDS}
    sender, reply_to, to, cc, bcc = (lists[name] for name in _FIELDS)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(headers.first("date")), nstring(headers.first("subject")), author,
        author if sender == b"NIL" else sender,                 # RFC 9051 7.5.2: the server fills in From
        author if reply_to == b"NIL" else reply_to,
        to, cc, bcc, nstring(headers.first("in-reply-to")), nstring(headers.first("message-id")))


def address_list(values: list[bytes], most: int = MOST_ADDRESSES) -> bytes:
    """All fields of one name as one address list, NIL if they hold nothing."""
    if len(values) == 1 and len(values[0]) <= SHORT and most == MOST_ADDRESSES:
        return _short_list(values[0])
    return _list(values, most)


def _list(values: list[bytes], most: int) -> bytes:
    found: list[bytes] = []
    for value in values:
        if usual := usual_addresses(value, most - len(found)):
            found += [b'("%b" NIL "%b" "%b")' % each if each[0] else b'(NIL NIL "%b" "%b")' % each[1:] for each in usual]
            continue
        if len(found) >= most:
            break
        found += [_group(entry) if isinstance(entry, Group) else _mailbox(entry) for entry in entries(value, most - len(found))]
    return b"(%b)" % b"".join(found) if found else b"NIL"


@lru_cache(256)
def _short_list(value: bytes) -> bytes:
    """Few write to a mailbox, and much of it says the same To."""
    return _list([value], MOST_ADDRESSES)


def usual_addresses(value: bytes, most: int) -> list[tuple[bytes, bytes, bytes]] | None:
    """(name, local, domain) of at most `most` addresses that are all spelled as usual; None says nothing about them."""
    found: list[tuple[bytes, bytes, bytes]] = []
    position = 0
    while match := _USUAL.match(value, position):
        quoted, plain, local, domain, bare_local, bare_domain = match.groups()
        if bare_local is not None:
            found.append((b"", bare_local, bare_domain))
        else:
            found.append(((plain or b"").rstrip() if quoted is None else quoted, local, domain))
        comma = _COMMA.match(value, match.end())
        if comma is None or len(found) >= most:
            return found[:most] if comma or match.end() == len(value) else None
        position = comma.end()
    return None


def _mailbox(mailbox: Mailbox) -> bytes:
    """An address; an element that is none is shown under names that cannot be mailed to, as a NIL would mean a group."""
    name = string(_octets(mailbox.name)) if mailbox.name else b"NIL"
    local = string(_octets(mailbox.local)) if mailbox.local or mailbox.domain else b'"MISSING_MAILBOX"'
    domain = string(_octets(mailbox.domain)) if mailbox.domain else b'"MISSING_DOMAIN"'
    return b"(%b NIL %b %b)" % (name, local, domain)


def _group(group: Group) -> bytes:
    return b"(NIL NIL %b NIL)" % string(_octets(group.name)) if group.begins else b"(NIL NIL NIL NIL)"


def _octets(text: str) -> bytes:
    """Line ends and NUL of a folded name are a space, as everywhere."""
    return re.sub("[\r\n\0]+", " ", text).encode("utf-8", "replace")
