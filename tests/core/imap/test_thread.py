"""THREAD: both algorithms against mail whose threads are known, and whatever references strangers write."""

from __future__ import annotations

import random
import re

import pytest

from fancymail.core.imap.image import BoxImage
from fancymail.core.imap.thread import thread
from fancymail.core.imap.view import View

from .letters import Letters


def message(id: str, references: str = "", subject: str = "", day: int = 1, reply_to: str = "") -> bytes:
    lines = [f"Date: {day} Jan 2020 00:00 +0000", f"Subject: {subject}"]
    lines += [f"Message-ID: <{id}@x>"] if id else []
    lines += ["References: " + " ".join(f"<{each}@x>" for each in references.split())] if references else []
    lines += [f"In-Reply-To: <{reply_to}@x>"] if reply_to else []
    return "\r\n".join([*lines, "", "text"]).encode()


async def threads(*messages: bytes, algorithm: str = "REFERENCES", places=None, uid: bool = False) -> str:
    letters = Letters(*messages)
    view = await letters.view()
    answer = await thread(view, letters.opened, algorithm, range(view.count) if places is None else places, uid)
    assert answer.startswith(b"* THREAD") and answer.endswith(b"\r\n")
    return answer[8:-2].strip().decode()


async def test_references_make_a_tree():
    assert await threads(message("a"), message("b", "a", day=2), message("c", "a b", day=3), message("d", "a", day=4)) == "(1 (2 3)(4))"


async def test_answers_may_come_before_what_they_answer():
    assert await threads(message("c", "a b", day=3), message("b", "a", day=2), message("a", day=1)) == "(3 2 1)"


async def test_in_reply_to_counts_where_there_are_no_references():
    assert await threads(message("a"), message("b", reply_to="a", day=2)) == "(1 2)"


async def test_a_missing_message_holds_its_answers_together_at_the_top():
    assert await threads(message("b", "a", day=1), message("c", "a", day=2)) == "((1)(2))"
    assert await threads(message("b", "a", day=2)) == "(1)"
    assert await threads(message("a"), message("c", "a b", day=2)) == "(1 2)"


async def test_subjects_join_threads():
    assert await threads(message("a", subject="Pears"), message("b", subject="Re: pears", day=2)) == "(1 2)"
    assert await threads(message("a", subject="Re: Pears"), message("b", subject="pears", day=2)) == "(2 1)"
    assert await threads(message("a", subject="Pears"), message("b", subject="Pears", day=2)) == "((1)(2))"
    assert await threads(message("a", subject=""), message("b", subject="Re: ", day=2)) == "(1)(2)"
    both = await threads(message("b", "a", "Pears", 1), message("c", "a", "Re: Pears", 2), message("e", "d", "Pears", 3), message("f", "d", "x", 4))
    assert both == "((1)(2)(3)(4))"


async def test_threads_and_answers_are_ordered_by_time():
    assert await threads(message("b", subject="b", day=9), message("a", subject="a", day=2)) == "(2)(1)"
    assert await threads(message("a", day=1), message("b", "a", day=8), message("c", "a", day=4)) == "(1 (3)(2))"


async def test_ids_twice_missing_or_in_a_circle():
    assert await threads(message("a", subject="x"), message("a", subject="y", day=2)) == "(1)(2)"
    assert await threads(message("", subject="x"), message("", subject="y", day=2)) == "(1)(2)"
    assert await threads(message("a", "a", subject="x")) == "(1)"
    circle = await threads(message("a", "b", day=1), message("b", "a", day=2))
    assert circle in ("(1 2)", "(2 1)")
    assert await threads(message("a", "b c", day=1), message("b", "c a", day=2), message("c", "a b", day=3))


async def test_uids_and_nothing():
    assert await threads(message("a"), message("b", "a", day=2), places=[1], uid=True) == "(2)"
    assert await threads(message("a"), places=[]) == ""


async def test_ordered_subject():
    mail = [message("a", subject="x", day=3), message("b", subject="Re: x", day=1), message("c", subject="y", day=2),
            message("d", subject="x", day=4), message("e", subject="y", day=5)]
    assert await threads(*mail, algorithm="ORDEREDSUBJECT") == "(2 (1)(4))(3 5)"


@pytest.mark.parametrize("seed", range(40))
async def test_every_message_stands_there_once_whatever_it_refers_to(seed):
    chance = random.Random(seed)
    ids = [f"i{number}" for number in range(12)]
    mail = [message(chance.choice(ids + [""]), " ".join(chance.choices(ids, k=chance.randrange(5))),
                    chance.choice(["", "x", "Re: x", "y", "Re: y"]), chance.randrange(1, 28)) for _ in range(30)]
    text = await threads(*mail)
    assert sorted(map(int, re.findall(r"[0-9]+", text))) == list(range(1, 31))
    assert re.fullmatch(r"[0-9() ]+", text) and text.count("(") == text.count(")") and "()" not in text and "( " not in text


async def test_a_thread_as_deep_as_the_mailbox_is_long():
    depth = 3_000
    mail = [message(f"m{number}", f"m{number - 1}" if number else "") for number in range(depth)]
    assert await threads(*mail) == "(" + " ".join(map(str, range(1, depth + 1))) + ")"


@pytest.mark.parametrize("seed", range(6))
async def test_a_kept_answer_is_that_of_the_messages_there_are(seed):
    chance = random.Random(seed)
    letters, ids = Letters(), [f"i{number}" for number in range(30)]
    letters.add(message("i0"))
    view = await letters.view()
    for _ in range(80):
        if chance.random() < 0.3:
            references = " ".join(chance.sample(ids, chance.randrange(3)))
            letters.add(message(chance.choice(ids), references, f"s{chance.randrange(4)}", chance.randrange(1, 20)))
        elif chance.random() < 0.2:
            uid = chance.choice(view.uids[:view.count] or [1])
            letters.account.expunge("INBOX", [(uid, uid)], 1_500_000_001)
        image = view.image
        assert image.apply(await letters.opened.changes(image.modseq, image.mailbox.uidnext))
        view.flush(chance.random() < 0.7)
        algorithm, uid = chance.choice(("REFERENCES", "ORDEREDSUBJECT")), chance.random() < 0.5
        answer = await thread(view, letters.opened, algorithm, range(view.count), uid)
        fresh = View(BoxImage(await letters.opened.load()))
        if list(fresh.uids) == list(view.uids[:view.count]):
            assert answer == await thread(fresh, letters.opened, algorithm, range(view.count), uid)
        numbers = sorted(map(int, re.findall(rb"[0-9]+", answer)))
        assert numbers == (list(view.uids[:view.count]) if uid else list(range(1, view.count + 1)))


async def test_the_answer_for_a_mailbox_is_kept_and_that_for_a_part_is_not():
    letters = Letters(message("a"), message("b", "a"))
    view = await letters.view()
    whole = await thread(view, letters.opened, "REFERENCES", range(2), False)
    assert await thread(view, None, "REFERENCES", range(2), False) is whole             # nothing is read
    assert await thread(view, letters.opened, "REFERENCES", [1], False) == b"* THREAD (2)\r\n"
