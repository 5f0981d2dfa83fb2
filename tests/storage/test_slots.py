"""The slot file: what is written is read back, and nothing that isn't whole is ever taken for a slot."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.slots import AT_ONCE, CONTENT_OFFSET, SPILL, SlotError, SlotWriter, is_slot_id, read_slot, write_slot

ENVELOPE = Envelope("a" * 26, "alice@example.test", [Recipient("bob@example.test", notify=("FAILURE",))], client="::1")


def whole(tmp_path, content=b"Subject: x\r\n\r\nhi\r\n"):
    path = tmp_path / "slot"
    write_slot(path, ENVELOPE, content)
    return path


@pytest.mark.parametrize("size", [0, 1, 1000, *range(AT_ONCE - 500, AT_ONCE + 1, 100), SPILL, SPILL + 1, 5 * SPILL + 7])
def test_what_was_written_is_read(tmp_path, size):
    content = os.urandom(size)
    path = tmp_path / "slot"
    info = write_slot(path, ENVELOPE, (content[at:at + 9000] for at in range(0, size, 9000)))
    assert info.content_length == size and info.sha256 == sha256(content).digest()
    assert info.file_length == path.stat().st_size and path.stat().st_mode & 0o777 == 0o600
    with read_slot(path) as slot:
        assert slot.envelope == ENVELOPE and not slot.bare
        assert (slot.content_offset, slot.content_length) == (CONTENT_OFFSET, size)
        assert slot.read() == content and b"".join(slot.chunks(1000)) == content
        assert slot.read(size // 2, 10) == content[size // 2:size // 2 + 10]
        slot.verify()


def test_the_writer_takes_the_octets_over(tmp_path):
    writer, buffer = SlotWriter(tmp_path / "slot"), bytearray(b"first")
    writer.write(buffer)
    buffer[:] = b"WRONG"
    writer.write(memoryview(b" second"))
    writer.finish(ENVELOPE)
    with read_slot(tmp_path / "slot") as slot:
        assert slot.read() == b"first second"


@pytest.mark.parametrize("old, new", [(500_000, 100), (500_000, 100_000), (10, 200_000)])
def test_a_reused_file_holds_only_the_new_message(tmp_path, old, new):
    path = tmp_path / "slot"
    write_slot(path, ENVELOPE, b"o" * old)
    write_slot(path, ENVELOPE, b"n" * new)
    with read_slot(path) as slot:
        slot.verify()
        assert slot.read() == b"n" * new


def test_a_reused_file_is_no_slot_while_it_is_written(tmp_path):
    path = whole(tmp_path)
    writer = SlotWriter(path)
    writer.write(b"x" * (SPILL + 1))
    with read_slot(path) as slot:
        assert slot.bare            # no header: the old one is gone before the new content comes
    writer.abort()
    assert path.stat().st_size == 0


def test_every_cut_is_noticed(tmp_path):
    path = whole(tmp_path)
    data = path.read_bytes()
    for length in range(8, len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(SlotError):
            read_slot(path)


def test_every_flipped_octet_is_noticed(tmp_path):
    path = whole(tmp_path)
    data = path.read_bytes()
    for at in range(8, len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        with pytest.raises(SlotError):
            with read_slot(path) as slot:
                slot.verify()


def test_a_small_slot_is_read_as_it_was_opened_and_not_after_it_was_closed(tmp_path):
    path = whole(tmp_path)
    slot = read_slot(path)
    with path.open("r+b") as file:
        file.seek(CONTENT_OFFSET)
        file.write(b"Subject: y")
    assert slot.read() == b"Subject: x\r\n\r\nhi\r\n" and b"".join(slot.chunks(3)) == slot.read()
    slot.close()
    with pytest.raises(OSError):
        slot.read()
    with read_slot(path) as slot, pytest.raises(SlotError):
        slot.verify()


def test_garbage_behind_the_end_record_is_not_read(tmp_path):
    path = whole(tmp_path)
    with open(path, "ab") as file:
        file.write(os.urandom(1000))
    with read_slot(path) as slot:
        slot.verify()
        assert slot.read() == b"Subject: x\r\n\r\nhi\r\n" and slot.envelope == ENVELOPE


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), magic=st.booleans())
def test_garbage_is_bare_or_refused(tmp_path, data, magic):
    path = tmp_path / "slot"
    path.write_bytes(b"FMSLOT1\n" * magic + data)
    try:
        with read_slot(path) as slot:
            assert slot.bare and slot.read() == path.read_bytes()
    except SlotError:
        assert magic or data.startswith((b"FMSLOT1\n", b"FMSLOT0\n"))


def test_a_reused_file_that_nobody_wrote_is_refused(tmp_path):
    (tmp_path / "slot").write_bytes(b"FMSLOT0\nthe rest of another message")
    with pytest.raises(SlotError, match="nothing was written"):
        read_slot(tmp_path / "slot")
    write_slot(tmp_path / "slot", ENVELOPE, b"new")
    with read_slot(tmp_path / "slot") as slot:
        assert slot.read() == b"new"


def test_a_bare_slot_is_all_content(tmp_path):
    path = tmp_path / "slot"
    path.write_bytes(b"any octets")
    with read_slot(path) as slot:
        assert slot.bare and slot.sha256 is None and slot.read() == b"any octets"
        assert slot.digest() == sha256(b"any octets").digest()
        slot.verify()


def test_a_huge_claim_is_refused_without_reading(tmp_path):
    path = whole(tmp_path)
    data = bytearray(path.read_bytes())
    data[8:16] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(SlotError, match="cut off"):
        read_slot(path)
    data[16:24] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(SlotError, match="over the limit"):
        read_slot(path)


def test_an_envelope_of_another_shape_is_refused(tmp_path):
    import fancymail.storage.slots as slots
    path = tmp_path / "slot"
    body = b'{"id": 3}'
    header = slots.HEADER.pack(slots.MAGIC, 0, len(body), 0, sha256(b"").digest())
    path.write_bytes(header + body + b"END\n" + sha256(header + body).digest())
    with pytest.raises(SlotError, match="envelope is not readable"):
        read_slot(path)


def test_links_fifos_and_directories_are_refused(tmp_path):
    path = whole(tmp_path)
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("link", "fifo", "folder"):
        with pytest.raises(SlotError):
            read_slot(tmp_path / name)
        with pytest.raises(SlotError):
            SlotWriter(tmp_path / name)
    os.link(path, tmp_path / "second")
    with pytest.raises(SlotError, match="2 names"):
        read_slot(path, single=True)
    with pytest.raises(SlotError, match="2 names"):
        SlotWriter(path)            # writing would change the other name's message
    read_slot(path).close()


def test_a_missing_file_is_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_slot(tmp_path / "none")


def test_a_failed_write_leaves_no_slot(tmp_path):
    def chunks():
        yield b"x" * 100_000
        raise RuntimeError("the peer is gone")
    with pytest.raises(RuntimeError):
        write_slot(tmp_path / "slot", ENVELOPE, chunks())
    assert (tmp_path / "slot").stat().st_size == 0


def test_a_large_slot_whose_file_was_removed_meanwhile_is_refused(tmp_path):
    writer = SlotWriter(tmp_path / "slot")
    writer.write(b"x" * (SPILL + 1))
    (tmp_path / "slot").unlink()
    with pytest.raises(SlotError, match="0 names"):
        writer.finish(ENVELOPE)


def test_ids():
    assert is_slot_id("abcdefghijklmnopqrstuvwxy2")
    for bad in ("", "a" * 25, "a" * 27, "A" * 26, "a" * 25 + "\n", "a" * 26 + "\n", "../" + "a" * 23, "a" * 25 + "1"):
        assert not is_slot_id(bad)


def test_no_descriptor_is_left_open(tmp_path):
    path = whole(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    for _ in range(20):
        with pytest.raises(SlotError):
            read_slot(path)
    assert len(os.listdir("/proc/self/fd")) == before
