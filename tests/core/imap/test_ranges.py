"""Arithmetic of UID sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.imap.ranges import common, compress, runs, size, without

NUMBERS = st.sets(st.integers(1, 40)).map(sorted)


@pytest.mark.parametrize("some, others, both", [
    ([(1, 5)], [(3, 9)], [(3, 5)]), ([(1, 9)], [(2, 3), (5, 5), (9, 12)], [(2, 3), (5, 5), (9, 9)]), ([(1, 2), (4, 6)], [(3, 3)], []),
    ([(1, 2), (4, 6), (8, 8)], [(2, 8)], [(2, 2), (4, 6), (8, 8)]), ([], [(1, 1)], []), ([(1, 1)], [], [])])
def test_common(some, others, both):
    assert common(some, others) == common(others, some) == both


@given(NUMBERS, NUMBERS)
def test_as_sets_have_it(left, right):
    assert common(compress(left), compress(right)) == compress(sorted({*left} & {*right}))
    assert without(compress(left), compress(right)) == compress(sorted({*left} - {*right}))
    assert size(compress(left)) == len(left) == sum(last - first for first, last in runs(left))
