"""COMPRESS=DEFLATE between a connection's engine and its TLS (RFC 4978): raw deflate in both directions, bounded in memory.

Owned by connection.py once a client asked for it. What comes in is inflated a piece at a time: a few octets that stand for a
gigabyte wait as the few octets that they are until the engine has taken what came before them.
"""

from __future__ import annotations

import zlib

WINDOW, MEMORY = -12, 5         # 4 KiB of window and 35 KiB in all; 32 KiB of window would save some 5 % more of mail and cost 94 KiB
PIECE = 32 * 1024               # octets that are inflated at a time


class DeflateError(Exception):
    """The peer did not send deflate."""


class Deflate:
    """Both directions of one connection."""

    __slots__ = ("_out", "_in", "_waiting")

    def __init__(self) -> None:
        self._out = zlib.compressobj(6, zlib.DEFLATED, WINDOW, MEMORY)
        self._in = zlib.decompressobj(-15)                      # the peer's window may be as large as there are
        self._waiting = b""

    @property
    def waiting(self) -> bool:
        """Whether octets wait to be inflated."""
        return bool(self._waiting)

    def compress(self, data: bytes | memoryview) -> bytes:
        """Deflate octets so that the peer can read all of them now (RFC 4978 3)."""
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def receive(self, data: bytes | memoryview) -> None:
        """Take octets of the peer."""
        self._waiting += bytes(data)

    def take(self) -> bytes:
        """Inflate the next piece; nothing when there is none. Raises DeflateError."""
        if not self._waiting:
            return b""
        try:
            plain = self._in.decompress(self._waiting, PIECE)
        except zlib.error as error:
            raise DeflateError(f"what came is not deflate: {error}") from None
        self._waiting = self._in.unconsumed_tail
        if self._in.eof:
            raise DeflateError("the peer ended its compression")
        return plain
