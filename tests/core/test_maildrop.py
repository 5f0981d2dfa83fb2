"""The maildrop of a POP3 session."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.core.maildrop import RECORD, Maildrop, Snapshot, Snapshots

MESSAGES = st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 2**40)), max_size=12)


def packed(messages) -> bytes:
    return b"".join(RECORD.pack(*message) for message in messages)


@given(MESSAGES, st.lists(st.integers(-1, 14), max_size=8))
def test_listings_show_what_is_not_marked(messages, marks):
    maildrop = Maildrop(Snapshot(7, packed(messages)))
    marked = {number for number in marks if maildrop.delete(number)}
    assert marked == {number for number in marks if 1 <= number <= len(messages)}
    left = [(number, *message) for number, message in enumerate(messages, 1) if number not in marked]
    assert maildrop.scan_listing() == b"".join(b"%d %d\r\n" % (number, size) for number, _, size in left)
    assert maildrop.unique_listing() == b"".join(b"%d 7.%d\r\n" % (number, uid) for number, uid, _ in left)
    assert (maildrop.count, maildrop.octets) == (len(left), sum(size for _, _, size in left))
    assert maildrop.deleted_uids() == [messages[number - 1][0] for number in sorted(marked)]
    for number in range(-1, 15):
        expected = messages[number - 1] if 1 <= number <= len(messages) and number not in marked else None
        assert maildrop.find(number) == expected
    maildrop.reset()
    assert (maildrop.count, maildrop.octets) == (len(messages), sum(size for _, size in messages))
    assert maildrop.deleted_uids() == []


def test_unique_id_is_at_most_70_printable_octets():
    unique = Maildrop(Snapshot(2**32 - 1, b"")).unique_id(2**32 - 1)
    assert unique == b"4294967295.4294967295" and len(unique) <= 70


def test_half_a_record_is_refused():
    with pytest.raises(ValueError):
        Snapshot(1, b"x" * 13)


def test_snapshots_are_shared_while_nothing_changes_and_bounded():
    snapshots = Snapshots(3)
    one = snapshots.share("alice", 1, packed([(1, 10), (2, 20)]))
    assert snapshots.share("alice", 1, packed([(1, 10), (2, 20)])) is one
    assert snapshots.share("alice", 2, packed([(1, 10), (2, 20)])) is not one
    more = snapshots.share("alice", 2, packed([(1, 10), (2, 20), (3, 1)]))
    assert snapshots.share("alice", 2, packed([(1, 10), (2, 20), (3, 1)])) is more
    snapshots.share("bob", 1, packed([(1, 1)]))             # one too many: the older goes
    assert snapshots.share("alice", 2, packed([(1, 10), (2, 20), (3, 1)])) is not more
    snapshots.share("carol", 1, packed([(uid, 1) for uid in range(1, 10)]))     # too large for itself: not kept at all
    assert snapshots._held == 0


def test_one_session_does_not_see_the_marks_of_another():
    snapshot = Snapshot(1, packed([(1, 10), (2, 20)]))
    one, other = Maildrop(snapshot), Maildrop(snapshot)
    one.delete(1)
    assert other.scan_listing() == b"1 10\r\n2 20\r\n" and one.scan_listing() == b"2 20\r\n"
