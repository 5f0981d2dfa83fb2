"""The image of a mailbox: what the answer to a STORE says brings it to the same state as asking the store again."""

from __future__ import annotations

import random

import pytest

from fancymail.core.filing import EVERY_BIT
from fancymail.core.imap.image import BoxImage
from fancymail.core.imap.view import View
from fancymail.mail.mailbox import DELETED, FLAGGED, SEEN
from tests.core.imap.letters import Letters

ALL = [(1, 2**32 - 1)]


def facts(image: BoxImage) -> tuple:
    return image.mailbox, list(image.uids), list(image.flags), list(image.modseqs)


@pytest.mark.parametrize("seed", range(20))
async def test_what_an_answer_says_is_what_the_store_says(seed):
    chance, letters = random.Random(seed), Letters(*[b"\r\n"] * 30)
    letters.account.expunge("INBOX", [(4, 4), (9, 12)], 5)
    marked, asked = BoxImage(await letters.opened.load()), BoxImage(await letters.opened.load())
    for _ in range(40):
        bits = chance.choice([SEEN, FLAGGED, DELETED, SEEN | DELETED, 0])
        add, remove = chance.choice([(bits, 0), (0, bits), (bits, EVERY_BIT)])
        first = chance.randint(1, 30)
        uids = chance.choice([ALL, [(first, first)], [(first, first + 6)], [(1, 3), (first + 3, first + 9)]])
        stored = letters.account.set_flags("INBOX", uids, add, remove)
        assert marked.mark(stored.changed, stored.modseq, add, remove)
        assert asked.apply(await letters.opened.changes(asked.modseq, asked.mailbox.uidnext))
        assert facts(marked) == facts(asked)


async def test_something_that_came_between_is_not_guessed():
    letters = Letters(b"\r\n", b"\r\n")
    image = BoxImage(await letters.opened.load())
    letters.account.set_flags("INBOX", [(1, 1)], SEEN, 0)
    stored = letters.account.set_flags("INBOX", [(2, 2)], SEEN, 0)
    assert not image.mark(stored.changed, stored.modseq, SEEN, 0)
    assert not image.mark([], stored.modseq, SEEN, 0)
    assert list(image.flags) == [0, 0]
    assert image.apply(await letters.opened.changes(image.modseq, image.mailbox.uidnext))
    assert image.mark(stored.changed, stored.modseq, SEEN, 0)           # known already
    assert list(image.flags) == [SEEN, SEEN] and image.step == 1


@pytest.mark.parametrize("condstore, told", [(False, []), (True, [b"* 1 FETCH (MODSEQ (%d))\r\n"])])
async def test_others_hear_of_a_silent_store_and_its_session_does_not(condstore, told):
    letters = Letters(b"\r\n", b"\r\n")
    image = BoxImage(await letters.opened.load())
    mine, other = View(image), View(image)
    mine.condstore = condstore
    stored = letters.account.set_flags("INBOX", [(1, 1)], FLAGGED, 0)
    assert image.mark(stored.changed, stored.modseq, FLAGGED, 0)
    mine.silence(stored.changed, stored.modseq, "add", FLAGGED)
    assert mine.flush(True) == [line % stored.modseq for line in told]
    assert other.flush(True) == [b"* 1 FETCH (FLAGS (\\Flagged))\r\n"]


async def test_what_others_did_before_a_silent_store_is_told():
    letters = Letters(b"\r\n", b"\r\n")
    image = BoxImage(await letters.opened.load())
    mine = View(image)
    first = letters.account.set_flags("INBOX", ALL, SEEN, 0)
    assert image.mark(first.changed, first.modseq, SEEN, 0)
    second = letters.account.set_flags("INBOX", [(1, 1)], FLAGGED, 0)
    assert image.mark(second.changed, second.modseq, FLAGGED, 0)
    mine.silence(second.changed, second.modseq, "add", FLAGGED)
    assert mine.flush(True) == [b"* 1 FETCH (FLAGS (\\Seen \\Flagged))\r\n* 2 FETCH (FLAGS (\\Seen))\r\n"]
