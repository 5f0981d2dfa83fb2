"""Commands about what is allowed and what is noted: QUOTA, METADATA, ACL (RFC 9208, 5464, 4314), read from a cursor.

Called through the table of grammar.py with the place behind the command's name. Each returns a value of commands.py; BadSyntax and
Refused are the only ways out.
"""

from __future__ import annotations

import re

from . import commands as c
from .cursor import LARGEST_32, LARGEST_63, BadSyntax, Cursor, Refused
from .shapes import read_entry

LONGEST_IDENTIFIER = 320
_RIGHTS = re.compile(r"[0-9a-z]*")
_KNOWN_RIGHTS = frozenset("lrswipkxtecda")
_RESOURCES = frozenset(("STORAGE", "MESSAGE", "MAILBOX", "ANNOTATION-STORAGE"))


# -- quota -----------------------------------------------------------------------------------------------------------

def get_quota(cursor: Cursor) -> c.GetQuota:
    """`root`."""
    root = cursor.text_of(cursor.astring())
    cursor.end()
    return c.GetQuota(root)


def set_quota(cursor: Cursor) -> c.SetQuota:
    """`root (STORAGE 512)`."""
    root = cursor.text_of(cursor.astring())
    cursor.space()

    def pair() -> tuple[str, int]:
        name = cursor.word()
        if name not in _RESOURCES:
            raise Refused("this resource has no quota here")
        cursor.space()
        return name, cursor.number(LARGEST_63)
    limits = tuple(cursor.listed(pair, 8, empty=True))
    cursor.end()
    return c.SetQuota(root, limits)


# -- metadata ---------------------------------------------------------------------------------------------------------

def get_metadata(cursor: Cursor) -> c.GetMetadata:
    """`[(options)] mailbox entries`; the options may also stand behind the mailbox, as in the RFC's own examples."""
    options: dict[str, int] = {}
    if cursor.next_is(b"("):
        cursor.listed(lambda: _metadata_option(cursor, options), 4)
        cursor.space()
    mailbox = cursor.mailbox_or_server()
    cursor.space()
    if not options and cursor.text[cursor.at:cursor.at + 6].upper() in (b"(MAXSI", b"(DEPTH"):
        cursor.listed(lambda: _metadata_option(cursor, options), 4)
        cursor.space()
    if cursor.next_is(b"("):
        entries = tuple(dict.fromkeys(cursor.listed(lambda: read_entry(cursor), cursor.limits.items)))
    else:
        entries = (read_entry(cursor),)
    cursor.end()
    return c.GetMetadata(mailbox, entries, options.get("MAXSIZE"), options.get("DEPTH", 0))


def _metadata_option(cursor: Cursor, options: dict[str, int]) -> None:
    word = cursor.word()
    cursor.space()
    if word == "MAXSIZE":
        options[word] = cursor.number(LARGEST_32)
    elif word == "DEPTH":
        depth = cursor.astring().lower()
        if depth not in (b"0", b"1", b"infinity"):
            raise BadSyntax("the depth is 0, 1 or infinity")
        options[word] = -1 if depth == b"infinity" else int(depth)
    else:
        raise BadSyntax("there is no such option")


def set_metadata(cursor: Cursor) -> c.SetMetadata:
    """`mailbox (entry value ...)`."""
    mailbox = cursor.mailbox_or_server()
    cursor.space()

    def pair() -> tuple[str, bytes | None]:
        entry = read_entry(cursor)
        cursor.space()
        return entry, cursor.binary_nstring()
    entries = tuple(dict(cursor.listed(pair, cursor.limits.items)).items())
    cursor.end()
    return c.SetMetadata(mailbox, entries)


# -- rights ----------------------------------------------------------------------------------------------------------

def set_acl(cursor: Cursor) -> c.SetAcl:
    """`mailbox identifier [+-]rights` (RFC 4314 3.1)."""
    mailbox, identifier = _mailbox_and_identifier(cursor)
    cursor.space()
    rights = cursor.text_of(cursor.astring())
    cursor.end()
    change = rights[:1] if rights[:1] in ("+", "-") else ""
    letters = rights.removeprefix(change)
    if not _RIGHTS.fullmatch(letters) or not set(letters) <= _KNOWN_RIGHTS:
        raise BadSyntax("there is no such right")
    return c.SetAcl(mailbox, identifier, change, letters)


def _mailbox_and_identifier(cursor: Cursor) -> tuple[str, str]:
    mailbox = cursor.mailbox()
    cursor.space()
    identifier = cursor.text_of(cursor.astring())
    if not identifier or not identifier.isprintable() or len(identifier) > LONGEST_IDENTIFIER:
        raise BadSyntax("this is nobody's name")
    return mailbox, identifier


def delete_acl(cursor: Cursor) -> c.DeleteAcl:
    """`mailbox identifier`."""
    mailbox, identifier = _mailbox_and_identifier(cursor)
    cursor.end()
    return c.DeleteAcl(mailbox, identifier)


def list_rights(cursor: Cursor) -> c.ListRights:
    """`mailbox identifier`."""
    mailbox, identifier = _mailbox_and_identifier(cursor)
    cursor.end()
    return c.ListRights(mailbox, identifier)
