"""SORT by every criterion, and by several."""

from __future__ import annotations

import pytest

from fancymail.core.imap.sort import sort
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
