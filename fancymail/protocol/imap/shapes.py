"""Arguments that many commands have in common: none at all, one mailbox, a list at the end, the name of a metadata entry.

Used by the grammar modules beside this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .cursor import BadSyntax, Cursor

_ENTRY = re.compile(r"/(?:private|shared)(?:/[^/\x00-\x1f*%\x7f-\U0010ffff]+)+")


def nothing(make: Callable[[], object]) -> Callable[[Cursor], object]:
    """A reader of a command that has no arguments."""
    def read(cursor: Cursor) -> object:
        cursor.end()
        return make()
    return read


def one_mailbox(make: Callable[[str], object], new: bool = False) -> Callable[[Cursor], object]:
    """A reader of a command whose one argument is a mailbox."""
    def read(cursor: Cursor) -> object:
        mailbox = cursor.mailbox(new)
        cursor.end()
        return make(mailbox)
    return read


def rest_of_list(cursor: Cursor, read: Callable[[], None], most: int = 8) -> None:
    """Read ` (...)` to the end of the command, if it is there."""
    if cursor.text[cursor.at:].strip(b" "):
        cursor.space()
        cursor.listed(read, most, empty=True)
        cursor.end()


def read_entry(cursor: Cursor) -> str:
    """The name of a metadata entry, lower case (RFC 5464 3.1)."""
    name = cursor.text_of(cursor.astring()).lower()
    if not _ENTRY.fullmatch(name) or len(name) > 1000:
        raise BadSyntax("an entry is /private/... or /shared/...")
    return name
