"""Flags of many at once are what they are one by one."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.bits import changing, gained, having, masked

WORDS = st.lists(st.integers(0, 2**64 - 1), max_size=30)
BITS = st.integers(0, 2**64 - 1)


@given(WORDS, BITS, BITS)
def test_which_of_them_change(words, add, remove):
    assert list(changing(array("Q", words), add, remove)) == [word & ~remove | add != word for word in words]


@given(WORDS, BITS, BITS, st.integers(0, 63))
def test_how_many_gain_a_bit(words, add, remove, number):
    before, bit = array("Q", words), 1 << number
    assert gained(before, add, remove, bit) == having(masked(before, add, remove), bit) - having(before, bit)


@given(WORDS, BITS, BITS)
def test_bits_are_taken_away_and_then_set(words, add, remove):
    before = array("Q", words)
    assert list(masked(before, add, remove)) == [word & ~remove | add for word in words]
    assert list(before) == words


@given(WORDS, st.integers(0, 63))
def test_words_with_a_bit_are_counted(words, place):
    assert having(array("Q", words), 1 << place) == sum(word >> place & 1 for word in words)
