"""Talks of tests/talks/pop3-sessions, against fm-pop3 beside real fm-auth and fm-mailbox: what an engine alone cannot show.

As tests/talks/player.py has it: C lines are said, S lines are heard, `...` at the end of one is anything. `storeN: octets` is alice's Nth message.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.talks.player import Talk, octets, read_talk

TALKS = sorted((Path(__file__).parents[2] / "talks" / "pop3-sessions").glob("*.talk"))


def play(port: int, talk: Talk) -> None:
    """Say and hear everything, line by line; an AssertionError names the line."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        heard = sock.makefile("rb")
        assert heard.readline().startswith(b"+OK")
        for kind, text, number in talk.steps:
            if kind == "C":
                sock.sendall(octets(text) + b"\r\n")
                continue
            line, expected = heard.readline(), text.encode()
            exact = expected + b"\r\n" == line
            assert exact or text.endswith("...") and line.startswith(expected[:-3]), f"{talk.name}:{number}: heard {line!r}"
        assert heard.read() == b"", f"{talk.name}: said beyond the talk"


@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
async def test_talk(suite, path):
    talk = read_talk(path)
    for number in range(1, len(talk.options) + 1):
        await suite.store(octets(talk.options[f"store{number}"]))
    await suite.client(play, suite.port, talk)
