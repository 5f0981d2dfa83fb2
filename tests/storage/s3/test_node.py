"""One node's copies in front of a bucket: what may be thrown away, what is fetched again, what is told when the bucket is silent."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from secrets import token_hex

import pytest

from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.ports.reader import Content
from fancymail.storage.s3.blobs import S3Blobs, S3Contents, key_of
from fancymail.storage.s3.cache import CacheFiles
from fancymail.storage.s3.objects import Objects
from fancymail.storage.s3.spool import NodeSpool
from fancymail.storage.slots import read_slot, write_slot
from tests.ceph_kit import ceph
from tests.cluster_kit import bucket

ENVELOPE = Envelope("a" * 26, "bob@example.test", [Recipient("alice@example.test")])
ID = "b" * 26


@pytest.fixture(params=["moto", pytest.param("ceph", marks=pytest.mark.slow)])
def objects(request):
    return Objects(bucket() if request.param == "moto" else ceph().url(f"b{token_hex(8)}"))


def store(folder, objects) -> S3Blobs:
    return S3Blobs(CacheFiles(folder / "blobs"), objects, folder / "queues")


def put(blobs, content: bytes) -> bytes:
    incoming = blobs.incoming()
    incoming.write(content)
    blob = incoming.finish()
    blobs.sync()
    blobs.release([blob.hash])
    return blob.hash


async def test_what_one_node_keeps_another_reads(tmp_path, objects):
    one, two = store(tmp_path / "one", objects), store(tmp_path / "two", objects)
    large = b"x" * (40 << 20)
    for content in (b"tea", b"", large):
        blob = put(one, content)
        assert b"".join(two.read(blob, len(content))) == content
        assert two.verify(blob)
    contents = S3Contents(tmp_path / "three", objects)
    place = Content(1, put(one, b"0123456789"), 10, b"ab")
    assert [await contents.octets(place, start, length) for start, length in ((0, None), (1, 3), (4, 100), (12, 1))] == [
        b"ab0123456789", b"b01", b"23456789", b""]
    one.close(), two.close()


def test_the_cache_is_bounded_and_can_be_lost(tmp_path, objects):
    blobs = store(tmp_path, objects)
    kept = [put(blobs, bytes([number]) * 1000) for number in range(4)]
    assert blobs.trim(3000) == 2
    assert blobs.trim(0) == 2
    assert [b"".join(blobs.read(blob, 1000)) for blob in kept] == [bytes([number]) * 1000 for number in range(4)]
    blobs.close()


def test_files_of_before_a_power_cut_are_not_believed(tmp_path, objects):
    boot = tmp_path / "boot_id"
    boot.write_text("first\n")
    files = CacheFiles(tmp_path / "blobs", boot)
    blob = put(S3Blobs(files, objects), b"whole")
    CacheFiles(tmp_path / "blobs", boot)
    with open(files.place(blob, 5).path, "r+b") as file:
        file.truncate(10)
    boot.write_text("second\n")
    assert b"".join(S3Blobs(CacheFiles(tmp_path / "blobs", boot), objects).read(blob, 5)) == b"whole"


def test_what_is_no_copy_is_not_touched(tmp_path, objects):
    """Whoever only writes the address of a database into the configuration loses nothing."""
    files = FileBlobs(tmp_path / "blobs")
    put(files, b"all that there is")
    files.close()
    (tmp_path / "queues").mkdir()
    (tmp_path / "queues/index.db").write_bytes(b"rows")
    for make in (lambda: CacheFiles(tmp_path / "blobs"), lambda: NodeSpool(tmp_path / "queues", ["incoming"], objects)):
        with pytest.raises(OSError, match="no copies"):
            make()
    assert len(list((tmp_path / "blobs").glob("??/*"))) == 1


def test_a_message_is_made_anew_on_another_node(tmp_path, objects):
    one, two = (NodeSpool(tmp_path / name, ["incoming"], objects) for name in ("one", "two"))
    content = b"Subject: tea\r\n\r\nAt five.\r\n"
    digest = write_slot(one.path("incoming", ID), ENVELOPE, content).sha256
    envelope, = one.send([("incoming", ID, digest)])
    two.bring("incoming", ID, lambda: envelope, digest)
    with read_slot(two.path("incoming", ID)) as slot:
        assert (slot.envelope, slot.read()) == (replace(ENVELOPE, slot=ID), content)
    with pytest.raises(KeyError):
        two.bring("incoming", "c" * 26, lambda: envelope, sha256(b"?").digest())
    one.close(), two.close()


def test_what_the_queue_has_sent_is_not_sent_again(tmp_path, objects):
    spool, blobs = NodeSpool(tmp_path / "queues", ["incoming"], objects), store(tmp_path, objects)
    path = spool.path("incoming", ID)
    digest = write_slot(path, ENVELOPE, b"once").sha256
    with read_slot(path) as slot:
        blob, _ = blobs.link(slot)
    blobs.sync()
    with pytest.raises(KeyError):
        objects.size(key_of(digest))
    spool.send([("incoming", ID, digest)])
    assert objects.size(key_of(blob.hash)) == 4
    spool.close(), blobs.close()


def test_a_bucket_that_is_away_is_a_fault_of_the_disk(tmp_path):
    blobs = store(tmp_path, Objects("s3://nothing?endpoint=http://127.0.0.1:9&access-key-id=x&secret-access-key=x"))
    incoming = blobs.incoming()
    incoming.write(b"x")
    incoming.finish()
    with pytest.raises(OSError):
        blobs.sync()
    blobs.close()


@pytest.mark.parametrize("address", ["http://x", "s3://", "s3://bucket?nonsense=1"])
def test_addresses_that_are_none(address):
    with pytest.raises(ValueError):
        Objects(address)
