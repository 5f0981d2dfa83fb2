"""Packed marks are what a row for each message would be: whatever is done to them, against a dictionary; and what an older release left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancymail.mail import uidset
from fancymail.mail.mailbox import DELETED, FLAGGED, SEEN
from fancymail.storage.sqlite import marks
from fancymail.storage.sqlite.database import open_database
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.mailboxes_schema import STEPS

ALICE, NOW = "alice@example.test", 1_800_000_000
BITS = st.sampled_from([0, SEEN, DELETED, FLAGGED, SEEN | DELETED, 1 << 5, 1 << 60])
UIDS = st.integers(1, 4 * marks.SPAN) | st.integers(uidset.LARGEST - 300, uidset.LARGEST)
SETS = st.lists(st.tuples(UIDS, UIDS), min_size=1, max_size=6).map(lambda pairs: uidset.merge((min(pair), max(pair)) for pair in pairs))
STEP = st.one_of(st.tuples(st.just("add"), SETS, BITS), st.tuples(st.just("change"), SETS, BITS, BITS, st.none() | st.integers(1, 12)),
                 st.tuples(st.just("take"), SETS, st.booleans()))


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    store = SqliteMailboxes(tmp_path_factory.mktemp("marks"), synchronous="OFF")
    yield store.shards[0]
    store.close()


class Model:
    """A dictionary: UID -> (flags, modseq)."""

    def __init__(self, shard) -> None:
        self.shard, self.known, self.modseq = shard, {}, 1

    def add(self, uids, flags: int) -> None:
        new = [uid for uid in range(1, 4 * marks.SPAN, 7) if uidset.contains(uids, uid) and uid not in self.known]
        new += [uid for uid in (uidset.LARGEST - 1, uidset.LARGEST) if uidset.contains(uids, uid) and uid not in self.known]
        self.known |= {uid: (flags, self.modseq) for uid in new}
        marks.add(self.shard, 1, [(uid, flags, self.modseq) for uid in new])

    def change(self, uids, add: int, remove: int, limit: int | None) -> None:
        asked = {uid: state for uid, state in self.known.items() if uidset.contains(uids, uid)}
        refused = {uid for uid, (_, modseq) in asked.items() if limit is not None and modseq > limit}
        after = {uid: flags & ~remove | add for uid, (flags, _) in asked.items() if uid not in refused}
        after = {uid: flags for uid, flags in after.items() if flags != asked[uid][0]}
        marked = marks.change(self.shard, 1, uids, (add, remove), self.modseq, limit)
        assert marked.changed == uidset.ranges(after) and marked.refused == uidset.ranges(refused)
        assert marked.unseen == sum(bool(asked[uid][0] & SEEN) - bool(flags & SEEN) for uid, flags in after.items())
        assert marked.deleted == sum(bool(flags & DELETED) - bool(asked[uid][0] & DELETED) for uid, flags in after.items())
        self.known |= {uid: (flags, self.modseq) for uid, flags in after.items()}

    def take(self, uids, deleted: bool) -> None:
        gone = {uid: flags for uid, (flags, _) in self.known.items() if uidset.contains(uids, uid) and (flags & DELETED or not deleted)}
        assert marks.take(self.shard, 1, uids, deleted) == sorted(gone.items())
        for uid in gone:
            del self.known[uid]


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=12), SETS, st.integers(0, 12))
def test_marks_are_those_of_a_dictionary(shard, steps, uids, since):
    with shard:
        marks.drop(shard, 1)
        marks.add(shard, 2, [(1, SEEN, 1)])                 # another mailbox: nothing of it changes
        model = Model(shard)
        for name, *words in steps:
            model.modseq += 1
            getattr(model, name)(*words)
        expected = [(uid, *model.known[uid]) for uid in sorted(model.known)]
        assert marks.states(shard, 1) == expected == list(zip(*marks.load(shard, 1)))
        assert marks.states(shard, 1, uids, since) == [state for state in expected if state[2] > since and uidset.contains(uids, state[0])]
        for place, messages, deleted, modseq, _ in shard.execute("SELECT * FROM marks WHERE place < ?", (2 * marks.PLACES,)):
            first = place % marks.PLACES * marks.SPAN
            here = [state for state in expected if first < state[0] <= first + marks.SPAN]
            assert here and (messages, deleted) == (len(here), sum(bool(state[1] & DELETED) for state in here))
            assert model.modseq >= modseq >= max(state[2] for state in here)
        assert marks.states(shard, 2) == [(1, SEEN, 1)]


def test_an_older_release_had_a_row_for_each_message(tmp_path):
    rows = {1: (SEEN, 2), 2: (0, 3), 250: (DELETED, 9), 251: (1 << 60, 4), 252: (SEEN | DELETED, 2**40), 1700: (3, 7), 2**32 - 1: (FLAGGED, 8)}
    before = [step.name for step in STEPS].index("marks")
    old = open_database(tmp_path / "shard-0.db", STEPS[:before])
    old.execute("INSERT INTO shard VALUES (0, 1); INSERT INTO account VALUES (1, ?, 7)", (ALICE,))
    old.execute("INSERT INTO msg VALUES (5, 1, zeroblob(32), 4, x'', 9, 'M', 'T', NULL)")
    for box, name in ((1, "INBOX"), (2, "Sent")):
        old.execute("INSERT INTO mailbox(id, account, name, uidvalidity, uidnext, highestmodseq, objectid, messages, octets, created) "
                    "VALUES (?, 1, ?, ?, 4294967295, ?, 'F', 1, 1, 0)", (box, name, box, 2**40))
    old.executemany("INSERT INTO state VALUES (1, ?, ?, ?, 5, 9)", [(uid, *marked) for uid, marked in rows.items()])
    old.execute("INSERT INTO state VALUES (2, 7, 16, 2, 5, 9)")
    old.close()
    store = SqliteMailboxes(tmp_path, synchronous="OFF")
    alice = store.account(ALICE)
    assert alice.states("INBOX") == [(uid, *rows[uid]) for uid in sorted(rows)] and alice.states("Sent") == [(7, 16, 2)]
    assert [(message.uid, message.flags, message.modseq, message.savedate) for message in alice.messages("INBOX", [(250, 252)])] == [
        (uid, *rows[uid], 9) for uid in (250, 251, 252)]
    assert alice.expunge("INBOX", marks.ALL, NOW, deleted=True) == [250, 252]
    store.close()


def test_a_rebuild_makes_marks_of_what_is_there(tmp_path):
    store = SqliteMailboxes(tmp_path, synchronous="OFF")
    shard, alice = store.shards[0], store.account(ALICE)
    box = alice.create("INBOX", NOW)
    shard.execute("INSERT INTO msg VALUES (5, 1, zeroblob(32), 4, x'', 9, 'M', 'T', NULL)")
    alice.add(box, [(SEEN, 5)] * 600, 2400, NOW)
    shard.execute("DELETE FROM marks WHERE place = ?", (box.id * marks.PLACES + 1,))
    shard.execute("DELETE FROM entry WHERE uid = 3")
    alice.rebuild()
    box = alice.mailbox("INBOX")
    assert (box.messages, box.unseen, box.octets) == (599, 250, 4 * 599)
    assert [state.uid for state in alice.states("INBOX")] == [uid for uid, _ in alice.sizes("INBOX")]
    assert alice.states("INBOX")[249] == (251, 0, box.highestmodseq - 1)
    store.close()
