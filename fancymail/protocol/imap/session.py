"""Commands about the session itself: LOGIN, ID, ENABLE, COMPRESS, read from a cursor.

Called through the table of grammar.py with the place behind the command's name. Each returns a value of commands.py; BadSyntax and
Refused are the only ways out.
"""

from __future__ import annotations

from . import commands as c
from .cursor import BadSyntax, Cursor, Refused

LONGEST_USER = 320
_ENABLE = {"CONDSTORE": "CONDSTORE", "QRESYNC": "QRESYNC", "UTF8=ACCEPT": "UTF8=ACCEPT", "UIDONLY": "UIDONLY"}


def login(cursor: Cursor) -> c.Login:
    """`user password`."""
    user = cursor.astring()
    cursor.space()
    password = cursor.astring()
    cursor.end()
    name = cursor.text_of(user)
    if not name.isprintable() or not 0 < len(name) <= LONGEST_USER:
        raise Refused("this cannot be a user name", b"AUTHENTICATIONFAILED")
    return c.Login(name, password)


def id_(cursor: Cursor) -> c.Id:
    """`NIL` or `("name" "x" ...)` (RFC 2971 3.3)."""
    if cursor.text[cursor.at:cursor.at + 3].upper() == b"NIL":
        cursor.at += 3
        cursor.end()
        return c.Id(None)
    fields: dict[str, str | None] = {}

    def pair() -> None:
        key = cursor.text_of(cursor.string()).lower()
        cursor.space()
        value = cursor.nstring()
        if len(key) > 30 or value is not None and len(value) > 1024 or key in fields:
            raise BadSyntax("a field of ID is too long or stands twice")
        fields[key] = None if value is None else value.decode("utf-8", "replace")
    cursor.listed(pair, 30, empty=True)
    cursor.end()
    return c.Id(fields)


def enable(cursor: Cursor) -> c.Enable:
    """The words that are known here and not enabled yet; others are passed over (RFC 5161 3.1)."""
    names = [cursor.atom().decode().upper()]
    while cursor.text[cursor.at:].strip(b" "):
        cursor.space()
        names.append(cursor.atom().decode().upper())
    options = cursor.options
    known = [name for name in dict.fromkeys(names) if name in _ENABLE and options.extension(_ENABLE[name])
             or name == "IMAP4REV2" and options.revision_2]
    return c.Enable(tuple(name for name in known if name not in cursor.enabled))


def compress(cursor: Cursor) -> c.Compress:
    """`DEFLATE`."""
    algorithm = cursor.word()
    cursor.end()
    if algorithm != "DEFLATE":
        raise BadSyntax("only DEFLATE is known")
    return c.Compress()
