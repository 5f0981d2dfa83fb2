"""Tables: columns, verdicts on targets, numbers for people."""

from __future__ import annotations

import pytest

from bench import tables
from bench.result import Ratio, Result, Row
from bench.tables import Line, comparison


def result():
    theirs = Row(work="accept", server="Postfix", facts={"size": 1}, rounds=[{"rate": 900, "cpu": 1800}, {"rate": 1000, "cpu": 1700}])
    ours = Row(work="accept", server="FancyMail", facts={"size": 1}, rounds=[{"rate": 4500, "cpu": 200}, {"rate": 4000, "cpu": 210}])
    return Result(part="x", taken="2026-01-01", machine={}, rows=[theirs, ours])


def test_both_sides_and_how_many_times():
    text = comparison(result(), [Line("small", "accept", {"size": 1}, cpu=8, rate=5)], "Postfix")
    head, _, line = text.splitlines()
    assert head.startswith("| work | Postfix messages/s | FancyMail messages/s |")
    assert line == "| small | 950 | 4,250 | 4.5 (4.0-5.0) | 1,750 | 205 | 8.5 (8.1-9.0) | 8 in CPU: reached; 5 in rate: no |"


def test_every_line_has_as_many_cells_as_the_head():
    text = comparison(result(), [Line("small", "accept", {"size": 1}), Line("again", "accept", {"size": 1}, cpu=100)], "Postfix")
    assert {line.count("|") for line in text.splitlines()} == {9}


@pytest.mark.parametrize("value, text", [(12345.6, "12,346"), (99.94, "99.9"), (10, "10.0"), (3.14159, "3.1"), (0.0123, "0.012"), (0, "0")])
def test_numbers(value, text):
    assert tables.number(value) == text


def test_losing_is_said():
    assert tables.verdict(Line("", "", cpu=1), Ratio(0.5, 0.5, 0.5), Ratio(0.9, 0.9, 0.9)) == "1 in CPU: no"


@pytest.mark.parametrize("value, word", [(150, "reached"), (150.1, "no")])
def test_a_bound_from_above(value, word):
    assert tables.reached(value, 150) == word
