"""Stuffing and TOP against the plain definition of each, however the message is cut into chunks."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from fancymail.protocol.pop3.content import Stuffing, Top

MESSAGES = st.lists(st.sampled_from([b".", b"\r\n", b"\n", b"\r", b"a", b"..", b"\r\n.\r\n", b"text"]), max_size=30).map(b"".join)


def chunks(message: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(message), *[cut % (len(message) + 1) for cut in cuts]})
    return [message[start:end] for start, end in zip(places, places[1:])]


def stuffed(pieces: list[bytes]) -> bytes:
    stuffing = Stuffing()
    return b"".join([stuffing(piece) for piece in pieces]) + stuffing.end()


def unstuffed(sent: bytes, end_of_line: bytes) -> bytes:
    """What a client makes of it: all lines up to the one that is a dot, dots at the beginning of the others taken away."""
    message = []
    for line in sent.split(end_of_line):
        if line.rstrip(b"\r") == b".":
            return end_of_line.join([*message, b""])
        message.append(line[1:] if line.startswith(b".") else line)
    raise AssertionError(f"no end in {sent!r}")


@given(MESSAGES, st.lists(st.integers(0, 200), max_size=6))
@example(b".", [])
@example(b"\r\n.\r\n", [2, 3])
@example(b"a\r", [1])
def test_no_client_sees_an_early_end(message, cuts):
    sent = stuffed(chunks(message, cuts))
    assert sent == stuffed([message])
    assert sent.endswith(b"\r\n.\r\n") or sent == b".\r\n"
    lenient = unstuffed(sent, b"\n")                # one that takes a bare LF for the end of a line
    assert lenient in (message, message + b"\r\n")
    assert (b"\r\n" + sent).index(b"\r\n.\r\n") == len(sent) - 3        # and a strict one


@given(MESSAGES.filter(lambda message: b"\n" not in message.replace(b"\r\n", b"")), st.lists(st.integers(0, 200), max_size=6))
def test_strict_client_gets_the_message_itself(message, cuts):
    sent = stuffed(chunks(message, cuts))
    assert unstuffed(sent, b"\r\n") == message + (b"" if message.endswith(b"\r\n") or not message else b"\r\n")


def top(message: bytes, lines: int) -> bytes:
    """TOP by its definition."""
    kept, body = [], None
    for line in message.splitlines(keepends=True) if b"\r" not in message.replace(b"\r\n", b"") else _lines(message):
        if body is None:
            kept.append(line)
            if line in (b"\r\n", b"\n"):
                body = 0
        elif body < lines:
            kept.append(line)
            body += 1
        else:
            break
    return b"".join(kept)


def _lines(message: bytes) -> list[bytes]:
    parts = message.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@given(MESSAGES, st.integers(0, 5), st.lists(st.integers(0, 200), max_size=6))
@example(b"\r\n", 1, [1])
@example(b"a: b\r\n\r\nx", 1, [5, 6, 7])
def test_top_is_the_header_and_some_lines(message, lines, cuts):
    cut, pieces = Top(lines), []
    for chunk in chunks(message, cuts):
        piece = cut(chunk)
        if piece is None:
            break
        pieces.append(piece)
    assert b"".join(pieces) == top(message, lines)
