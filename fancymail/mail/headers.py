"""The header section of a message: its end, its fields, their values (RFC 5322 2.2), over octets that stay untouched.

Called by smtpin (limits, loops), mailbox (envelope, threads), smtpout (DSNs) and mail.mime. One regular expression finds all
fields by offsets; nothing is decoded before somebody asks. Lines that are no field keep their octets and have the name b"".
Never builds a tree and never raises for content, only for size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from functools import lru_cache
from typing import NamedTuple

from .words import decode_words

SIZE_LIMIT = 262_144                 # octets of a header section
COUNT_LIMIT = 1_000                  # fields of a header section

# A name and what is behind its colon; without a name, a whole line. RFC 5322 4.5: white space before the colon.
_FIELD = re.compile(rb"(?:([!-9;-~\x80-\xff]++)[ \t]*+:)?+([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?+")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


class HeaderError(ValueError):
    """The header section is too big, or a field cannot be built; `status` is RFC 3463."""

    def __init__(self, reason: str, status: str = "5.6.0") -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class Field(NamedTuple):
    """One field by its offsets in `Headers.data`."""

    name: bytes                      # in lower case; b"" for a line that is no field
    start: int                       # of the name
    value: int                       # behind the colon
    end: int                         # behind the line end of its last line


class Headers:
    """The fields of one header section, in order. Values are octets, unfolded and stripped."""

    __slots__ = ("data", "start", "end", "body", "fields", "_index")

    def __init__(self, data: bytes, start: int, end: int, body: int, fields: list[Field]) -> None:
        self.data, self.start, self.end, self.body, self.fields = data, start, end, body, fields
        self._index: dict[bytes, list[Field]] | None = None

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __contains__(self, name: str) -> bool:
        return bool(self._find(name))

    def first(self, name: str) -> bytes | None:
        """The value of the first field of that name, None if there is none."""
        found = self._find(name)
        return self.value(found[0]) if found else None

    def all(self, name: str) -> list[bytes]:
        """The values of all fields of that name, in order."""
        return [self.value(field) for field in self._find(name)]

    def count(self, name: str) -> int:
        """How many fields of that name there are."""
        return len(self._find(name))

    def any(self, names: Set[bytes]) -> bool:
        """Whether there is a field of one of these names (octets in lower case)."""
        return not names.isdisjoint(self._by_name())

    def text(self, name: str) -> str:
        """The value of the first field of that name with encoded words decoded, "" if there is none."""
        value = self.first(name)
        return decode_words(value) if value else ""

    def value(self, field: Field) -> bytes:
        """The value of a field, unfolded (RFC 5322 2.2.3) and stripped."""
        return unfold(self.data[field.value:field.end])

    def raw(self, field: Field) -> bytes:
        """The whole field as it stands in the message, with its line end."""
        return self.data[field.start:field.end]

    def _find(self, name: str) -> list[Field]:
        return (self._index or self._by_name()).get(_key(name), _NONE)

    def _by_name(self) -> dict[bytes, list[Field]]:
        if self._index is None:
            index: dict[bytes, list[Field]] = {}
            for field in self.fields:
                index.setdefault(field.name, []).append(field)
            self._index = index
        return self._index


_NONE: list[Field] = []


@lru_cache(512)
def _key(name: str) -> bytes:
    return name.lower().encode("utf-8", "replace")


def unfold(value: bytes) -> bytes:
    """Join the lines of a folded value and strip the white space around it."""
    value = value.strip(b" \t\r\n")
    return _FOLD.sub(b"", value) if b"\n" in value else value


def find_end(data: bytes, start: int = 0, stop: int | None = None) -> tuple[int, int]:
    """Return (end of the header section, start of the body): around the first empty line; (stop, stop) if there is none.

    Line ends may be CRLF or LF.
    """
    stop = len(data) if stop is None else stop
    for empty in (b"\r\n", b"\n"):
        if data.startswith(empty, start, stop):
            return start, start + len(empty)
    end, body = stop, stop
    for mark, before in ((b"\n\r\n", 1), (b"\n\n", 1)):
        found = data.find(mark, start, end + len(mark) - 1 if end < stop else stop)
        if found >= 0 and found + before <= end:
            end, body = found + before, found + len(mark)
    return end, body


def scan(data: bytes, start: int = 0, stop: int | None = None, size: int = SIZE_LIMIT, count: int = COUNT_LIMIT) -> Headers:
    """Find the fields of the header section at `start`; raise HeaderError if it is over `size` octets or `count` fields."""
    stop = len(data) if stop is None else stop
    window = min(stop, start + size + 4)
    end, body = find_end(data, start, window)
    if end - start > size:
        raise HeaderError(f"the header is larger than {size} octets", "5.3.4")
    fields = iterate(data, start, end, count + 1)
    if len(fields) > count:
        raise HeaderError(f"the header has more than {count} fields", "5.6.0")
    return Headers(data, start, end, body, fields)


def scan_start(data: bytes, start: int = 0, stop: int | None = None, size: int = SIZE_LIMIT, count: int = COUNT_LIMIT) -> Headers:
    """Like scan, for mail that is stored already: fields beyond the limits are left out, nothing is raised."""
    stop = len(data) if stop is None else stop
    end, body = find_end(data, start, stop)
    return Headers(data, start, end, body, iterate(data, start, min(end, start + size), count))


def iterate(data: bytes, start: int, end: int, limit: int = COUNT_LIMIT) -> list[Field]:
    """At most `limit` fields of data[start:end], in order."""
    fields: list[Field] = []
    position = start
    for match in _FIELD.finditer(data, start, end):
        behind = match.end()
        if behind == position or len(fields) >= limit:
            break
        name = match[1]
        fields.append(Field(b"", position, position, behind) if name is None else Field(name.lower(), position, match.start(2), behind))
        position = behind
    return fields
