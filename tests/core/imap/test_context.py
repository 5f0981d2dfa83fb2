"""Searches that go on: a client that puts in and takes out what it is told always has what a new search finds."""

from __future__ import annotations

import random
import re

import pytest

from fancymail.core.imap.context import Context
from fancymail.core.imap.search import search
from fancymail.core.imap.sort import sort
from fancymail.mail import uidset
from fancymail.mail.imap import search as k
from fancymail.mail.imap.search import Criterion
from fancymail.mail.mailbox import FLAGGED, SEEN

from .letters import Letters

NOW = 1_500_000_000
UNSEEN = k.Flag("\\Seen", False)
BY_SIZE = (Criterion("SIZE", True),)


def message(number: int) -> bytes:
    return b"Subject: n\r\n\r\n" + b"x" * (number * 7 % 50)


async def renew(letters, view) -> None:
    assert view.image.apply(await letters.opened.changes(view.image.modseq, view.image.mailbox.uidnext))


async def test_what_comes_and_goes():
    letters = Letters(*map(message, range(4)))
    view = await letters.view()
    context = Context(view, b"a1", UNSEEN, await search(view, letters.opened, UNSEEN, NOW), True)
    letters.account.set_flags("INBOX", [(2, 2)], SEEN, 0)
    letters.account.expunge("INBOX", [(3, 3)], NOW)
    letters.add(message(5))
    await renew(letters, view)
    assert context.before(view, False) == [] and context.before(view, True) == [b'* ESEARCH (TAG "a1") UID REMOVEFROM (0 3)\r\n']
    view.flush(True)
    assert await context.behind(view, letters.opened, NOW) == [
        b'* ESEARCH (TAG "a1") UID REMOVEFROM (0 2)\r\n', b'* ESEARCH (TAG "a1") UID ADDTO (0 5)\r\n']
    view.flush(True)
    assert await context.behind(view, letters.opened, NOW) == [] and context.uids == [1, 4, 5]


@pytest.mark.parametrize("criteria", [(), BY_SIZE], ids=["search", "sort"])
@pytest.mark.parametrize("seed", range(6))
async def test_a_client_has_what_a_new_search_finds(seed, criteria):
    chance = random.Random(seed)
    letters = Letters(*map(message, range(8)))
    view = await letters.view()

    async def found():
        places = await search(view, letters.opened, UNSEEN, NOW)
        return await sort(view, letters.opened, criteria, places) if criteria else places

    context = Context(view, b"a1", UNSEEN, await found(), True, criteria)
    client = list(context.uids)
    for step in range(25):
        uids = [(uid, uid) for uid in view.uids[:view.count] if chance.random() < 0.3]
        if chance.random() < 0.3:
            letters.account.expunge("INBOX", uids[:2], NOW)
        elif chance.random() < 0.5:
            letters.account.set_flags("INBOX", uids, *chance.choice([(SEEN, 0), (0, SEEN), (FLAGGED, 0)]))
        else:
            letters.add(message(step), chance.choice([0, SEEN]))
        await renew(letters, view)
        may_expunge = chance.random() < 0.6
        lines = context.before(view, may_expunge)
        view.flush(may_expunge)
        for line in lines + await context.behind(view, letters.opened, NOW):
            hear(client, line, bool(criteria))
        expected = [view.uids[place] for place in await found()]
        shown = [uid for uid in client if view.image.find(uid) >= 0]
        assert shown == [uid for uid in expected if view.image.find(uid) >= 0]


def hear(client: list[int], line: bytes, ordered: bool) -> None:
    word, pairs = re.fullmatch(rb'\* ESEARCH \(TAG "a1"\) UID (REMOVEFROM|ADDTO) \((.*)\)\r\n', line).groups()
    items = pairs.decode().split()
    for position, text in zip(items[::2], items[1::2]):
        for first, last in uidset.parse(text):
            for uid in range(first, last + 1):
                if word == b"REMOVEFROM":
                    assert not ordered or client[int(position) - 1] == uid
                    client.remove(uid)
                else:
                    assert uid not in client
                    client.insert(int(position) - 1 if ordered else len(client), uid)
    if not ordered:
        client.sort()
