"""What was worked out before is kept in so many octets, whoever asks for what."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from fancymail.mail.kept import ENTRY, Kept, kept, most_kept, octets_kept, weigh


def test_an_answer_is_worked_out_once():
    asked = []
    doubled = kept(10_000)(lambda number: asked.append(number) or [number, number])
    assert doubled(3) == [3, 3] and doubled(3) is doubled(3) and asked == [3]


@pytest.mark.parametrize("length", [1, 50, 400])
def test_never_more_than_was_allowed(length):
    table = Kept(20_000)
    for number in range(1000):
        table.put(number, b"x" * length + b"%d" % number)
        assert table.octets <= 20_000 and sum(ENTRY + weigh(pair) for pair in table.items()) == table.octets and number in table


def test_what_is_large_is_worked_out_each_time():
    asked = []
    answer = kept(10_000)(lambda length: asked.append(length) or b"x" * length)
    assert (answer(5000), answer(5000), answer(10)) == (b"x" * 5000, b"x" * 5000, b"x" * 10) and asked == [5000, 5000, 10]


def test_an_error_is_not_kept():
    read = kept(10_000)(int)
    for _ in range(2):
        with pytest.raises(ValueError):
            read("no number")
    assert read("7") == 7


def test_what_is_known_stays_as_it_is():
    table = Kept(10_000)
    table.put("a", 1)
    table.put("a", 2)
    assert table["a"] == 1 and "b" not in table and table.get("b") is None
    with pytest.raises(KeyError):
        table["b"]


@dataclass(frozen=True, slots=True)
class Word:
    text: bytes
    more: tuple = ()


def test_all_that_a_value_is_made_of_counts():
    text = b"x" * 1000
    for value in (text, (text,), [[text]], {text: 1}, {1: text}, frozenset([text]), Word(text), Word(b"", (Word(text),))):
        assert weigh(value) >= sys.getsizeof(text)
    assert weigh((Word, int, Word)) < 500


def test_all_tables_of_a_process_are_counted():
    before, most = octets_kept(), most_kept()
    answer = kept(12_345)(lambda number: b"x" * number)
    answer(900)
    assert most_kept() == most + 12_345 and octets_kept() >= before + 900
