"""The blob store on a disk that fails: what could not be synced has no name afterwards, unless somebody relies on it."""

from __future__ import annotations

import pytest

from fancymail.mail.envelope import Envelope
from fancymail.storage import blobs as engine
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.ports.blobs import BadContent, Blob
from fancymail.storage.slots import CONTENT_OFFSET, read_slot, write_slot


@pytest.fixture
def blobs(tmp_path):
    blobs = FileBlobs(tmp_path)
    yield blobs
    blobs.close()


def put(blobs: FileBlobs, content: bytes) -> Blob:
    incoming = blobs.incoming()
    incoming.write(content)
    return incoming.finish()


def there(blobs: FileBlobs, blob: Blob) -> bool:
    try:
        return blobs.verify(blob.hash)
    except KeyError:
        return False


@pytest.fixture
def broken(monkeypatch):
    def fail(*arguments):
        raise OSError("broken disk")
    monkeypatch.setattr(engine, "_sync", fail)
    monkeypatch.setattr(engine, "_sync_filesystem", fail)


@pytest.mark.parametrize("count", [1, 8])
def test_what_cannot_be_synced_loses_its_name(blobs, broken, count):
    some = [put(blobs, b"content %d" % number) for number in range(count)]
    assert all(there(blobs, blob) for blob in some)
    with pytest.raises(OSError, match="broken disk"):
        blobs.sync()
    assert not any(there(blobs, blob) for blob in some)


def test_what_was_durable_before_keeps_its_name(blobs, monkeypatch):
    before = put(blobs, b"content")
    blobs.sync()
    again, new = put(blobs, b"content"), put(blobs, b"other")
    assert again == before
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_sync", lambda path: (_ for _ in ()).throw(OSError("broken disk")))
        with pytest.raises(OSError):
            blobs.sync()
    assert there(blobs, before) and not there(blobs, new)
    assert put(blobs, b"other") == new and blobs.sync() is None and there(blobs, new)


def test_octets_are_synced_before_the_folder(blobs, monkeypatch):
    synced = []
    monkeypatch.setattr(engine, "_sync", synced.append)
    blob = put(blobs, b"content")
    blobs.sync()
    assert [str(path).endswith(blob.hash.hex()) for path in synced] == [True, False]
    blobs.sync()
    assert len(synced) == 2


def test_the_folders_of_a_new_store_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(engine, "_sync", synced.append)
    FileBlobs(tmp_path / "mail" / "blobs").close()
    assert synced == [tmp_path / "mail" / "blobs", tmp_path / "mail"]


def test_the_kernel_is_asked_and_believed(blobs, monkeypatch):
    class Libc:
        syncfs = staticmethod(lambda descriptor: -1)
    some = [put(blobs, b"content %d" % number) for number in range(8)]
    monkeypatch.setattr(engine, "_libc", Libc)
    with pytest.raises(OSError):
        blobs.sync()
    assert not any(there(blobs, blob) for blob in some)


def test_a_changed_slot_is_none_of_those_that_are_here(blobs, tmp_path):
    here = put(blobs, b"of another message")
    write_slot(tmp_path / "slot", Envelope("", ""), b"what was accepted!")
    with open(tmp_path / "slot", "r+b") as file:
        file.seek(CONTENT_OFFSET)
        file.write(b"of another message")
    with read_slot(tmp_path / "slot") as slot, pytest.raises(BadContent):
        blobs.link(slot)
    blobs.sync()
    assert there(blobs, here)


def linked(blobs: FileBlobs, path) -> Blob:
    """Take a slot that its writer has not synced, as APPEND does."""
    write_slot(path, Envelope("", ""), b"large and new" * 9000)
    with read_slot(path) as slot:
        return blobs.link(slot)[0]


def test_a_linked_file_is_synced_too(blobs, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(engine, "_sync", synced.append)
    blob = linked(blobs, tmp_path / "slot")
    blobs.sync()
    assert blobs.place(*blob[:2]).path in synced


def test_a_linked_file_that_cannot_be_synced_loses_its_name(blobs, tmp_path, broken):
    blob = linked(blobs, tmp_path / "slot")
    with pytest.raises(OSError, match="broken disk"):
        blobs.sync()
    assert not there(blobs, blob)
