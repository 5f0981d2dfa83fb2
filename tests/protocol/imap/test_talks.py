"""Every talk of tests/talks/imap, whole and cut at every octet."""

from __future__ import annotations

from pathlib import Path

import pytest

from fancymail.protocol.imap.grammar import APPENDING, RULES
from tests.protocol.imap.clerk import Clerk
from tests.talks.player import play, read_talk

TALKS = sorted((Path(__file__).parents[2] / "talks" / "imap").glob("*.talk"))


@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_talk(path, cut):
    assert play(path, Clerk, cut) > 1


def test_every_command_is_talked_about():
    said = set()
    for path in TALKS:
        for kind, text, _ in read_talk(path).steps:
            words = text.upper().split(" ") if kind == "C" else []
            if len(words) > 1:
                said.add(" ".join(words[1:3]) if words[1] == "UID" else words[1])
    assert {*RULES, *APPENDING, "CAPABILITY", "LOGOUT", "STARTTLS", "AUTHENTICATE"} <= said
