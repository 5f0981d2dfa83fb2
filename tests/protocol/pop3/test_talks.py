"""Every talk of tests/talks/pop3, whole and cut at every octet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocol.pop3.fetcher import Fetcher
from tests.talks.player import play, read_talk

TALKS = sorted((Path(__file__).parents[2] / "talks" / "pop3").glob("*.talk"))


@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_talk(path, cut):
    assert play(path, Fetcher, cut) > 1


def test_every_command_is_talked_about():
    from fancymail.protocol.pop3.server import COMMANDS
    said = {text.split(" ")[0].upper() for path in TALKS for kind, text, _ in read_talk(path).steps if kind == "C"}
    assert {command.decode() for command in COMMANDS} <= said
