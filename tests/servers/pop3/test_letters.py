"""How messages are read: many in one question while a client reads on, one by one while it picks, and never too much at once."""

from __future__ import annotations

import pytest

from fancymail.core.maildrop import RECORD, Maildrop, Snapshot
from fancymail.ipc.message import IpcError
from fancymail.mail.uidset import contains
from fancymail.protocol.pop3.events import Options, Retrieve
from fancymail.protocol.pop3.server import Pop3Server
from fancymail.servers.pop3 import letters as module
from fancymail.servers.pop3.letters import AHEAD, Letters
from fancymail.storage.ports.reader import CONTENT, KEPT

TEXT = b"Subject: x\r\n\r\n.text\r\n"


class Box:
    """A mailbox of 100 messages; `gone` were expunged, `blobs` are not kept with their rows, `cut` have lost their end."""

    def __init__(self) -> None:
        self.requests: list[list[int]] = []
        self.gone: set[int] = set()
        self.blobs: set[int] = set()
        self.cut: set[int] = set()

    async def columns(self, names, uids):
        assert names == (*CONTENT, KEPT)
        self.requests.append([uid for uid in range(101, 201) if contains(uids, uid)])
        there = [uid for uid in self.requests[-1] if uid not in self.gone]
        return [(uid, b"%d" % uid, len(TEXT), b"P%d: " % uid, None if uid in self.blobs else TEXT) for uid in there]

    async def octets(self, content, start=0, length=None):
        whole = content.prefix + TEXT[:-1 if content.uid in self.cut else None]
        return whole[start:] if length is None else whole[start:start + length]


class Desk:
    """A session at the box."""

    def __init__(self, size: int = len(TEXT)) -> None:
        self.box = Box()
        self.maildrop = Maildrop(Snapshot(1, b"".join(RECORD.pack(uid, size) for uid in range(101, 201))))
        self.engine = Pop3Server(Options())
        self.engine.logged_in(self.maildrop)
        self.engine.to_send()
        self.letters = Letters(None, self.engine, self.maildrop, self.box)

    async def send(self, number: int) -> bytes:
        """Fetch a message; return its first line."""
        await self.letters.send(Retrieve(number, *self.maildrop.find(number)))
        said = self.engine.to_send()
        assert said.endswith(b"\r\n..text\r\n.\r\n")
        return said.split(b"\r\n")[1]


async def test_reading_on_reads_many_at_once():
    desk = Desk()
    for number in range(1, 101):
        assert await desk.send(number) == b"P%d: Subject: x" % (number + 100)
        assert len(desk.letters._ahead) < AHEAD
    assert len(desk.box.requests) == 100 // AHEAD + 1
    assert [uid for uids in desk.box.requests for uid in uids] == list(range(101, 201))


async def test_no_more_is_read_ahead_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(module, "ROOM", 1000)
    desk = Desk(size=300)
    for number in range(1, 11):
        await desk.send(number)
        assert len(desk.letters._ahead) < 3
    assert desk.box.requests[:2] == [[101, 102, 103], [104, 105, 106]]
    desk = Desk(size=5000)
    assert await desk.send(1) == b"P101: Subject: x" and desk.box.requests == [[101]]


async def test_marked_messages_are_not_read():
    desk = Desk()
    desk.maildrop.delete(2)
    assert await desk.send(1) == b"P101: Subject: x"
    assert 102 not in desk.box.requests[0]
    assert await desk.send(3) == b"P103: Subject: x"


async def test_picking_reads_one_by_one():
    desk = Desk()
    for number in (90, 50, 7, 30):
        assert await desk.send(number) == b"P%d: Subject: x" % (number + 100)
    assert desk.box.requests == [[190], [150], [107], [130]]
    await desk.send(31)
    assert desk.box.requests[4] == list(range(131, 131 + AHEAD))


async def test_fetching_all_twice():
    desk = Desk()
    for number in [*range(1, 101), *range(1, 101)]:
        assert await desk.send(number) == b"P%d: Subject: x" % (number + 100)
    assert len(desk.box.requests) <= 2 * (100 // AHEAD + 2)


async def test_the_same_message_again_and_again():
    desk = Desk()
    for number in (1, 1, 2, 2, 2, 3):
        assert await desk.send(number) == b"P%d: Subject: x" % (number + 100)


async def test_one_that_is_gone_is_an_error_by_itself():
    desk = Desk()
    desk.box.gone = {102}
    await desk.send(1)
    with pytest.raises(IpcError, match="no such message"):
        await desk.send(2)
    assert await desk.send(3) == b"P103: Subject: x"


async def test_blobs_are_read_one_by_one_and_whole_or_not_at_all():
    desk = Desk()
    desk.box.blobs, desk.box.cut = {101, 103}, {103}
    assert [await desk.send(number) for number in (1, 2)] == [b"P101: Subject: x", b"P102: Subject: x"]
    with pytest.raises(KeyError):
        await desk.send(3)
    assert not desk.engine.to_send() and await desk.send(4) == b"P104: Subject: x"


async def test_a_large_one_without_its_end_is_not_begun(monkeypatch):
    monkeypatch.setattr(module, "SMALL", 10)
    desk = Desk()
    desk.box.blobs = desk.box.cut = {101}
    with pytest.raises(KeyError):
        await desk.send(1)
    assert not desk.engine.sending and not desk.engine.to_send()
