"""UID sets: what is read, what is refused, and that ranges never grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail import uidset


@pytest.mark.parametrize("text, ranges", [
    ("1", [(1, 1)]), ("1:4,9", [(1, 4), (9, 9)]), ("4:2", [(2, 4)]), ("9,1:4,5", [(1, 5), (9, 9)]), ("7:*", [(7, 2**32 - 1)]), ("1:9,2:3", [(1, 9)])])
def test_read(text, ranges):
    assert uidset.parse(text) == ranges


@pytest.mark.parametrize("text", ["", "0", "1:0", "a", "1-2", "1,", ",1", "*", " 1", "1 ", "4294967296", "99999999999", "1:2:3", "+1", "1.0", "١"])
def test_refused(text):
    with pytest.raises(ValueError):
        uidset.parse(text)


@given(st.sets(st.integers(1, 300)))
def test_ranges_hold_exactly_what_went_in(uids):
    ranges = uidset.ranges(uids)
    assert {uid for uid in range(1, 310) if uidset.contains(ranges, uid)} == uids
    assert all(second[0] > first[1] + 1 for first, second in zip(ranges, ranges[1:]))
    if uids:
        assert uidset.parse(uidset.text(ranges)) == ranges


@given(st.text(max_size=30))
def test_garbage_is_a_set_or_a_value_error(text):
    try:
        assert uidset.parse(text)
    except ValueError:
        pass
