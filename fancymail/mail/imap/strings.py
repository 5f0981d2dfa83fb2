"""Strings on the wire: quoted where that is safe, a literal where it is not (RFC 9051 4.3).

Called by protocol/imap/responses.py and core/imap for all that comes from messages, names or clients: nothing that was put through
these functions can end a line or a string early. Octets in, octets out.
"""

from __future__ import annotations

import re

from .. import utf7
from ..kept import kept

LONGEST_QUOTED = 1024               # octets; longer ones go as literals, which every client reads without looking at each octet

_QUOTABLE = re.compile(rb"[\x20-\x7e]*+")
_QUOTABLE_UTF8 = re.compile(rb"[\x20-\x7e\x80-\xff]*+")
_ATOM = re.compile(rb"[A-Za-z0-9!#$&'+,\-./:;<=>?@\[\]^_`|~]++")


def quoted(octets: bytes) -> bytes:
    """Return octets that have neither CR, LF nor NUL as a quoted string."""
    if b"\\" in octets or b'"' in octets:
        octets = octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"' + octets + b'"'


def literal(octets: bytes) -> bytes:
    """Return any octets as a literal."""
    return b"{%d}\r\n%b" % (len(octets), octets)


def string(octets: bytes, utf8: bool = False) -> bytes:
    """Return octets as a quoted string if the client can read them there, else as a literal. NUL, which neither may hold, is left out.

    utf8: the client takes UTF-8 in quoted strings (RFC 6855 3, RFC 9051 4.3)."""
    if len(octets) <= LONGEST_QUOTED:
        if _QUOTABLE.fullmatch(octets):
            return quoted(octets)
        if utf8 and _QUOTABLE_UTF8.fullmatch(octets) and _is_utf8(octets):
            return quoted(octets)
    return literal(octets.replace(b"\0", b""))


def nstring(octets: bytes | None, utf8: bool = False) -> bytes:
    """Return NIL for None, else as `string`."""
    return b"NIL" if octets is None else string(octets, utf8)


def astring(octets: bytes, utf8: bool = False) -> bytes:
    """Return an atom if it is one, else as `string`."""
    if _ATOM.fullmatch(octets) and octets.upper() != b"NIL" and len(octets) <= LONGEST_QUOTED:
        return octets
    return string(octets, utf8)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def mailbox_name(name: str, utf8: bool = False) -> bytes:
    """Return a mailbox name as it is said: in modified UTF-7, or in UTF-8 to who asked for that (RFC 6855, IMAP4rev2)."""
    return _in_utf8(name) if utf8 else _in_utf7(name)


@kept(512 << 10)
def _in_utf8(name: str) -> bytes:
    return astring(name.encode(), True)


@kept(1 << 20)
def _in_utf7(name: str) -> bytes:
    return astring(utf7.encode(name))
