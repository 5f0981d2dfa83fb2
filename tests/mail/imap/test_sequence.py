"""Sequence sets: what they are, what they mean, what they cost."""

from __future__ import annotations

import pytest

from fancymail.mail.imap.sequence import EVERY, MOST_RANGES, SAVED, SequenceSet, parse_sequence


@pytest.mark.parametrize("text, ranges, star", [
    (b"3", ((3, 3),), 0), (b"4:2", ((2, 4),), 0), (b"1,2,3,7:9,8", ((1, 3), (7, 9)), 0), (b"*", (), 4294967295), (b"1:*", (), 1),
    (b"*:7", (), 7), (b"*:*", (), 4294967295), (b"2,5:*,9:*", ((2, 2),), 5), (b"4294967295", ((4294967295, 4294967295),), 0)])
def test_parse(text, ranges, star):
    assert parse_sequence(text) == SequenceSet(ranges, star)


@pytest.mark.parametrize("text", [b"", b"0", b"1,", b",1", b"1,,2", b"1:", b":1", b"1:2:3", b"01", b"-1", b"+1", b"1 ", b"4294967296",
                                  b"1:4294967296", b"4294967296:*", b"12345678901", b"$,1", b"a", b"1\n", "\u0661".encode()])
def test_what_is_none(text):
    with pytest.raises(ValueError):
        parse_sequence(text)


@pytest.mark.parametrize("text, largest, ranges", [
    (b"*", 5, [(5, 5)]), (b"*", 0, []), (b"7:*", 5, [(5, 5)]), (b"3:*", 5, [(3, 5)]), (b"1,3:*", 5, [(1, 1), (3, 5)]), (b"1:*", 0, []),
    (b"7", 5, [(7, 7)]), (b"1:10", 5, [(1, 10)])])
def test_resolve(text, largest, ranges):
    assert parse_sequence(text).resolve(largest) == ranges


def test_single():
    assert parse_sequence(b"7").single == 7
    assert parse_sequence(b"7:8").single == parse_sequence(b"7,*").single == SAVED.single == EVERY.single == 0


def test_saved():
    assert parse_sequence(b"$") is SAVED and str(SAVED) == "$"


def test_too_many_ranges():
    most = b",".join(b"%d" % number for number in range(1, 2 * MOST_RANGES, 2))
    assert len(parse_sequence(most).ranges) == MOST_RANGES
    with pytest.raises(ValueError, match="too many"):
        parse_sequence(most + b",4000000000")
    assert parse_sequence(b",".join(b"%d" % number for number in range(1, 50_000))).ranges == ((1, 49_999),)


def test_text():
    assert str(parse_sequence(b"5:3,9,12:*")) == "3:5,9,12:*"
    assert str(parse_sequence(b"*,1")) == "1,*"
