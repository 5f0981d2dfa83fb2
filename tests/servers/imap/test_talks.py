"""Every talk of several sessions, against the whole suite."""

from __future__ import annotations

import pytest

from tests.servers.imap.talks import Player, talks


@pytest.mark.parametrize("talk", talks(), ids=lambda path: path.stem)
async def test_talk(suite, talk):
    await Player(suite).play(talk)
