"""What waits in queues is the same on the other side: every state, every envelope, every octet, in its order, whatever a crash has left."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fancymail.base.settings import Settings
from fancymail.core.moving import Freight
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.moving.move import Move
from fancymail.servers.moving.queues import ClusterQueue, FilesQueue
from fancymail.storage.ports.queue import Entry, State
from fancymail.storage.postgres.queue import PostgresQueueIndex
from fancymail.storage.s3.blobs import S3Blobs
from fancymail.storage.s3.cache import CacheFiles
from fancymail.storage.s3.objects import Objects
from fancymail.storage.slots import write_slot
from fancymail.storage.sqlite.moving import SqliteJournal
from tests.cluster_kit import bucket, database

RESULTS = '[{"recipient":0,"state":"deferred","status":"4.4.1","text":"later"}]'


class Side:
    """As much of a side as `Move` needs for queues."""

    def __init__(self, make, blobs=None, small: int = 0) -> None:
        self.queue, self.blobs, self.small = make, blobs, small

    def keep_on(self) -> None:
        """Nobody else is here."""


@pytest.fixture
def files(tmp_path):
    return Side(lambda folder=tmp_path / "queues": FilesQueue(folder, Settings().queue))


@pytest.fixture
def cluster(tmp_path):
    with database() as db:
        blobs = S3Blobs(CacheFiles(tmp_path / "cache"), Objects(bucket()))
        side = Side(lambda: ClusterQueue(db, blobs), blobs)
        side.db = db
        yield side
        blobs.close()


@pytest.fixture
def journal(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.db")
    yield journal
    journal.close()


def carry(source: Side, target: Side, journal) -> int:
    move = Move.__new__(Move)
    move.source, move.target, move.journal = source, target, journal
    move.freight = Freight(source.blobs, target.blobs, 0, journal)
    try:
        return move._queue()
    finally:
        move.freight.close()


def told(side: Side) -> list[tuple]:
    queue = side.queue()
    try:
        return [(*message.told(), b"".join(queue.pieces(message.entry))) for message in queue.entries()]
    finally:
        queue.close()


def slot(queue: FilesQueue, name: str, place: str, content: bytes, bare: bool = False) -> None:
    path = queue.spool.path(place, name)
    if bare:
        with open(path, "wb") as file:
            file.write(content)
    else:
        write_slot(path, Envelope(id="m" + name, sender="x@one.test", received=5, recipients=[Recipient("a@two.test")]), content)


def fill(files: Side) -> None:
    """A message in every state; one is bare."""
    queue = files.queue()
    for number, state in enumerate((*State, State.READY)):
        name, content, bare = "abcdefg"[number] * 26, b"content %d\r\n" % number * 9000, number == 6
        place = {State.DEAD: "dead", State.CORRUPT: "corrupt"}.get(state, "outgoing")
        slot(queue, name, place, content, bare)
        queue.index.add([Entry(name, "outgoing", 3.5 + number, len(content), sha256(content).digest(), bare, "x@one.test", "a@two.test", 1 - bare,
                               state, 9e9 if state is State.DEFERRED else 0.0, number, 1, RESULTS, f"reason {number}", "m" + name)])
    queue.close()


def test_every_state_moves_to_a_cluster_and_back(files, cluster, journal, tmp_path):
    fill(files)
    before = told(files)
    assert [row[9] for row in before] == [State.READY, State.READY, State.DEFERRED, State.HELD, State.DEAD, State.CORRUPT, State.READY]
    assert carry(files, cluster, journal) == 7
    assert told(cluster) == before
    assert carry(files, cluster, journal) == 7 and told(cluster) == before
    back = Side(lambda: FilesQueue(tmp_path / "back", Settings().queue))
    assert carry(cluster, back, journal) == 7
    assert told(back) == before


def test_a_node_takes_over_what_was_moved(files, cluster, journal):
    fill(files)
    carry(files, cluster, journal)
    node = PostgresQueueIndex(cluster.db, "one", 60.0)
    assert len(node.adopt(100)) == 7
    assert [entry.id[0] for entry in node.claim_ready("outgoing", 9, 1 << 62)] == ["a", "b", "g"]
    node.close()
    assert len(told(cluster)) == 7


def test_what_changed_between_two_tries_is_as_it_is_now(files, cluster, journal):
    fill(files)
    carry(files, cluster, journal)
    queue = files.queue()
    queue.index.remove(["a" * 26], lambda entry: "delivered")
    queue.spool.remove("outgoing", "a" * 26)
    held = queue.index.find("d" * 26)
    held.state, held.reason = State.READY, ""
    queue.index.save([held])
    queue.close()
    carry(files, cluster, journal)
    assert told(cluster) == told(files) and len(told(files)) == 6


def test_rows_whose_files_a_power_cut_took_on_the_way_are_carried_again(files, journal, tmp_path):
    fill(files)
    there = Side(lambda: FilesQueue(tmp_path / "there", Settings().queue))
    carry(files, there, journal)
    queue = there.queue()
    for name in "aeg":
        queue.spool.remove("dead" if name == "e" else "outgoing", name * 26)
    queue.close()
    carry(files, there, journal)
    assert told(there) == told(files)


def test_what_a_crash_left_is_seen_as_by_the_queue(files, cluster, journal):
    """A whole slot without a row was promised by its writer; a row without a file is nothing; a content that changed is corrupt."""
    fill(files)
    queue = files.queue()
    slot(queue, "q" * 26, "incoming", b"promised\r\n")
    queue.spool.remove("outgoing", "a" * 26)
    with open(queue.spool.path("outgoing", "b" * 26), "r+b") as file:
        file.seek(100)
        file.write(b"!")
    queue.close()
    carry(files, cluster, journal)
    found = {row[0][0]: row for row in told(cluster)}
    assert "a" not in found and found["q"][1] == "incoming" and found["q"][-1] == b"promised\r\n"
    assert found["b"][9] is State.CORRUPT and found["b"][-1][36:37] == b"!"
