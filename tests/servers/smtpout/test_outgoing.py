"""What outbound mail learns of a slot, and that nothing but what was looked through ever goes out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.smtpout.outgoing import INLINE, Damaged, open_outgoing, pieces
from fancymail.storage.slots import CONTENT_OFFSET, SlotError, read_slot, write_slot

ENVELOPE = Envelope("i" * 26, "a@s.test", [Recipient("b@x.test")])


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def opened(path: Path, pool, content: bytes, envelope: Envelope | None = ENVELOPE):
    if envelope is None:
        path.write_bytes(content)
    else:
        write_slot(path, envelope, content)
    return await open_outgoing(str(path), pool)


async def test_facts(tmp_path, pool) -> None:
    message = await opened(tmp_path / "1", pool, b"Received: a\r\n b\r\nRECEIVED : c\r\nX: Received: no\r\n\r\nReceived: no\r\n")
    facts = message.facts
    assert (facts.hops, facts.eight_bit, facts.utf8_header, facts.bare, facts.automatic) == (2, False, False, False, False)
    assert facts.size == len(b"".join(message.content())) and message.header.endswith(b"X: Received: no\r\n")
    body = await opened(tmp_path / "2", pool, "Auto-Submitted: no\r\n\r\nü\r\n".encode())
    assert body.facts.eight_bit and not body.facts.utf8_header and body.facts.automatic
    header = await opened(tmp_path / "3", pool, "Subject: ü\r\n\r\n".encode())
    assert header.facts.utf8_header
    for each in (message, body, header):
        each.close()


@pytest.mark.parametrize("size", [10, INLINE + 1, 3 * INLINE])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\r\n", b"\n.\n", b"\n.\r\n", b"\r.\r\n"])
async def test_a_bare_cr_or_lf_is_seen_wherever_it_stands(tmp_path, pool, size: int, end: bytes) -> None:
    message = await opened(tmp_path / "1", pool, b"S: x\r\n\r\n" + b"x" * size + end + b"x\r\n")
    assert message.facts.bare
    message.close()
    clean = await opened(tmp_path / "2", pool, b"S: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * (size // 72 + 1))
    assert not clean.facts.bare
    clean.close()


@pytest.mark.parametrize("edge", [-3, -2, -1, 0, 1])
async def test_line_ends_across_pieces(tmp_path, pool, edge: int) -> None:
    """The CR is the last octet of a piece, the LF the first of the next."""
    whole = await opened(tmp_path / "1", pool, b"x" * (256 * 1024 + edge) + b"\r\n" + b"y" * 1000)
    assert not whole.facts.bare and b"".join(whole.content()).endswith(b"\r\n" + b"y" * 1000)
    whole.close()
    torn = await opened(tmp_path / "2", pool, b"x" * (256 * 1024 + edge) + b"\ry" * 1000)
    assert torn.facts.bare
    torn.close()


async def test_changed_content_is_damaged(tmp_path, pool) -> None:
    path = tmp_path / "1"
    for size in (100, INLINE * 2):
        write_slot(path, ENVELOPE, b"x" * size)
        with path.open("r+b") as file:
            file.seek(CONTENT_OFFSET + size // 2)
            file.write(b"y")
        with pytest.raises(Damaged):
            await open_outgoing(str(path), pool)


async def test_a_slot_that_is_none(tmp_path, pool) -> None:
    path = tmp_path / "1"
    write_slot(path, ENVELOPE, b"x" * 100)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SlotError):
        await open_outgoing(str(path), pool)
    with pytest.raises(FileNotFoundError):
        await open_outgoing(str(tmp_path / "2"), pool)


@pytest.mark.parametrize("size", [1000, INLINE * 4])
async def test_a_file_used_again_under_our_hands_is_never_sent_to_its_end(tmp_path, pool, size: int) -> None:
    path = tmp_path / "1"
    message = await opened(path, pool, b"first\r\n" + b"x" * size)
    with path.open("r+b") as file:     # dropped by an operator, and the queue gave its file to somebody else
        file.seek(CONTENT_OFFSET)
        file.write(b"other\r\n" + b"z" * size)
    sent = []
    if size > INLINE:
        with pytest.raises(ValueError, match="changed"):
            sent += message.content()
        assert sum(map(len, sent)) < message.facts.size
    else:
        assert b"".join(message.content()) == b"first\r\n" + b"x" * size       # small content was read only once
    message.close()


@given(content=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b".", b"x" * 1000]), max_size=40).map(b"".join), chunk=st.integers(1, 7))
def test_a_bare_slot_gets_crlf(tmp_path_factory, content: bytes, chunk: int) -> None:
    path = tmp_path_factory.mktemp("bare") / "1"
    path.write_bytes(content)
    with read_slot(path) as slot:
        chunks = slot.chunks
        whole = b"".join(pieces(slot))
        wanted = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        assert whole == wanted

        class Torn:
            bare = True

            @staticmethod
            def chunks():
                return chunks(chunk)
        assert b"".join(pieces(Torn)) == wanted


async def test_transactions_ask_for_what_is_needed_only(tmp_path, pool) -> None:
    plain = Envelope("i", "a@s.test", [Recipient("b@x.test")], smtputf8=True, body="8BITMIME", envid="e", ret="HDRS", require_tls=True)
    message = await opened(tmp_path / "1", pool, b"S: x\r\n\r\nx\r\n", plain)
    made = message.transaction(plain)
    assert (made.utf8, made.eight_bit, made.envid, made.ret, made.require_tls, made.size) == (False, False, "e", "HDRS", True, 11)
    message.close()
    header = await opened(tmp_path / "2", pool, "S: ü\r\n\r\nx\r\n".encode(), plain)
    assert header.transaction(plain).utf8
    header.close()
