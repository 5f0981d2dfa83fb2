"""What is special about the queue's index in SQLite: its log is begun anew only where that is synced."""

from __future__ import annotations

import os
import shutil

import apsw
import pytest

from fancymail.storage.ports.queue import BEGIN, Entry, IndexFailed, State
from fancymail.storage.sqlite import queue as engine
from fancymail.storage.sqlite.queue import SqliteQueueIndex, open_index


def entries(*numbers):
    return [Entry(f"{number:026d}", "incoming", 1.0, 1, bytes(32), False, "", "", 1) for number in numbers]


def log_header(tmp_path):
    """Checkpoint sequence and salts: they change when the log is begun anew."""
    with open(tmp_path / "index.db-wal", "rb") as file:
        return file.read(32)[12:24]


def test_an_unsynced_commit_never_begins_the_log_anew(tmp_path):
    index = SqliteQueueIndex(tmp_path / "index.db")
    index.add(entries(*range(100)))
    before = log_header(tmp_path)
    index.copy_back()                       # everything is in the database now: SQLite would begin anew at the next commit
    index.add(entries(*range(100, 200)))
    index.remove(entry.id for entry in entries(*range(50)))
    assert log_header(tmp_path) == before
    index.restart_log()
    assert log_header(tmp_path) != before
    index.add(entries(*range(200, 300)))
    assert len(index.scan("incoming", State.READY, BEGIN, 1000)) == 250
    index.close()


def test_durability_is_restored_after_a_failed_restart(tmp_path, monkeypatch):
    index = SqliteQueueIndex(tmp_path / "index.db")

    class Broken:
        def __getattr__(self, name):
            return getattr(real, name)

        def wal_checkpoint(self, mode):
            raise apsw.IOError("disk I/O error")
    real, index._db = index._db, Broken()
    with pytest.raises(IndexFailed, match="disk I/O error"):
        index.restart_log()
    index._db = real
    assert real.pragma("synchronous") == 0
    index.add(entries(1))
    index.close()


class Watched:
    """A connection that notes how durable it is when its log is moved, begun anew, or closed."""

    def __init__(self, real):
        self.real, self.seen = real, []

    def __getattr__(self, name):
        if name in ("wal_checkpoint", "close"):
            self.seen.append((name, self.real.pragma("synchronous")))
        return getattr(self.real, name)

    def execute(self, statement, *values):
        if statement.startswith(("UPDATE log_restart", "INSERT")):
            self.seen.append((statement[:6], self.real.pragma("synchronous")))
        return self.real.execute(statement, *values)


def test_the_log_is_begun_anew_and_moved_home_durably(tmp_path):
    index = SqliteQueueIndex(tmp_path / "index.db")
    index._db = watched = Watched(index._db)
    index.restart_log()
    index.add(entries(1))
    index.close()
    assert watched.seen == [("wal_checkpoint", 2), ("UPDATE", 2), ("INSERT", 0), ("INSERT", 0), ("close", 2)]


def test_a_damaged_index_is_put_aside_durably(tmp_path, monkeypatch):
    SqliteQueueIndex(tmp_path / "index.db").close()
    (tmp_path / "index.db").write_bytes(b"no database" * 1000)
    synced = []
    monkeypatch.setattr(engine, "sync_directory", lambda folder: synced.append((folder, sorted(os.listdir(folder)))))
    index, new, wrong = open_index(tmp_path / "index.db")
    index.close()
    assert new and "not an SQLite database" in wrong and synced == [(tmp_path, ["index.db.damaged"])]


@pytest.mark.parametrize("when", ["commit", "copied", "restarted"])
def test_a_killed_process_loses_nothing(tmp_path, when):
    (tmp_path / "alive").mkdir()
    index = SqliteQueueIndex(tmp_path / "alive/index.db")
    index.add(entries(1, 2, 3))
    index.remove([entries(2)[0].id])
    if when != "commit":
        index.copy_back()
        index.add(entries(4))
    if when == "restarted":
        index.restart_log()
        index.add(entries(5))
    shutil.copytree(tmp_path / "alive", tmp_path / "killed")            # what the kernel has when the process is gone
    os.unlink(tmp_path / "killed/index.db-shm")
    again = SqliteQueueIndex(tmp_path / "killed/index.db")
    assert [int(entry.id) for entry in again.scan("incoming", State.READY, BEGIN, 9)] == {
        "commit": [1, 3], "copied": [1, 3, 4], "restarted": [1, 3, 4, 5]}[when]
    again.close()
    index.close()


def test_a_torn_log_keeps_what_was_synced(tmp_path):
    alive, target = tmp_path / "alive", tmp_path / "cut"
    alive.mkdir()
    index = SqliteQueueIndex(alive / "index.db")
    index.add(entries(1))
    synced = (alive / "index.db-wal").stat().st_size
    index.add(entries(2))
    shutil.copytree(alive, target)
    os.unlink(target / "index.db-shm")
    log = target / "index.db-wal"
    whole = log.read_bytes()
    for keep in range(synced, len(whole), 1000):        # a power cut in the middle of what was not synced
        log.write_bytes(whole[:keep] + os.urandom(len(whole) - keep))
        again = SqliteQueueIndex(target / "index.db")
        assert 1 in [int(entry.id) for entry in again.scan("incoming", State.READY, BEGIN, 9)]
        again.close()
        shutil.copy(alive / "index.db", target / "index.db")
    index.close()


def test_crowded_counts_pages_of_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr("fancymail.storage.sqlite.queue.CROWDED", 20)
    index = SqliteQueueIndex(tmp_path / "index.db")
    assert not index.crowded()
    for number in range(20):
        index.add(entries(number))
    assert index.crowded()
    index.copy_back()
    index.restart_log()
    assert not index.crowded()
    index.close()


def test_a_full_disk_is_told_as_such(tmp_path):
    index = SqliteQueueIndex(tmp_path / "index.db")
    index._db.pragma("max_page_count", 3)
    with pytest.raises(IndexFailed, match="full"):
        index.add(entries(*range(500)))
    assert index.scan("incoming", State.READY, BEGIN, 9) == []
    index.close()
