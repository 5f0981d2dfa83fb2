"""Line ends on their way in: whatever a program ends its lines with, what is kept has CRLF.

Used where content does not come by SMTP (the verb `store`). Works on whole chunks; a CR LF pair that falls between two is one line end.
SMTP content is never mended here: a bare CR or LF is refused there, since others may read it otherwise (RFC 5321 2.3.8).
"""

from __future__ import annotations

import re

_ANY = re.compile(rb"\r\n|\r|\n")


class LineEnds:
    """Turns chunks of any line ends into chunks of CRLF."""

    def __init__(self) -> None:
        self._held = False              # a CR at the end of the last chunk, which may be half of a pair

    def feed(self, chunk: bytes) -> bytes:
        """The next octets; the last one may be held back."""
        if self._held:
            chunk = b"\r" + chunk
        self._held = chunk.endswith(b"\r")
        if self._held:
            chunk = chunk[:-1]
        pairs = chunk.count(b"\r\n")
        if chunk.count(b"\n") == pairs == chunk.count(b"\r"):
            return chunk
        return _ANY.sub(b"\r\n", chunk)

    def end(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, False
        return b"\r\n" if held else b""
