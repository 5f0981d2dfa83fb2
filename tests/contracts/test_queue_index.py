"""One contract for every queue index: memory and SQLite behave alike."""

from __future__ import annotations

from copy import copy

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from fancymail.storage.memory.queue import MemoryQueueIndex
from fancymail.storage.ports.queue import BEGIN, Entry, IndexFailed, State, Total
from fancymail.storage.postgres.queue import PostgresQueueIndex
from fancymail.storage.sqlite.queue import SqliteQueueIndex
from tests.cluster_kit import database

ALL = 1 << 62


def entry(number: int, queue: str = "incoming", **fields) -> Entry:
    return Entry(id=f"{number:026d}", queue=queue, pushed=1000.0 + number, size=number, sha256=bytes(32), bare=False,
                 sender="a@example.test", recipients="b@example.test", count=1, **fields)


@pytest.fixture(params=["memory", "sqlite", "postgres", "conflicts"])
def index(request, tmp_path):
    if request.param in ("postgres", "conflicts"):
        with database(request.param) as db:
            yield PostgresQueueIndex(db, "here", 60.0)
        return
    index = MemoryQueueIndex() if request.param == "memory" else SqliteQueueIndex(tmp_path / "index.db")
    yield index
    index.close()


def ids(entries):
    return [int(entry.id) for entry in entries]


def test_entries_come_back_as_they_were(index):
    given = entry(7, state=State.DEFERRED, due=5.5, attempts=2, deaths=1, results="[]", reason="because")
    index.add([given])
    assert index.find(given.id) == given and given.seq > 0
    assert index.find("0" * 26) is None
    found = index.find(given.id)
    found.reason = "changed outside"
    assert index.find(given.id) == given


def test_an_id_is_there_once(index):
    index.add([entry(1)])
    with pytest.raises(IndexFailed):
        index.add([entry(2), entry(1)])
    assert index.find(entry(2).id) is None          # all or nothing


def test_the_oldest_is_claimed_first_and_once(index):
    index.add([entry(n) for n in (3, 1, 2)])
    index.add([entry(4, "outgoing")])
    first = index.claim_ready("incoming", 2, ALL)
    assert ids(first) == [3, 1] and all(e.state is State.LEASED and e.attempts == 1 for e in first)
    assert index.find(first[0].id).state is State.LEASED
    assert ids(index.claim_ready("incoming", 9, ALL)) == [2] and index.claim_ready("incoming", 9, ALL) == []
    assert ids(index.claim_ready("outgoing", 9, ALL)) == [4]


def test_what_is_not_durable_yet_is_not_claimed(index):
    old, new = entry(1), entry(2)
    index.add([old])
    index.add([new])
    assert ids(index.claim_ready("incoming", 9, new.seq)) == [1]
    assert ids(index.claim_ready("incoming", 9, new.seq + 1)) == [2]


def test_seq_is_never_given_twice(index):
    last = entry(1)
    index.add([last])
    index.remove([last.id])
    new = entry(2)
    index.add([new])
    assert new.seq > last.seq


def test_the_longest_due_is_claimed_first(index):
    index.add([entry(n, state=State.DEFERRED, due=float(due)) for n, due in ((1, 30), (2, 10), (3, 20))])
    assert index.next_due("incoming") == 10.0 and index.next_due("outgoing") is None
    assert index.claim_due("incoming", 9, 9.9) == []
    due = index.claim_due("incoming", 1, 20.0)
    assert ids(due) == [2] and due[0].due == 0 and due[0].attempts == 1
    assert ids(index.claim_due("incoming", 9, 20.0)) == [3] and index.next_due("incoming") == 30.0


def test_save_writes_what_changes(index):
    given = entry(1)
    index.add([given])
    changed = copy(given)
    changed.state, changed.due, changed.attempts, changed.deaths, changed.results, changed.reason = State.DEFERRED, 9.0, 4, 2, "[1]", "later"
    changed.sender = "never@example.test"
    index.save([changed, entry(99)])
    changed.sender = given.sender
    assert index.find(given.id) == changed and index.find(entry(99).id) is None


def test_remove_and_known(index):
    index.add([entry(n) for n in range(5)])
    gone = index.remove([entry(1).id, entry(77).id])
    assert ids(gone) == [1] and gone[0].queue == "incoming" and gone[0].size == 1
    assert {int(id) for id in index.known(entry(n).id for n in range(8))} == {0, 2, 3, 4}
    assert index.known([]) == set()


def test_totals(index):
    assert index.totals() == {}
    index.add([entry(n) for n in (10, 20)] + [entry(5, "outgoing", state=State.HELD)])
    index.claim_ready("incoming", 1, ALL)
    assert index.totals() == {("incoming", State.LEASED): Total(1, 10), ("incoming", State.READY): Total(1, 20),
                              ("outgoing", State.HELD): Total(1, 5)}


def test_clamp(index):
    index.add([entry(1, state=State.DEFERRED, due=50.0), entry(2, "outgoing", state=State.DEFERRED, due=1e12), entry(3)])
    assert index.clamp("outgoing", 100.0) == 1 and index.clamp("incoming", 100.0) == 0
    assert index.next_due("outgoing") == 100.0 and index.next_due("incoming") == 50.0


def test_scan_walks_a_state_in_pieces(index):
    index.add([entry(n, state=State.DEFERRED, due=float(n % 3)) for n in range(10)] + [entry(50)])
    seen, position = [], BEGIN
    while page := index.scan("incoming", State.DEFERRED, position, 4):
        seen += ids(page)
        position = (page[-1].due, page[-1].seq)
    assert seen == [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]
    assert ids(index.scan("incoming", State.READY, BEGIN, 9)) == [50]


def test_housekeeping_loses_nothing(index):
    for n in range(50):
        index.add([entry(n)])
        if n % 7 == 0:
            index.copy_back()
            index.add([entry(100 + n)])
            index.restart_log()
    assert len(index.scan("incoming", State.READY, BEGIN, 1000)) == 58
    assert index.crowded() is False


class Alike(RuleBasedStateMachine):
    """Whatever is asked, in whatever order, both engines answer the same."""

    def __init__(self):
        super().__init__()
        import tempfile
        self.folder = tempfile.TemporaryDirectory()
        self.both = (MemoryQueueIndex(), SqliteQueueIndex(self.folder.name + "/index.db"))
        self.number = 0

    def same(self, ask):
        first, second = map(ask, self.both)
        assert first == second
        return first

    @rule(queue=st.sampled_from(["incoming", "outgoing"]), state=st.sampled_from(list(State)), due=st.integers(0, 5))
    def add(self, queue, state, due):
        self.number += 1
        due = float(due) if state is State.DEFERRED else 0.0
        self.same(lambda index: index.add([entry(self.number, queue, state=state, due=due)]))

    @rule(queue=st.sampled_from(["incoming", "outgoing"]), count=st.integers(1, 4), before=st.integers(0, 30))
    def claim_ready(self, queue, count, before):
        self.same(lambda index: index.claim_ready(queue, count, before))

    @rule(queue=st.sampled_from(["incoming", "outgoing"]), count=st.integers(1, 4), now=st.integers(0, 5))
    def claim_due(self, queue, count, now):
        self.same(lambda index: sorted(ids(index.claim_due(queue, count, float(now)))))

    @rule(number=st.integers(1, 20), state=st.sampled_from(list(State)), due=st.integers(0, 5))
    def save(self, number, state, due):
        self.same(lambda index: index.save([entry(number, state=state, due=float(due) if state is State.DEFERRED else 0.0)]))

    @rule(number=st.integers(1, 20))
    def remove(self, number):
        self.same(lambda index: index.remove([entry(number).id]))

    @rule()
    def housekeeping(self):
        self.same(lambda index: (index.copy_back(), index.restart_log()))

    @rule()
    def look(self):
        self.same(lambda index: index.totals())
        for queue in ("incoming", "outgoing"):
            self.same(lambda index: index.next_due(queue))
            for state in State:
                self.same(lambda index: index.scan(queue, state, BEGIN, 100))

    def teardown(self):
        self.both[1].close()
        self.folder.cleanup()


TestAlike = Alike.TestCase
TestAlike.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_the_tally_counts_what_came_and_how_it_ended(index):
    assert index.tally() == {}
    index.add([entry(1), entry(2), entry(3), entry(4, "outgoing")])
    index.remove([entry(1).id, entry(9).id], lambda ended: "delivered")
    index.remove([entry(2).id], lambda ended: "bounced" if ended.size == 2 else "wrong")
    index.remove([entry(4).id])                     # taken back
    with pytest.raises(IndexFailed):
        index.add([entry(5), entry(3)])
    tally = index.tally()
    assert tally == {("incoming", "accepted"): 3, ("incoming", "delivered"): 1, ("incoming", "bounced"): 1, ("outgoing", "accepted"): 0}
    assert sum(total.messages for total in index.totals().values()) == 3 - 1 - 1
    index.correct({("incoming", "accepted"): -1, ("other", "delivered"): 2})
    assert index.tally() == tally | {("incoming", "accepted"): 2, ("other", "delivered"): 2}
    index.correct({})
