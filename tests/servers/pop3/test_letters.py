"""How places are asked for: many in one request while a client reads on, one by one while it picks."""

from __future__ import annotations

import asyncio

import pytest

from fancymail.core.maildrop import RECORD, Maildrop, Snapshot
from fancymail.ipc.message import IpcError
from fancymail.protocol.pop3.events import Options, Retrieve
from fancymail.protocol.pop3.server import Pop3Server
from fancymail.servers.pop3.letters import AHEAD, Letters

CONTENT = b"Subject: x\r\n\r\n.text\r\n"


class Desk:
    """A fm-mailbox of 100 messages that all lie in one file; `gone` have no place, answers come at once or when told."""

    def __init__(self, tmp_path, later: bool = False) -> None:
        self.path = tmp_path / "blob"
        self.path.write_bytes(b"#" * 64 + CONTENT)
        self.requests: list[list[int]] = []
        self.pending: list = []
        self.gone: set[int] = set()
        self.later = later
        self.maildrop = Maildrop(Snapshot(1, b"".join(RECORD.pack(uid, len(CONTENT)) for uid in range(101, 201))))
        self.engine = Pop3Server(Options())
        self.engine.logged_in(self.maildrop)
        self.engine.to_send()
        self.letters = Letters(None, self.engine, self.maildrop, self.ask)

    def ask(self, uids: list[int]) -> asyncio.Future:
        self.requests.append(uids)
        answer = asyncio.get_running_loop().create_future()
        places = [[b"", b"0", b"0", b""] if uid in self.gone else [bytes(self.path), b"64", b"%d" % len(CONTENT), b"P%d: " % uid] for uid in uids]
        self.pending.append((answer, [word for place in places for word in place]))
        if not self.later:
            self.answer()
        return answer

    def answer(self) -> None:
        answer, words = self.pending.pop(0)
        answer.set_result(words)

    def send(self, number: int):
        found = self.maildrop.find(number)
        return self.letters.send(Retrieve(number, *found))

    def heard(self) -> bytes:
        return self.engine.to_send().split(b"\r\n")[1]


async def test_reading_on_asks_for_many_at_once(tmp_path):
    desk = Desk(tmp_path)
    for number in range(1, 101):
        assert desk.send(number) is None
        assert desk.heard() == b"P%d: Subject: x" % (number + 100)
    assert len(desk.requests) == 100 // AHEAD + 1
    assert [uid for uids in desk.requests for uid in uids] == list(range(101, 201))


async def test_marked_messages_are_not_asked_for(tmp_path):
    desk = Desk(tmp_path)
    desk.maildrop.delete(2)
    desk.send(1)
    assert 102 not in desk.requests[0] and desk.heard() == b"P101: Subject: x"
    desk.send(3)
    assert desk.heard() == b"P103: Subject: x"


async def test_picking_asks_one_by_one(tmp_path):
    desk = Desk(tmp_path)
    for number in (90, 50, 7, 30):
        desk.send(number)
        assert desk.heard() == b"P%d: Subject: x" % (number + 100)
    assert desk.requests == [[190], [150], [107], [130]]
    desk.send(31)
    assert desk.requests[4] == list(range(131, 131 + AHEAD))


async def test_fetching_all_twice(tmp_path):
    desk = Desk(tmp_path)
    for number in [*range(1, 101), *range(1, 101)]:
        desk.send(number)
        assert desk.heard() == b"P%d: Subject: x" % (number + 100)
    assert len(desk.requests) <= 2 * (100 // AHEAD + 2)


async def test_top_and_retr_of_the_same_message(tmp_path):
    desk = Desk(tmp_path)
    for number in (1, 1, 2, 2, 2, 3):
        desk.send(number)
        assert desk.heard() == b"P%d: Subject: x" % (number + 100)


async def test_answers_that_come_later(tmp_path):
    desk = Desk(tmp_path, later=True)
    sending = desk.send(1)
    desk.answer()
    await sending
    assert desk.heard() == b"P101: Subject: x"
    assert desk.send(2) is None                 # it came with the first


async def test_one_that_is_gone_is_an_error_by_itself(tmp_path):
    desk = Desk(tmp_path)
    desk.gone = {102}
    desk.send(1)
    desk.heard()
    with pytest.raises(IpcError):
        desk.send(2)
    desk.send(3)
    assert desk.heard() == b"P103: Subject: x"


@pytest.mark.parametrize("words", [[b"path", b"0", b"1"], [], [b"path", b"x", b"1", b""]])
async def test_nonsense_is_an_error_and_no_crash(tmp_path, words):
    desk = Desk(tmp_path, later=True)
    sending = desk.send(50)
    desk.pending[0][0].set_result(words)
    with pytest.raises((ValueError, IpcError)):
        await sending
