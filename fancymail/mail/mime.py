"""The structure of a message: ONE bounded, iterative scanner for all daemons (RFC 2045, 2046, 5322).

Called for BODYSTRUCTURE and sections, for previews, search text, delivery reports. One pass finds every part by offsets: the next
empty line and the next line that begins with "--" are looked for once each, whatever nests how, so the work is linear in the size.
The same octets give the same tree everywhere. What a tree means when the message is broken:

- a delimiter line begins with "--" boundary ["--"], whatever follows (RFC 2046 5.1.1); it ends everything opened inside its multipart;
- of open multiparts whose boundaries a line begins with, that with the longest has it, of those with one boundary the inner one;
- behind its closing delimiter a multipart has an epilogue only;
- a multipart without a usable boundary is text/plain, as is a part without a readable Content-Type (message/rfc822 in a digest);
- below DEPTH levels a container is opaque: application/octet-stream; what follows PARTS parts belongs to none (`cut`);
- message/rfc822 is opened unless it is encoded. Line ends may be CRLF or LF.
"""

from __future__ import annotations

from .headers import Headers, scan_start
from .parameters import parse_token, parse_type, raw_parameter
from .part import Part, Structure

DEPTH = 50
PARTS = 10_000
BOUNDARY_LIMIT = 256                 # octets; RFC 2046 5.1.1 says 70

_CLEAR = ("", "7bit", "8bit", "binary")


def scan(data: bytes, start: int = 0, stop: int | None = None, depth: int = DEPTH, parts: int = PARTS) -> Structure:
    """Return the structure of the message in data[start:stop]. Never raises for content."""
    scanner = _Scanner(data, start, len(data) if stop is None else stop, depth, parts)
    scanner.enter(start)
    while line := scanner.delimiter(scanner.stop):
        position, behind, level, closing = line
        scanner.leave(level + 1, position)
        if closing:
            scanner.forget(level)
            scanner.skip(behind)
        elif len(scanner.found) >= parts:
            scanner.cut = True
            break
        else:
            scanner.enter(behind)
    scanner.leave(0, scanner.stop)
    return Structure(scanner.found, scanner.cut, scanner.headers)


class _Scanner:
    """The pass: open parts as a stack, their boundaries, and how far lines were looked at."""

    def __init__(self, data: bytes, start: int, stop: int, depth: int, parts: int) -> None:
        self.data, self.start, self.stop, self.depth, self.limit = data, start, stop, depth, parts
        self.found: list[Part] = []
        self.headers: Headers | None = None                       # of the message itself
        self.cut = False
        self.stack: list[tuple[Part, bytes]] = []                 # open parts, with the boundary while it counts
        self.levels: dict[bytes, list[int]] = {}                  # boundary -> levels of the stack that have it
        self.blank = {b"\n\r\n": start - 1, b"\n\n": start - 1}   # the next empty line of each kind
        self.dashes = start if data.startswith(b"--", start, stop) else self._dashes(start)
        self.counted, self.lines = start, 0

    def enter(self, start: int) -> None:
        """Open the part whose header section begins at `start`, and the messages that begin inside its body."""
        while True:
            end, body, whole = self._header(start)
            part = self._part(start, end, body)
            boundary = self._boundary(part) if whole else b""     # a header that a delimiter cut off has no body
            self.skip(body)
            self.stack.append((part, boundary))
            if boundary:
                self.levels.setdefault(boundary, []).append(len(self.stack) - 1)
            opens = part.type == "message" and part.subtype in ("rfc822", "global") and part.encoding in _CLEAR
            if not (opens and whole):
                return
            if len(self.stack) > self.depth:
                part.make_opaque()
                return
            if len(self.found) >= self.limit:
                self.cut = True
                return
            start = body

    def leave(self, level: int, position: int) -> None:
        """Close the open parts from `level` on; the line end before `position` belongs to the delimiter."""
        end = position
        if position < self.stop:
            end -= 2 if self.data[position - 2:position] == b"\r\n" else 1
        while len(self.stack) > level:
            self.forget(len(self.stack) - 1)
            part, _ = self.stack.pop()
            part.end = max(part.body, end)
            part.lines = self._lines(part.end) - part.lines

    def forget(self, level: int) -> None:
        """The boundary of this level counts no more."""
        part, boundary = self.stack[level]
        if boundary:
            self.stack[level] = (part, b"")
            levels = self.levels[boundary]
            levels.pop()
            if not levels:
                del self.levels[boundary]

    def delimiter(self, stop: int) -> tuple[int, int, int, bool] | None:
        """Return the next delimiter line before `stop` as (offset, offset behind it, level, closing); every line is tried once."""
        if not self.levels:
            return None
        open_ = tuple(self.levels)
        while self.dashes < stop:
            position, name = self.dashes, self.dashes + 2
            behind = self.data.find(b"\n", position, self.stop) + 1 or self.stop
            if self.data.startswith(open_, name, behind):
                boundary = max((boundary for boundary in open_ if self.data.startswith(boundary, name, behind)), key=len)
                closing = self.data.startswith(b"--", name + len(boundary), behind)
                return position, behind, self.levels[boundary][-1], closing
            self.dashes = self._dashes(behind)
        return None

    def skip(self, position: int) -> None:
        """Lines before `position` are done with."""
        if self.dashes < position:
            self.dashes = self._dashes(position)

    def _dashes(self, position: int) -> int:
        """The offset of the next line that begins with "--"."""
        found = self.data.find(b"\n--", max(position - 1, self.start), self.stop)
        return found + 1 if found >= 0 else self.stop

    def _header(self, start: int) -> tuple[int, int, bool]:
        """Return (end of the header, start of the body, True) of a part; a delimiter ends the header too, then False."""
        self.skip(start)
        end, body = self._empty_line(start)
        line = self.delimiter(end)
        if line is not None:
            return line[0], line[0], False
        return end, body, True

    def _empty_line(self, start: int) -> tuple[int, int]:
        """Return (end of the header, start of the body) at the next empty line; the place is kept until the pass is behind it."""
        for empty in (b"\r\n", b"\n"):
            if self.data.startswith(empty, start, self.stop):
                return start, start + len(empty)
        end = body = self.stop
        for mark, found in self.blank.items():
            if found < start:
                found = self.data.find(mark, start, self.stop)
                found = self.blank[mark] = found if found >= 0 else self.stop
            if found + 1 < end:
                end, body = found + 1, found + len(mark)
        return end, body

    def _part(self, start: int, end: int, body: int) -> Part:
        """Make the part and hang it into the tree."""
        headers = scan_start(self.data, start, end)
        if self.headers is None:
            self.headers = headers
        parent = self.stack[-1][0] if self.stack else None
        digest = parent is not None and parent.type == "multipart" and parent.subtype == "digest"
        type_, subtype, params = parse_type(headers.first("content-type"))
        if not type_ or type_ == "multipart" and not _usable(raw_parameter(params, "boundary")):
            type_, subtype, params = ("message", "rfc822", ()) if digest and not type_ else ("text", "plain", ())
        opaque = type_ == "multipart" and len(self.stack) >= self.depth
        part = Part(len(self.found), parent.index if parent else -1, len(self.stack), _path(parent, "" if opaque else type_),
                    start, end, body, type_, subtype, params)
        if opaque:
            part.make_opaque()
        part.encoding = parse_token(headers.first("content-transfer-encoding"))[0]
        part.disposition, part.disposition_params = parse_token(headers.first("content-disposition"))
        part.describe(headers)
        part.lines = self._lines(body)
        self.found.append(part)
        if parent is not None:
            parent.children.append(part.index)
        return part

    def _boundary(self, part: Part) -> bytes:
        if part.type != "multipart":
            return b""
        return raw_parameter(part.params, "boundary").rstrip(" \t").encode("latin-1", "replace")

    def _lines(self, position: int) -> int:
        """How many line ends stand before `position`, counted as the pass goes on."""
        if position >= self.counted:
            self.lines += self.data.count(b"\n", self.counted, position)
        else:
            self.lines -= self.data.count(b"\n", position, self.counted)
        self.counted = position
        return self.lines


def _usable(boundary: str) -> bool:
    return 0 < len(boundary.rstrip(" \t")) <= BOUNDARY_LIMIT and "\n" not in boundary and "\r" not in boundary


def _path(parent: Part | None, type_: str) -> tuple[int, ...]:
    """The section number of a new part (RFC 9051 6.4.5): a multipart that is a whole message has its message's number."""
    if parent is not None and parent.type == "multipart":
        return (*parent.path, len(parent.children) + 1)
    base = parent.path if parent is not None else ()
    return base if type_ == "multipart" else (*base, 1)
