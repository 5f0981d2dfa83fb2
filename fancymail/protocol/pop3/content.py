"""Messages on their way to a POP3 client: dots stuffed, the end said exactly once, and TOP's cut.

Used by protocol/pop3/server.py chunk by chunk, so a message is never whole in memory. A stored message may contain anything;
what the client takes for the end is only what we mean as the end, whatever it takes for a line.
"""

from __future__ import annotations


class Stuffing:
    """Stuffs the dots of one message (RFC 1939 3), given in chunks of any size."""

    def __init__(self) -> None:
        self._last = b"\r\n"                    # the last two octets that were sent; at first those of the status line

    def __call__(self, chunk: bytes) -> bytes:
        """Return a chunk as it is sent."""
        if not chunk:
            return b""
        # Also behind a bare LF: many clients take it for the end of a line, and ".\r\n" behind it for the end of the message.
        stuffed = chunk.replace(b"\n.", b"\n..") if b"\n." in chunk else chunk
        if chunk[:1] == b"." and self._last[-1:] == b"\n":
            stuffed = b"." + stuffed
        self._last = (self._last + chunk[-2:])[-2:]
        return stuffed

    def end(self) -> bytes:
        """Return the end of the message; it begins a line even where the message did not end one."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"


class Top:
    """Cuts a message behind its header, the empty line, and `lines` lines of the body (RFC 1939 7)."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._in_header = True
        self._partial = b""                     # of the line that the last chunk left open: its first two octets
        self.done = False

    def __call__(self, chunk: bytes) -> bytes | None:
        """Return what of a chunk is still wanted, None when nothing is."""
        if self.done:
            return None
        position = self._skip_header(chunk) if self._in_header else 0
        if not self._in_header:
            position = self._skip_lines(chunk, position)
        return chunk[:position]

    def _skip_header(self, chunk: bytes) -> int:
        """Return where the header ends: behind the first empty line, or at the end of the chunk."""
        position = 0
        while True:
            end = chunk.find(b"\n", position)
            line = self._partial + chunk[position:min(position + 2, len(chunk) if end < 0 else end)]
            if end < 0:
                self._partial = line[:2]
                return len(chunk)
            self._partial, position = b"", end + 1
            if line in (b"", b"\r"):
                self._in_header = False
                return position

    def _skip_lines(self, chunk: bytes, position: int) -> int:
        while self._left and position < len(chunk):
            end = chunk.find(b"\n", position)
            if end < 0:
                return len(chunk)
            position, self._left = end + 1, self._left - 1
        self.done = not self._left
        return position
