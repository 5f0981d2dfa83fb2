"""Small contents stay with their rows, large ones become blobs; whatever comes, its hash is verified."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fancymail.core.stowage import Stowage
from fancymail.mail.envelope import Envelope
from fancymail.storage.memory.blobs import MemoryBlobs
from fancymail.storage.ports.blobs import BadContent, Blob
from fancymail.storage.slots import CONTENT_OFFSET, read_slot, write_slot

SMALL, LARGE = b"0123456789", b"0123456789+"


@pytest.fixture
def stowage():
    return Stowage(MemoryBlobs(), small=10)


def blob(octets: bytes, here: bool) -> Blob:
    return Blob(sha256(octets).digest(), len(octets), octets if here else None)


def kept(stowage) -> int:
    return len(stowage.blobs.stale(0, 1e12))


@pytest.mark.parametrize("content, here", [(b"", True), (SMALL, True), (LARGE, False)])
def test_from_a_slot(stowage, tmp_path, content, here):
    write_slot(tmp_path / "slot", Envelope("id", ""), content)
    with read_slot(tmp_path / "slot") as slot:
        assert stowage.take(slot) == (blob(content, here), content)
    assert kept(stowage) == (not here)


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_a_changed_slot_is_refused(stowage, tmp_path, content):
    write_slot(tmp_path / "slot", Envelope("id", ""), content)
    with open(tmp_path / "slot", "r+b") as file:
        file.seek(CONTENT_OFFSET + 3)
        file.write(b"!")
    with read_slot(tmp_path / "slot") as slot, pytest.raises(BadContent):
        stowage.take(slot)
    assert kept(stowage) == 0


@pytest.mark.parametrize("pieces, here", [([], True), ([b"0123", b"456789"], True), ([b"0123", b"456789", b"+"], False), ([LARGE], False),
                                          ([b"0123456789", b"", b"01", b"23"], False)])
def test_in_pieces(stowage, pieces, here):
    parcel = stowage.open()
    for piece in pieces:
        parcel.write(piece)
    found = parcel.finish()
    parcel.abort()
    assert found == blob(b"".join(pieces), here) and kept(stowage) == (not here)
    if not here:
        assert b"".join(stowage.blobs.read(found.hash, found.length)) == b"".join(pieces)


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_what_is_given_up_leaves_nothing(stowage, content):
    parcel = stowage.open()
    parcel.write(content)
    parcel.abort()
    assert kept(stowage) == 0


def test_large_ones_are_pinned_until_released(stowage):
    small, large = stowage.keep(SMALL), stowage.keep(LARGE)
    assert stowage.blobs.discard([large.hash]) == 0
    stowage.release([small, large])
    assert stowage.blobs.discard([large.hash]) == 1
