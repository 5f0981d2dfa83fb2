"""The contract of blob stores, asked of files and of memory alike; then what only files can get wrong."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from secrets import token_hex

import pytest

from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage import blobs as blobs_module
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.memory.blobs import MemoryBlobs
from fancymail.storage.ports.blobs import BadContent, Blob
from fancymail.storage.s3.blobs import S3Blobs
from fancymail.storage.s3.cache import CacheFiles
from fancymail.storage.s3.objects import Objects
from fancymail.storage.slots import read_slot, write_slot
from tests.ceph_kit import ceph
from tests.cluster_kit import bucket

CONTENT = b"From: alice@example.test\r\nSubject: tea\r\n\r\nAt five.\r\n"


@pytest.fixture(params=["files", "memory", "s3", pytest.param("ceph", marks=pytest.mark.slow)])
def blobs(request, tmp_path):
    if request.param in ("s3", "ceph"):
        store = S3Blobs(CacheFiles(tmp_path / "blobs"), Objects(bucket() if request.param == "s3" else ceph().url(f"b{token_hex(8)}")))
        yield store
        store.close()
        return
    store = FileBlobs(tmp_path / "blobs") if request.param == "files" else MemoryBlobs()
    yield store
    store.close()


@pytest.fixture
def slot(tmp_path):
    def make(content: bytes = CONTENT, name: str = "slot"):
        path = tmp_path / name
        path.unlink(missing_ok=True)
        write_slot(path, Envelope("a" * 26, "bob@example.test", [Recipient("alice@example.test")]), content)
        return read_slot(path)
    return make


def take(blobs, content: bytes) -> Blob:
    incoming = blobs.incoming()
    for start in range(0, len(content), 7):
        incoming.write(content[start:start + 7])
    blob = incoming.finish()
    incoming.abort()
    blobs.sync()
    return blob


def test_what_is_linked_can_be_read(blobs, slot):
    blob, head = blobs.link(slot())
    blobs.sync()
    assert blob == Blob(sha256(CONTENT).digest(), len(CONTENT))
    assert head == CONTENT
    assert b"".join(blobs.read(*blob[:2])) == CONTENT
    assert blobs.verify(blob.hash)


def test_what_comes_in_pieces_can_be_read(blobs):
    blob = take(blobs, CONTENT)
    assert blob == Blob(sha256(CONTENT).digest(), len(CONTENT))
    assert list(blobs.read(*blob[:2], chunk=10)) == [CONTENT[start:start + 10] for start in range(0, len(CONTENT), 10)]


def test_the_same_content_is_kept_once(blobs, slot):
    first, _ = blobs.link(slot())
    second, _ = blobs.link(slot(name="other"))
    assert first == second == take(blobs, CONTENT)
    blobs.release([first.hash] * 3)
    assert blobs.discard([first.hash]) == 1
    with pytest.raises(KeyError):
        list(blobs.read(*first))


def test_an_empty_content_is_a_content(blobs, slot):
    blob, head = blobs.link(slot(b""))
    assert (blob.length, head, list(blobs.read(*blob[:2]))) == (0, b"", [])
    assert blobs.verify(blob.hash)


def test_only_the_first_octets_are_handed_back(blobs, slot):
    blob, head = blobs.link(slot(b"x" * 300_000))
    assert blob.length == 300_000
    assert head == b"x" * 65536


def test_what_is_pinned_stays(blobs, slot):
    blob, _ = blobs.link(slot())
    blobs.link(slot(name="again"))
    assert blobs.discard([blob.hash]) == 0
    blobs.release([blob.hash])
    assert blobs.discard([blob.hash]) == 0
    blobs.release([blob.hash])
    assert blobs.discard([blob.hash]) == 1
    assert blobs.discard([blob.hash]) == 0


def test_what_was_given_up_leaves_nothing(blobs):
    incoming = blobs.incoming()
    incoming.write(b"half")
    incoming.abort()
    incoming.abort()
    assert [blob for part in range(blobs.parts) for blob in blobs.stale(part, time.time() + 60)] == []


def test_stale_are_those_that_nobody_touched(blobs):
    blob = take(blobs, CONTENT)
    found = lambda before: [stale for part in range(blobs.parts) for stale in blobs.stale(part, before)]
    assert found(time.time() - 60) == []
    assert found(time.time() + 60) == [blob.hash]


def test_an_unknown_blob_is_a_key_error(blobs):
    with pytest.raises(KeyError):
        list(blobs.read(b"\0" * 32, 5))
    with pytest.raises(KeyError):
        blobs.verify(b"\0" * 32)


def test_a_blob_that_is_too_short_is_noticed(blobs):
    blob = take(blobs, CONTENT)
    with pytest.raises(BadContent):
        b"".join(blobs.read(blob.hash, blob.length + 500))


# Files only

@pytest.fixture
def files(tmp_path):
    store = FileBlobs(tmp_path / "blobs")
    yield store
    store.close()


def test_a_link_is_a_link_and_not_a_copy(files, slot, tmp_path):
    opened = slot()
    blob, _ = files.link(opened)
    place = files.place(*blob[:2])
    assert os.stat(place.path).st_ino == opened.inode
    with open(place.path, "rb") as file:
        file.seek(place.offset)
        assert file.read(place.length) == CONTENT
    (tmp_path / "slot").unlink()
    assert b"".join(files.read(*blob[:2])) == CONTENT


def test_a_flipped_bit_is_never_linked(files, slot, tmp_path):
    slot()
    damaged = bytearray((tmp_path / "slot").read_bytes())
    damaged[64 + 10] ^= 4
    (tmp_path / "slot").write_bytes(damaged)
    with pytest.raises(BadContent):
        files.link(read_slot(tmp_path / "slot"))
    assert not list((tmp_path / "blobs").rglob("?" * 64))
    assert files._pins == {}


def test_a_slot_that_shrinks_while_it_is_read_is_bad_content(files, slot, tmp_path):
    opened = slot(b"y" * 600_000)
    os.truncate(tmp_path / "slot", 300_000)
    with pytest.raises(BadContent):
        files.link(opened)


def test_the_verified_file_is_linked_whatever_its_path_is_by_now(files, slot, tmp_path):
    opened = slot()
    (tmp_path / "slot").rename(tmp_path / "elsewhere")
    (tmp_path / "slot").symlink_to("/etc/passwd")
    blob, _ = files.link(opened)
    assert b"".join(files.read(*blob[:2])) == CONTENT


def test_a_slot_that_was_used_again_meanwhile_is_not_linked(files, slot, tmp_path, monkeypatch):
    opened, link = slot(), os.link

    def late(*args, **kwargs):
        write_slot(tmp_path / "slot", Envelope("b" * 26, "x@y.test"), b"Another message\r\n")
        link(*args, **kwargs)
    monkeypatch.setattr(os, "link", late)
    with pytest.raises(BadContent):
        files.link(opened)
    assert not list((tmp_path / "blobs").rglob("?" * 64))


def test_another_filesystem_means_a_copy(files, slot, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(18, "Invalid cross-device link")
    opened = slot()
    monkeypatch.setattr(os, "link", refuse)
    blob, _ = files.link(opened)
    assert b"".join(files.read(*blob[:2])) == CONTENT
    assert os.stat(files.place(*blob[:2]).path).st_ino != opened.inode
    assert files.verify(blob.hash)


def test_a_bare_slot_is_copied_into_the_format(files, tmp_path):
    (tmp_path / "bare").write_bytes(CONTENT)
    blob, _ = files.link(read_slot(tmp_path / "bare"))
    assert b"".join(files.read(*blob[:2])) == CONTENT
    assert read_slot(files.place(*blob[:2]).path).sha256 == blob.hash


def test_a_torn_file_under_the_name_is_replaced(files, slot):
    blob, _ = files.link(slot())
    os.truncate(files.place(*blob[:2]).path, 3)
    files.link(slot(name="again"))
    assert b"".join(files.read(*blob[:2])) == CONTENT


def test_a_full_disk_unpins(files, slot, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")
    opened = slot()
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError):
        files.link(opened)
    assert files._pins == {}


def test_a_failed_sync_is_tried_again(files, slot, monkeypatch):
    files.link(slot())
    synced = []

    def refuse(descriptor):
        raise OSError(5, "Input/output error")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError):
            files.sync()
    monkeypatch.setattr(os, "fsync", synced.append)
    files.sync()
    files.sync()
    assert len(synced) == 1


def test_a_batch_is_one_sync_of_the_filesystem(files, slot, monkeypatch):
    synced = []
    monkeypatch.setattr(blobs_module, "_sync_filesystem", synced.append)
    monkeypatch.setattr(blobs_module, "_SYNCFS", True)
    for number in range(9):
        files.link(slot(b"%d" % number))
    files.sync()
    files.sync()
    assert synced == [files._descriptor]


def test_without_syncfs_each_file_and_then_each_directory_is_synced(files, slot, monkeypatch):
    synced = []
    monkeypatch.setattr(blobs_module, "_SYNCFS", False)
    monkeypatch.setattr(blobs_module, "_sync", synced.append)
    paths = [files.place(*files.link(slot(b"%d" % number))[0][:2]).path for number in range(9)]
    files.sync()
    assert synced[:9] == paths and sorted(synced[9:]) == sorted({os.path.dirname(path) for path in paths})


def test_leftovers_of_a_crash_are_removed_at_start(files, tmp_path):
    incoming = files.incoming()
    incoming.write(b"x" * 100_000)
    assert list((tmp_path / "blobs/tmp").iterdir())
    FileBlobs(tmp_path / "blobs").close()
    assert not list((tmp_path / "blobs/tmp").iterdir())


def test_a_symbolic_link_is_not_followed(files, tmp_path):
    blob = sha256(CONTENT).digest()
    (tmp_path / "slot").write_bytes(CONTENT)
    os.symlink(tmp_path / "slot", files.place(blob, 1).path)
    with pytest.raises(OSError):
        list(files.read(blob, 1))


def test_a_damaged_blob_does_not_verify(files, slot):
    blob, _ = files.link(slot())
    with open(files.place(*blob[:2]).path, "r+b") as file:
        file.seek(70)
        file.write(b"#")
    assert not files.verify(blob.hash)
