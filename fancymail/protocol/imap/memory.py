"""Commands that were read before: clients say the same few again and again, with other numbers of messages at most.

Kept in Options for all connections that are served alike, apart for each set of what ENABLE has switched on, since reading depends on both.
Nothing of before a login is kept, no literal, no line of more than LONGEST octets, and never more than MOST octets of lines and their meanings.
"""

from __future__ import annotations

import re
from dataclasses import fields

from fancymail.mail.imap.sequence import parse_sequence
from fancymail.mail.kept import Kept

from . import commands as c

MOST = 1 << 20                  # octets of lines, half of them for whole ones and half for shapes
LONGEST = 256

# A set of numbers or UIDs behind the name of a command: the rest of the line is kept without it.
_NUMBERED = re.compile(rb"(?:UID )?(?:FETCH|STORE|COPY|MOVE) ([1-9][0-9:,]{0,63})(?= )")
_WITH_SETS = (c.Fetch, c.Store, c.Copy)

Known = tuple[str, int, c.Command]      # a command: its name, the states in which it may be said, and what it was read as


class Memory:
    """What follows a tag -> what it means."""

    __slots__ = ("_lines", "_shapes")

    def __init__(self) -> None:
        self._lines = Kept(MOST >> 1)   # line -> Known
        self._shapes = Kept(MOST >> 1)  # lines without their sets, and the values behind `sequence`

    def recall(self, text: bytes) -> Known | None:
        """What a line means; None: it has to be read."""
        known = self._lines.get(text)
        if known is not None:
            return known
        match = _NUMBERED.match(text)
        shape = self._shapes.get(_shape(text, match)) if match is not None else None
        if shape is None:
            return None
        (name, states, event), rest = shape
        try:
            return name, states, type(event)(parse_sequence(match[1]), *rest)
        except ValueError:
            return None

    def keep(self, text: bytes, known: Known) -> None:
        """Remember a line that was read."""
        if len(text) > LONGEST:
            return
        match = _NUMBERED.match(text)
        if match is None:
            self._lines.put(text, known)
        elif isinstance(event := known[2], _WITH_SETS):
            values = tuple(getattr(event, field.name) for field in fields(event))
            self._shapes.put(_shape(text, match), (known, values[1:]))

    @property
    def octets(self) -> int:
        """What it holds."""
        return self._lines.octets + self._shapes.octets


def _shape(text: bytes, match: re.Match[bytes]) -> bytes:
    return text[:match.start(1)] + text[match.end(1):]
