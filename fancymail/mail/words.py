"""Encoded words of header fields, read and written (RFC 2047, RFC 2231 5).

Called for subjects, display names and descriptions. Reading is linear and never fails: what is no encoded word stays what it
was. Writing gives words of at most 75 characters that split between characters, never inside one.
"""

from __future__ import annotations

import base64
import binascii
import re

from . import transfer
from .charset import codec, decode, guess

LIMIT = 65_536                       # octets of a value that are looked at
WORD_LIMIT = 75                      # RFC 2047 2

_WORD = re.compile(rb"=\?([!#$%&'+\-0-9A-Z^_`a-z{|}~.:()]{1,40}+)(?:\*[A-Za-z0-9-]{0,40}+)?\?([BbQq])\?([^?\r\n]*+)\?=")
_SPACE = re.compile(r"[\x00-\x20\x7f\x85\u2028\u2029]+")
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]*")


def decode_words(value: bytes | str, limit: int = LIMIT) -> str:
    """Return an unfolded value as text: encoded words decoded, controls and line ends as single spaces.

    Only the first `limit` octets are looked at.
    """
    raw = value.encode("utf-8", "replace") if isinstance(value, str) else value
    raw = raw[:limit]
    text = _decode_all(raw) if b"=?" in raw else guess(raw)
    if text.isprintable() and "  " not in text:         # nothing that _SPACE would change
        return text.strip(" ")
    return _SPACE.sub(" ", text).strip(" ")


def _decode_all(raw: bytes) -> str:
    """Decode each run of adjacent words of one charset together: many writers split characters between words."""
    pieces: list[str] = []
    run: list[bytes] = []
    charset, position = "", 0
    for match in _WORD.finditer(raw):
        name = match[1].decode("ascii").lower()
        if not codec(name):                               # a word of an unknown charset is only text
            continue
        between = raw[position:match.start()]
        if run and between.strip(b" \t\r\n"):
            pieces.append(decode(b"".join(run), charset))
            run = []
        elif run and name != charset:                     # RFC 2047 6.2: space between words is not shown
            pieces.append(decode(b"".join(run), charset))
            run, between = [], b""
        elif run:
            between = b""
        if between:
            pieces.append(guess(between))
        run.append(_octets(match))
        charset, position = name, match.end()
    if run:
        pieces.append(decode(b"".join(run), charset))
    pieces.append(guess(raw[position:]))
    return "".join(pieces)


def _octets(match: re.Match[bytes]) -> bytes:
    """The octets that one word stands for."""
    if match[2] in b"qQ":
        return binascii.a2b_qp(match[3].replace(b" ", b"_"), header=True)
    return transfer.decode(match[3], "base64")


def encode_words(text: str, first: int = WORD_LIMIT) -> list[str]:
    """Return encoded words (UTF-8; Q or B, whichever is shorter) that stand for `text`, to be joined by folding space.

    `first` is the room for the first word, at least 20 characters.
    """
    data = text.encode("utf-8", "replace")
    q_length = sum(1 if octet in _Q_SAFE or octet == 32 else 3 for octet in data)
    scheme = _q_word if q_length <= (len(data) + 2) // 3 * 4 else _b_word
    words, start, room = [], 0, max(first, 20)
    chars = [char.encode("utf-8", "replace") for char in text]
    while start < len(chars):
        end = _fit(chars, start, room - 12, scheme is _q_word)
        words.append(scheme(b"".join(chars[start:end])))
        start, room = end, WORD_LIMIT
    return words


def _fit(chars: list[bytes], start: int, room: int, quoted: bool) -> int:
    """The index behind the last character that still fits into a word's `room`; one always does."""
    used, end = 0, start
    while end < len(chars):
        octets = chars[end]
        used += sum(1 if o in _Q_SAFE or o == 32 else 3 for o in octets) if quoted else len(octets)
        if (used if quoted else (used + 2) // 3 * 4) > room and end > start:
            break
        end += 1
    return end


def _q_word(data: bytes) -> str:
    body = "".join(chr(o) if o in _Q_SAFE else "_" if o == 32 else f"={o:02X}" for o in data)
    return f"=?utf-8?q?{body}?="


def _b_word(data: bytes) -> str:
    return f"=?utf-8?b?{base64.b64encode(data).decode()}?="


def phrase(text: str) -> str:
    """Return a display name as it may stand in an address field: plain, quoted, or as encoded words (RFC 5322 3.2.5)."""
    text = _SPACE.sub(" ", text).strip(" ")
    if text.isascii() and "=?" not in text:
        if _PHRASE.fullmatch(text):
            return text
        if len(text) <= 200:
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return " ".join(encode_words(text))
