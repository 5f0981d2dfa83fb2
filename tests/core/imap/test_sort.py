"""SORT by every criterion, and by several."""

from __future__ import annotations

import random

import pytest

from fancymail.core.imap import orders
from fancymail.core.imap.image import BoxImage
from fancymail.core.imap.sort import sort
from fancymail.core.imap.view import View
from fancymail.mail.imap.search import Criterion
from fancymail.storage.ports.mailboxes import Keep

from .letters import Letters


def message(sender: str, to: str, subject: str, date: str, body: str = "", cc: str = "") -> bytes:
    return f"From: {sender}\r\nTo: {to}\r\nCc: {cc}\r\nSubject: {subject}\r\nDate: {date}\r\n\r\n{body}".encode()


@pytest.fixture
def letters():
    letters = Letters()
    letters.add(message("zoe@a.test", "M <m@a.test>", "Re: Pears", "3 Jul 2003 00:00 +0000", "x" * 50, "k@a.test"), internaldate=300)
    letters.add(message("Anna <yan@a.test>", "b@a.test", "apples", "1 Jul 2003 00:00 +0000"), internaldate=100)
    letters.add(message("\"Zed\" <adam@a.test>", "Y <y@a.test>", "PEARS", "nonsense", "x" * 500, "c@a.test"), internaldate=200)
    letters.add(message("Bob <yan@a.test>", "b@a.test", "[list] Fwd: apples", "2 Jul 2003 23:00 -0200", "y", "a@a.test"), internaldate=100)
    return letters


def criteria(text: str) -> tuple[Criterion, ...]:
    words, found, reverse = text.split(), [], False
    for word in words:
        if word == "REVERSE":
            reverse = True
        else:
            found.append(Criterion(word, reverse))
            reverse = False
    return tuple(found)


@pytest.mark.parametrize("text, expected", [
    ("ARRIVAL", [2, 4, 3, 1]), ("REVERSE ARRIVAL", [1, 3, 2, 4]), ("CC", [2, 4, 3, 1]), ("DATE", [3, 2, 1, 4]), ("FROM", [3, 2, 4, 1]),
    ("SIZE", [2, 4, 1, 3]), ("REVERSE SIZE", [3, 1, 4, 2]), ("SUBJECT", [2, 4, 1, 3]), ("TO", [2, 4, 1, 3]), ("DISPLAYFROM", [2, 4, 3, 1]),
    ("DISPLAYTO", [2, 4, 1, 3]), ("SUBJECT REVERSE DATE", [4, 2, 1, 3]), ("REVERSE SUBJECT DATE", [3, 1, 2, 4]), ("REVERSE FROM SIZE", [1, 2, 4, 3]),
    ("RELEVANCY", [1, 2, 3, 4]), ("SUBJECT REVERSE ARRIVAL FROM", [2, 4, 1, 3])])
async def test_criteria(letters, text, expected):
    view = await letters.view()
    assert [place + 1 for place in await sort(view, letters.opened, criteria(text), range(4))] == expected


async def test_only_what_was_found_is_sorted(letters):
    view = await letters.view()
    assert await sort(view, letters.opened, criteria("ARRIVAL"), [0, 1, 3]) == [1, 3, 0]
    assert await sort(view, letters.opened, criteria("ARRIVAL"), []) == []


async def test_what_can_no_longer_be_read_is_sorted_somewhere(letters):
    view = await letters.view()
    letters.account.expunge("INBOX", [(3, 3)], 1_500_000_001)
    letters.store.purge(1_600_000_000, Keep())
    assert sorted(await sort(view, letters.opened, criteria("FROM DATE"), range(4))) == [0, 1, 2, 3]


class Reading:
    """A reader that counts the messages whose columns are asked for."""

    def __init__(self, box) -> None:
        self.box, self.read = box, 0

    async def columns(self, names, uids, kept=False):
        rows = await self.box.columns(names, uids, kept)
        self.read += len(rows)
        return rows


async def renew(letters, view) -> None:
    image = view.image
    assert image.apply(await letters.opened.changes(image.modseq, image.mailbox.uidnext))


@pytest.mark.parametrize("seed", range(8))
async def test_a_kept_order_is_always_that_of_the_messages_there_are(seed):
    chance = random.Random(seed)
    letters, wanted = Letters(), [criteria(text) for text in ("SUBJECT", "REVERSE DATE FROM", "SIZE REVERSE SUBJECT", "TO")]

    def add():
        who = chance.choice("abc")
        date = f"{chance.randrange(1, 9)} Jul 2003 00:00 +0000"
        letters.add(message(f"{who}@a.test", f"{chance.choice('xyz')}@a.test", f"Re: {chance.randrange(5)}", date, "x" * chance.randrange(4)))
    for _ in range(20):
        add()
    views = [await letters.view()]
    views.append(View(views[0].image))
    for _ in range(60):
        action = chance.randrange(4)
        if action == 0:
            for _ in range(chance.choice((1, 1, 3, 60))):
                add()
        elif action == 1:
            there = list(letters.account.states("INBOX"))
            letters.account.expunge("INBOX", [(state.uid, state.uid) for state in there if chance.random() < 0.2], 1_500_000_001)
        await renew(letters, views[0])
        for view in views:
            if chance.random() < 0.7:
                view.flush(chance.random() < 0.7)
            places = [place for place in range(view.count) if chance.random() < chance.choice((0.1, 0.5, 1.0))]
            asked = chance.choice(wanted)
            fresh = View(BoxImage(await letters.opened.load()))
            found = await sort(view, letters.opened, asked, places)
            assert sorted(found) == places
            there = [place for place in places if fresh.sequence(view.uids[place])]
            alone = await sort(fresh, letters.opened, asked, [fresh.sequence(view.uids[place]) - 1 for place in there])
            assert [view.uids[place] for place in found if place in there] == [fresh.uids[place] for place in alone]


async def test_the_order_of_a_mailbox_is_worked_out_once_and_what_is_new_is_put_in(letters):
    for number in range(200):
        letters.add(message(f"x{number}@a.test", "b@a.test", f"subject {number * 7 % 200}", "1 Jul 2003 00:00 +0000"))
    view = await letters.view()
    box = Reading(letters.opened)
    first = await sort(view, box, criteria("SUBJECT"), range(view.count))
    box.read = 0
    assert await sort(view, box, criteria("SUBJECT"), range(view.count)) == first
    assert await sort(view, box, criteria("SUBJECT"), first[100:][::-1]) == first[100:] and box.read == 0
    letters.add(message("a@a.test", "b@a.test", "subject 100x", "1 Jul 2003 00:00 +0000"))
    await renew(letters, view)
    view.flush(True)
    again = await sort(view, box, criteria("SUBJECT"), range(view.count))
    assert [place for place in again if place != view.count - 1] == first and box.read < 20
    assert again.index(view.count - 1) == again.index(next(place for place in first if (place - 4) * 7 % 200 == 100 and place >= 4)) + 1


async def test_few_orders_are_kept():
    letters = Letters(*[message("a@a.test", "b@a.test", "s", "1 Jul 2003 00:00 +0000")] * 3)
    view = await letters.view()
    names = ["ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM"]
    for name in names:
        await sort(view, letters.opened, criteria(name), range(3))
    assert list(view.image.orders._orders) == [criteria(name) for name in names[-orders.MOST:]]
