"""The full-text index: what it knows is found by it, what it does not know is found all the same."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from fancymail.mail.derived import VERSION, Derived
from fancymail.storage.ports.mailboxes import Delivery, Keep
from fancymail.storage.sqlite import fulltext
from fancymail.storage.sqlite.fulltext import TextIndex
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.reader import SqliteReader

ALICE, NOW, ALL = "alice@example.test", 1_800_000_000, [(1, 2**32 - 1)]


class Kit:
    def __init__(self, folder) -> None:
        self.folder = folder
        self.store = SqliteMailboxes(folder, synchronous="OFF")
        self.alice = self.store.account(ALICE)
        self.alice.create("INBOX", NOW)
        self.index = TextIndex(folder, 1, 0)
        self.reader = SqliteReader(folder)
        self.scanned: list[int] = []

    def put(self, *texts: str, header: str = "subject: x\n") -> None:
        self.alice.deliver([Delivery("INBOX", "", 0, sha256(text.encode()).digest(), len(text), b"", NOW,
                                     derived=Derived(header_text=header, text=text)) for text in texts], NOW)

    def fill(self) -> int:
        total = 0
        while count := self.index.step():
            total += count
        return total

    async def find(self, *words: str, place: str = "body", uids=ALL) -> list[int]:
        return await self.reader.open(ALICE, 1).matching(words, place, uids)

    def candidates(self, *words: str) -> list[int]:
        return self.reader.open(ALICE, 1)._candidates(fulltext.query(words), ALL, ["everything"])


@pytest.fixture
def kit(tmp_path):
    kit = Kit(tmp_path)
    yield kit
    kit.reader.close()
    kit.index.close()
    kit.store.close()


async def test_found_before_and_after_it_is_indexed(kit):
    kit.put("one needle here", "nothing", "another need", 'quoted "needle" it is')
    assert await kit.find("needle") == [1, 4]
    assert kit.candidates("needle") == [1, 2, 3, 4]
    assert kit.fill() == 4
    assert kit.candidates("needle") == [1, 4] and await kit.find("needle") == [1, 4]
    kit.put("needle too", "no")
    assert kit.candidates("needle") == [1, 4, 5, 6] and await kit.find("needle") == [1, 4, 5]
    assert await kit.find("needle", uids=[(2, 4), (6, 9)]) == [4]
    assert await kit.find('"needle" it') == [4]
    assert await kit.find("ne") == [1, 3, 4, 5] and await kit.find("") == [1, 2, 3, 4, 5, 6]


async def test_a_word_that_all_have_costs_what_is_asked_for_not_what_the_index_holds(kit):
    """A large mailbox is searched a thousand messages at a time: each time the index is asked about these alone."""
    steps = []
    for _ in range(2):
        kit.put(*["needle"] * (100 if not steps else 3_000))
        kit.fill()
        kit.candidates("needle")                                    # opens the shard
        counted, connection = [], kit.reader.scanned[0].connection
        connection.set_progress_handler(lambda: bool(counted.append(1)), 10)
        found = kit.reader.open(ALICE, 1)._candidates(fulltext.query(["needle"]), [(1, 100)], [])
        connection.set_progress_handler(None)
        assert found == list(range(1, 101))
        steps.append(len(counted))
    assert 0 < steps[1] < steps[0] * 1.2, steps


async def test_the_index_is_looked_at_again(kit):
    kit.put("abc bcd", "abcd", "xabcdx")                # the first holds all trigrams of abcd, but not abcd
    kit.fill()
    assert kit.candidates("abcd") == [1, 2, 3] and await kit.find("abcd") == [2, 3]
    assert await kit.find("subject", place="header") == [1, 2, 3] and await kit.find("subject") == []


async def test_long_texts_are_left_out_and_found(kit):
    kit.put("x" * fulltext.LONGEST + " needle", "no")
    assert kit.fill() == 2
    assert kit.candidates("needle") == [1] and await kit.find("needle") == [1]


async def test_numbers_that_were_given_again(kit):
    kit.put("needle")
    kit.fill()
    kit.alice.forget(NOW)
    kit.alice.create("INBOX", NOW)
    number = kit.alice.mailbox("INBOX").id
    kit.put("thread")
    assert await kit.reader.open(ALICE, number).matching(["thread"], "body", ALL) == [1]
    assert await kit.reader.open(ALICE, number).matching(["needle"], "body", ALL) == []
    kit.index.restart()
    assert kit.fill() == 1
    assert await kit.reader.open(ALICE, number).matching(["thread"], "body", ALL) == [1]


async def test_small_accounts_are_not_indexed(tmp_path, kit):
    kit.index.least = 3
    kit.put("needle", "no")
    assert kit.fill() == 0 and await kit.find("needle") == [1]
    kit.put("needle")
    assert kit.fill() == 3


async def test_let_go_and_taken_in_again(kit):
    kit.put("needle", "thread")
    kit.fill()
    kit.index.forget(ALICE)
    assert kit.candidates("needle") == [1, 2] and await kit.find("needle") == [1]
    assert kit.fill() == 2
    kit.alice.forget(NOW)
    assert kit.fill() == 0
    assert [*kit.index.connections[0].execute("SELECT count(*) FROM indexed")] == [(0,)]


async def test_all_that_is_no_more_goes_however_much_it_is(kit, monkeypatch):
    monkeypatch.setattr(fulltext, "LOOKED", 3)
    kit.put(*["needle"] * 10)
    assert kit.fill() == 10
    kit.alice.expunge("INBOX", [(2, 9)], NOW)
    kit.store.purge(NOW + 1, Keep(expunged=0))
    for _ in range(8):                  # twice round
        kit.index.step()
    assert [mid for mid, in kit.index.connections[0].execute("SELECT mid FROM indexed")] == [1, 10] and kit.candidates("needle") == [1, 10]


async def test_another_version_begins_anew(kit):
    kit.put("needle")
    kit.fill()
    kit.index.connections[0].pragma("user_version", VERSION + 1)
    kit.index.close()
    kit.index = TextIndex(kit.folder, 1, 0)
    assert kit.fill() == 1 and kit.candidates("needle") == [1]


async def test_as_looking_through_everything(kit):
    """Random texts and words: with an index over half of them, what is found is what is there."""
    chance = random.Random(5)
    texts = ["".join(chance.choices("ab \"ß", k=chance.randrange(30))) for _ in range(60)]
    kit.put(*texts[:30])
    kit.fill()
    kit.put(*texts[30:])
    for _ in range(150):
        words = ["".join(chance.choices("ab \"ß", k=chance.randrange(6))) for _ in range(chance.randrange(1, 3))]
        assert await kit.find(*words) == [uid for uid, text in enumerate(texts, 1) if all(word in text for word in words)]


async def test_a_broken_index_is_done_without(kit):
    kit.put("needle", "no")
    kit.fill()
    kit.index.close()
    for path in kit.folder.glob("text-0.db-*"):
        path.unlink()
    (kit.folder / "text-0.db").write_bytes(b"garbage " * 1000)
    assert await kit.find("needle") == [1]
