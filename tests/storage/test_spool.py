"""The spool on disk: folders by descriptor, syncs of both kinds, files that go round."""

from __future__ import annotations

import errno
import os

import pytest

import fancymail.storage.spool as spool_module
import fancymail.storage.sync as sync_module
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.ports.spool import SlotUnfit
from fancymail.storage.slots import SlotError, SlotWriter, is_slot_id, read_slot, write_slot
from fancymail.storage.spool import DiskSpool

ID = "a" * 26
ENVELOPE = Envelope(ID, "alice@example.test", [Recipient("bob@example.test")])


@pytest.fixture
def spool(tmp_path):
    spool = DiskSpool(tmp_path / "queues", ["incoming"], tmp_path / "log")
    yield spool
    spool.close()


def written(spool, content=b"content", reuse=False):
    id = spool.new_id("incoming", reuse)
    write_slot(spool.path("incoming", id), ENVELOPE, content)
    return id


def files(spool) -> list[str]:
    return os.listdir(f"{spool.folder}/incoming")


def test_folders_are_private(spool):
    assert sorted(os.listdir(spool.folder)) == ["corrupt", "dead", "incoming"]
    assert all(os.stat(f"{spool.folder}/{name}").st_mode & 0o777 == 0o700 for name in os.listdir(spool.folder))


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "queues").mkdir()
    (tmp_path / "queues/incoming").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        DiskSpool(tmp_path / "queues", ["incoming"])


def test_a_folder_put_in_the_way_later_changes_nothing(spool, tmp_path):
    id = written(spool)
    os.rename(f"{spool.folder}/incoming", f"{spool.folder}/away")
    os.symlink(tmp_path, f"{spool.folder}/incoming")
    assert spool.examine("incoming", id).size == 7
    spool.remove("incoming", id)
    assert os.listdir(f"{spool.folder}/away") == []


def test_files_move_between_folders(spool):
    id = written(spool)
    assert spool.find("incoming", id) == "incoming" and is_slot_id(id)
    assert spool.move(id, "incoming", "dead") and not spool.move(id, "incoming", "dead")
    assert spool.find("incoming", id) == "dead" and spool.envelope("dead", id) == ENVELOPE
    assert spool.envelope("incoming", id) is None
    spool.remove("dead", id)
    spool.remove("dead", id)
    assert spool.find("incoming", id) == ""


def test_examine_and_digest(spool):
    id = written(spool)
    found = spool.examine("incoming", id)
    assert found.envelope == ENVELOPE and found.sha256 == spool.digest("incoming", id)
    with open(spool.path("incoming", id), "r+b") as file:
        file.truncate(80)
    with pytest.raises(SlotUnfit):
        spool.examine("incoming", id)
    with pytest.raises(FileNotFoundError):
        spool.examine("incoming", "a" * 26)


def test_the_filesystem_is_known(spool):
    with open("/proc/filesystems") as known:
        assert spool.filesystem() in known.read().split()


def test_room_counts_octets_and_files(spool):
    octets, files = spool.room()
    assert octets > 0 and files > 0


def test_a_slow_syncfs_is_left_alone_for_a_while(tmp_path, monkeypatch):
    calls, times = [], iter([0.0, 0.2, 0.2, 5.0, 10.3, 10.31])
    spool = DiskSpool(tmp_path / "queues", ["incoming"], tmp_path / "log", clock=lambda: next(times))
    monkeypatch.setattr(sync_module, "_syncfs", lambda descriptor: calls.append("all"))
    monkeypatch.setattr(sync_module, "_sync_file", lambda path, directory=None: calls.append(path))
    id = written(spool)
    for _ in range(3):
        spool.sync([("incoming", id)])
    assert calls == ["all", id, str(tmp_path / "log"), "all"]
    spool.close()


def test_an_old_kernel_gets_no_syncfs(tmp_path, monkeypatch):
    monkeypatch.setattr(sync_module, "_kernel", lambda: (5, 4))
    spool = DiskSpool(tmp_path / "queues", ["incoming"], tmp_path / "log")      # its own first sync waits for whatever it may be
    monkeypatch.setattr(sync_module, "_syncfs", lambda descriptor: pytest.fail("its errors would not be told"))
    spool.sync([("incoming", written(spool)), ("incoming", "a" * 26)])          # a file that is gone was settled meanwhile
    spool.close()


def test_the_answer_of_syncfs_is_believed(spool, monkeypatch):
    class Library:
        def syncfs(self, descriptor):
            import ctypes
            ctypes.set_errno(5)
            return -1
    monkeypatch.setattr(sync_module, "_libc", Library())
    with pytest.raises(OSError) as caught:
        spool.sync([])
    assert caught.value.errno == 5


def test_nothing_is_reused_after_a_failed_sync(spool, monkeypatch):
    spool.retire("incoming", written(spool))

    def failing(descriptor):
        raise OSError(5, "EIO")
    monkeypatch.setattr(sync_module, "_syncfs", failing)
    with pytest.raises(OSError):
        spool.sync([])
    assert not os.path.exists(spool.path("incoming", spool.new_id("incoming", True)))
    monkeypatch.undo()
    spool.sync([])
    assert os.path.exists(spool.path("incoming", spool.new_id("incoming", True)))


def test_files_that_are_kept_are_not_named(spool):
    spool.prepare("incoming", 2)
    message, ended = written(spool), written(spool)
    spool.retire("incoming", ended)
    assert len(files(spool)) == 4 and list(spool.names("incoming")) == [message]
    spool.sync([])
    assert list(spool.names("incoming")) == [message]
    given = spool.new_id("incoming", True)
    assert sorted(spool.names("incoming")) == sorted([message, given])


def test_retired_files_are_given_to_nobody_after_a_restart(spool, tmp_path):
    spool.retire("incoming", written(spool))
    spool.sync([])
    again = DiskSpool(tmp_path / "queues", ["incoming"])
    assert not os.path.exists(again.path("incoming", again.new_id("incoming", True)))       # somebody may still hold its name
    again.close()


def test_a_file_that_got_a_second_name_meanwhile_is_not_overwritten(spool, tmp_path):
    spool.retire("incoming", written(spool))
    name, = files(spool)
    os.link(spool.path("incoming", name), tmp_path / "second")
    spool.sync([])
    with pytest.raises(SlotError):
        SlotWriter(spool.path("incoming", spool.new_id("incoming", True)), ready=True).finish(ENVELOPE)
    with read_slot(tmp_path / "second") as slot:
        slot.verify()


def test_an_old_message_under_a_new_name_is_none(spool):
    spool.retire("incoming", written(spool))
    spool.sync([])
    with pytest.raises(SlotUnfit, match="reused"):
        spool.examine("incoming", spool.new_id("incoming", True))


def test_files_are_made_ahead_and_are_no_slots_yet(spool):
    spool.prepare("incoming", 3)
    assert spool.ready("incoming") == 3
    id = spool.new_id("incoming", True)
    assert os.path.exists(spool.path("incoming", id)) and spool.ready("incoming") == 2
    with pytest.raises(SlotUnfit, match="nothing was written"):
        spool.examine("incoming", id)
    SlotWriter(spool.path("incoming", id), ready=True).finish(ENVELOPE)
    assert spool.examine("incoming", id).envelope.slot == id


def test_what_came_back_is_used_before_what_was_made_ahead(spool):
    spool.retire("incoming", written(spool))
    used, = files(spool)
    spool.sync([])
    spool.prepare("incoming", 2)
    assert spool.new_id("incoming", True) == used


def test_large_files_and_files_with_odd_rights_are_removed(spool):
    large, open_to_all = written(spool, b"x" * (spool_module.FREE_SIZE + 1)), written(spool)
    os.chmod(spool.path("incoming", open_to_all), 0o644)
    for id in (large, open_to_all, "a" * 26):
        spool.retire("incoming", id)
    assert files(spool) == []


def test_what_is_kept_is_bounded(spool, monkeypatch):
    monkeypatch.setattr(spool_module, "FREE_LIMIT", 3)
    for id in [written(spool) for _ in range(5)]:
        spool.retire("incoming", id)
    spool.sync([])
    assert len(files(spool)) == 3
    for _ in range(3):
        spool.new_id("incoming", True)
    spool.retire("incoming", written(spool))
    assert len(files(spool)) == 4


@pytest.mark.parametrize("change, folders", [
    (lambda spool: spool.prepare("incoming", 2), {"incoming"}),
    (lambda spool: spool.remove("incoming", ID), {"incoming"}),
    (lambda spool: spool.retire("incoming", ID), {"incoming"}),
    (lambda spool: spool.move(ID, "incoming", "dead"), {"incoming", "dead"})], ids=["prepare", "remove", "retire", "move"])
def test_names_are_synced_where_syncfs_is_not_used(tmp_path, monkeypatch, change, folders):
    monkeypatch.setattr(sync_module, "_kernel", lambda: (5, 4))
    spool = DiskSpool(tmp_path / "queues", ["incoming", "outgoing"])
    write_slot(spool.path("incoming", ID), ENVELOPE, b"content")
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
    change(spool)
    spool.sync(())
    assert synced == folders
    synced.clear()
    spool.sync(())
    assert not synced
    spool.close()


@pytest.mark.parametrize("place, target", [("incoming", "dead"), ("dead", "incoming"), ("outgoing", "corrupt"), ("corrupt", "outgoing")])
def test_the_new_name_of_what_moved_is_durable_before_its_old_one_is_gone(tmp_path, monkeypatch, place, target):
    monkeypatch.setattr(sync_module, "_kernel", lambda: (5, 4))
    spool = DiskSpool(tmp_path / "queues", ["incoming", "outgoing"])
    write_slot(spool.path(place, ID), ENVELOPE, b"content")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
    spool.remove("incoming", "b" * 26), spool.remove("outgoing", "b" * 26)
    spool.move(ID, place, target)
    spool.sync([("outgoing", "c" * 26), ("incoming", "c" * 26)])
    assert set(synced) >= {place, target} and synced.index(target) < synced.index(place)
    spool.close()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_not_filled_with_files_that_nobody_has(spool, monkeypatch, call):
    refused, original = iter([False, True]), getattr(os, call)

    def full(*arguments):
        if call == "fsync" or next(refused, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments)
    monkeypatch.setattr(sync_module.Syncer, "filesystem", lambda syncer: False)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError):
        spool.prepare("incoming", 3)
    monkeypatch.undo()
    assert files(spool) == [] and spool.ready("incoming") == 0
    spool.prepare("incoming", 3)
    assert len(files(spool)) == spool.ready("incoming") == 3
