"""Leases end when their time is over, and not before."""

from __future__ import annotations

from fancymail.core.lease import Leases


def test_leases_end_in_order():
    leases = Leases()
    for number, deadline in enumerate((30, 10, 20)):
        leases.take("incoming", str(number), "mailbox", deadline)
    assert leases.next_deadline() == 10 and leases.expired(9) == []
    assert [lease.id for lease in leases.expired(20)] == ["1", "2"] and len(leases) == 1
    leases.end("0")
    assert leases.next_deadline() is None and leases.expired(99) == [] and leases.end("0") is None


def test_renewing_moves_the_end_and_keeps_memory_bounded():
    leases = Leases()
    lease = leases.take("incoming", "a", "mailbox", 10)
    for deadline in range(11, 5000):
        leases.renew(lease, deadline)
    assert leases.expired(4998) == [] and len(leases._deadlines) < 100
    assert leases.expired(4999) == [lease]


def test_taken_again_is_a_new_lease():
    leases = Leases()
    leases.take("incoming", "a", "mailbox", 10)
    leases.end("a")
    again = leases.take("incoming", "a", "mailbox", 50)
    assert leases.expired(10) == [] and leases.get("a") is again


def test_popped_ones_are_visited_in_turn():
    leases = Leases()
    for id in "abc":
        leases.take("incoming", id, "x", 10, popped=True)
    leases.take("incoming", "d", "x", 10)
    leases.end("b")
    assert [leases.some_popped("incoming", 1) for _ in range(4)] == [["a"], [], ["c"], ["a"]]
    assert leases.some_popped("outgoing", 5) == []
