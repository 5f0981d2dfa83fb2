"""Content-transfer-encodings, decoded as a stream that never fails (RFC 2045 6), and encoded for messages that we make.

Called by mail.mime's readers: IMAP BINARY, webmail, search. The result for any octets is one and the same, however they are cut
into chunks: characters outside the base64 alphabet are skipped, "=" ends a quantum, "=ZZ" stays what it is.
Never holds more than an unfinished escape and the white space behind it.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re

CHUNK = 65_536                       # octets handled at once, so that hostile input cannot make millions of pieces

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_OTHERS = bytes(sorted(set(range(256)) - set(_ALPHABET)))
_PADDING = re.compile(rb"=+")
_TRAILING = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")          # the look-behind keeps runs of spaces linear
_LITERAL = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n)")           # an "=" that begins no escape is one
_LAST = re.compile(rb"=[ \t]*+\r?\Z")                         # the CRLF of a last soft break belongs to the boundary


class Identity:
    """7bit, 8bit, binary, and encodings that nobody knows."""

    def feed(self, data: bytes) -> bytes:
        """Return the decoded octets that `data` completes."""
        return data

    def finish(self) -> bytes:
        """Return what was held back."""
        return b""


class Base64(Identity):
    """base64; also several padded pieces behind each other."""

    def __init__(self) -> None:
        self.pending = b""

    def feed(self, data: bytes) -> bytes:
        if len(data) > CHUNK:
            return b"".join(self.feed(data[at:at + CHUNK]) for at in range(0, len(data), CHUNK))
        pieces = _PADDING.split(data.translate(None, _OTHERS))
        out = []
        for piece in pieces[:-1]:
            out.append(_quanta(self.pending + piece))
            self.pending = b""
        last = self.pending + pieces[-1]
        whole = len(last) & ~3
        self.pending = last[whole:]
        out.append(binascii.a2b_base64(last[:whole]))
        return b"".join(out)

    def finish(self) -> bytes:
        rest, self.pending = self.pending, b""
        return _quanta(rest)


class QuotedPrintable(Identity):
    """quoted-printable; white space at line ends is transport padding (RFC 2045 6.7 rule 3)."""

    def __init__(self) -> None:
        self.pending: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        if len(data) > CHUNK:
            return b"".join(self.feed(data[at:at + CHUNK]) for at in range(0, len(data), CHUNK))
        self.pending.append(data)
        if not data.strip(b" \t\r"):                       # a run of white space is looked at once, when it ends
            return b""
        data = b"".join(self.pending)
        cut = _settled(data)
        self.pending = [data[cut:]]
        return _qp(data[:cut])

    def finish(self) -> bytes:
        rest, self.pending = b"".join(self.pending), []
        return _qp(_LAST.sub(b"", rest))


def _quanta(text: bytes) -> bytes:
    """Decode alphabet characters without padding; a lone last one says nothing."""
    if len(text) % 4 == 1:
        text = text[:-1]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def _settled(data: bytes) -> int:
    """The offset before what the next octets may still change: an unfinished escape, white space that may end a line."""
    cut = len(data.rstrip(b" \t\r"))
    if data[cut - 1:cut] == b"=":
        return cut - 1
    return cut - 2 if cut == len(data) and data[cut - 2:cut - 1] == b"=" else cut


def _qp(data: bytes) -> bytes:
    return binascii.a2b_qp(_LITERAL.sub(b"=3D", _TRAILING.sub(b"", data)))


def decoder(encoding: str) -> Identity:
    """Return the decoder of a Content-Transfer-Encoding; unknown ones change nothing."""
    name = encoding.strip().lower()
    if name == "base64":
        return Base64()
    return QuotedPrintable() if name == "quoted-printable" else Identity()


def decode(data: bytes, encoding: str) -> bytes:
    """Decode octets that are all there."""
    machine = decoder(encoding)
    return machine.feed(data) + machine.finish()


def encode_base64(data: bytes) -> bytes:
    """Encode as base64 in lines of 76 characters with CRLF."""
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def encode_quoted_printable(data: bytes) -> bytes:
    """Encode text with CRLF line ends as quoted-printable (RFC 2045 6.7)."""
    return quopri.encodestring(data.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
