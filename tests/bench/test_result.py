"""Rows, medians and ratios, and the files they are kept in."""

from __future__ import annotations

import pytest

from bench import result as results
from bench.result import Ratio, Result, Row, ratio


def row(server, *rates, work="accept", **facts):
    return Row(work=work, server=server, facts=facts, rounds=[{"rate": rate} for rate in rates])


def test_ratio_pairs_the_rounds():
    found = ratio(row("a", 10, 40, 90), row("b", 1, 2, 3), "rate")
    assert found == Ratio(20, 10, 30)


def test_ratio_of_nothing_is_no_division_by_zero():
    assert ratio(row("a", 10), row("b", 0), "rate") == Ratio(0, 0, 0)


@pytest.mark.parametrize("found, text", [
    (Ratio(8.04, 7.4, 9.0), "8.0 (7.4-9.0)"), (Ratio(31.2, 28, 40), "31 (28-40)"), (Ratio(2, 2.01, 1.99), "2.0")])
def test_ratio_for_people(found, text):
    assert str(found) == text


def test_a_row_is_found_by_its_facts():
    result = Result(part="x", taken="2026-01-01", machine={}, rows=[row("a", 1, size=1), row("a", 2, size=2)])
    assert result.row("accept", "a", size=2).median("rate") == 2
    with pytest.raises(LookupError):
        result.row("accept", "a", size=3)


def test_what_is_kept_is_read_again(tmp_path):
    result = Result(part="x", taken="2026-01-01", machine={"python": "3"}, rows=[row("a", 1234.5678, 0.00123456, size=1)])
    results.write(result, tmp_path)
    again = results.read("x", tmp_path)
    assert again.rows[0].rounds == [{"rate": 1235}, {"rate": 0.001235}] and again.machine == {"python": "3"}


def test_nothing_is_kept_of_what_was_not_measured(tmp_path):
    assert results.read("x", tmp_path) is None
