"""Every dialogue of tests/talks/smtp, whole and cut at every octet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocol.smtp.receiver import Receiver
from tests.talks.player import play

TALKS = sorted((Path(__file__).parents[2] / "talks" / "smtp").glob("*.talk"))


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
def test_talk(path, cut):
    assert play(path, Receiver, cut) > 1


def test_every_command_has_a_talk():
    from fancymail.protocol.smtp.commands import COMMANDS
    spoken = "\n".join(path.read_text() for path in TALKS).upper()
    assert [verb for verb in COMMANDS if f"C: {verb}" not in spoken] == []
