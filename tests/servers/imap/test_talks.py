"""Every talk of several sessions, against the whole suite: with the shards at hand, and with fm-mailbox asked for every reading."""

from __future__ import annotations

import pytest

from fancymail.servers.imap import daemon
from fancymail.servers.mailreader import VerbReader
from tests.servers.imap.talks import Player, talks


@pytest.mark.parametrize("talk", talks(), ids=lambda path: path.stem)
async def test_talk(suite, talk):
    await Player(suite).play(talk)


@pytest.mark.parametrize("talk", talks(), ids=lambda path: path.stem)
async def test_talk_by_verbs(suite, talk, monkeypatch):
    monkeypatch.setattr(daemon, "open_reader", lambda imap: VerbReader(lambda: imap.peer("mailbox")))
    await suite.restart()
    await Player(suite).play(talk)
