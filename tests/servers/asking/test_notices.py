"""Notifications with a real fm-queue: one that is told again is known by its slot's name, whatever a crash left of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from fancymail.base.log import Log
from fancymail.base.settings.log import Log as LogSettings
from fancymail.core.delivery import DELAYED, FAILED, Notice
from fancymail.ipc.message import IpcError
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.results import RecipientResult
from fancymail.servers.asking import notices as engine
from fancymail.servers.asking.notices import Notices
from fancymail.servers.queue.daemon import QueueServer
from fancymail.storage.slots import read_slot, write_slot
from tests.servers_kit import operator, running

SENDER = "alice@us.test"
TABLES = {"queue": {"queues": {"incoming": {}, "outgoing": {}}}}


def notice(kind: str = FAILED, *recipients: int) -> Notice:
    return Notice(kind, [RecipientResult(number, "failed", "5.1.1", "no such user") for number in recipients or (0,)])


class World:
    """A queue, and a message in it whose recipients cannot be reached."""

    def __init__(self, state, client) -> None:
        self.state, self.client = state, client
        self.pool = ThreadPoolExecutor(1)
        self.log = Log("test", LogSettings(file=False, console="never"), None)

    async def ask(self, name: str, verb: str, *words: str) -> list[bytes]:
        """As Daemon.ask; the sender is an account of ours."""
        return [f"local:{SENDER}".encode()] if name == "auth" else await self.client.call(verb, *words)

    async def message(self) -> None:
        self.path = (await self.client.call("slot", "outgoing"))[0].decode()
        self.envelope = Envelope(self.path.rpartition("/")[2], SENDER, [Recipient("a@x.test"), Recipient("b@x.test")], received=1e9)
        write_slot(self.path, self.envelope, b"Subject: x\r\n\r\nx\r\n")
        await self.client.call("push", "outgoing", self.path)

    def notices(self, secret: bytes = b"ours") -> Notices:
        return Notices(self.ask, "us.test", 1e6, self.pool, self.log, secret, clock=lambda: 1e9)

    async def tell(self, what: Notice | None = None, secret: bytes = b"ours") -> None:
        assert await self.notices(secret).tell(self.envelope, what or notice(), self.path)

    async def waiting(self) -> list[str]:
        """Take all notifications; their paths."""
        return [word.decode() for word in (await self.client.call("take", "incoming", 100))[::2]]


@asynccontextmanager
async def world(state):
    async with running(QueueServer, state, TABLES):
        with operator(state, "queue") as client:
            yield World(state, client)


async def test_the_same_is_told_once(tmp_path):
    async with world(tmp_path) as here:
        await here.message()
        for _ in range(3):
            await here.tell()
        path, = await here.waiting()
        with read_slot(path) as slot:
            assert slot.envelope.sender == "" and slot.envelope.recipients[0].address == SENDER and b"a@x.test" in slot.read()
        await here.client.call("done", "incoming", path)
        await here.tell()                                   # it was delivered already
        assert await here.waiting() == []


async def test_a_disk_that_refuses_the_original_makes_no_notice_without_it(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(24, "Too many open files")
    async with world(tmp_path) as here:
        await here.message()
        with monkeypatch.context() as patch:
            patch.setattr(engine, "read_slot", refuse)
            with pytest.raises(IpcError) as caught:
                await here.tell()
        assert caught.value.temporary and await here.waiting() == []
        await here.tell()                                   # it is tried again
        path, = await here.waiting()
        with read_slot(path) as slot:
            assert b"Subject: x" in slot.read()


async def test_a_disk_that_refuses_the_notice_is_no_reason_to_forget_it(tmp_path, monkeypatch):
    def refuse(path, *what):
        raise OSError(28, "No space left on device")
    async with world(tmp_path) as here:
        await here.message()
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_write_whole", refuse)
            with pytest.raises(IpcError) as caught:
                await here.tell()
        assert caught.value.temporary and await here.waiting() == []
        await here.tell()
        assert len(await here.waiting()) == 1


async def test_other_kinds_recipients_and_messages_are_other_notices(tmp_path):
    async with world(tmp_path) as here:
        await here.message()
        for what in (notice(), notice(DELAYED), notice(FAILED, 1), notice(FAILED, 0, 1), notice(FAILED, 1, 0)):     # the last two are one
            await here.tell(what)
        await here.message()
        await here.tell()
        assert len(await here.waiting()) == 5


async def test_nobody_else_can_say_the_name(tmp_path):
    async with world(tmp_path) as here:
        await here.message()
        names = {here.notices(secret).place(here.path, "incoming", notice()).rpartition("/")[2] for secret in (b"ours", b"theirs")}
        assert len(names) == 2 and all(len(name) == 26 and set(name) <= set("abcdefghijklmnopqrstuvwxyz234567") for name in names)


@pytest.mark.parametrize("left, aside", [(b"", ""), (b"FMSLOT1\n half", ""), (b"", ".new"), (b"FMSLOT1\n half", ".new"),
                                         (bytes(64) + b"x" * 300_000, ".new")])
async def test_half_a_notice_is_written_anew(tmp_path, left, aside):
    """A power cut may leave less than was written under the name; a crash leaves it beside the name, where nobody takes it for a slot."""
    async with world(tmp_path) as here:
        await here.message()
        place = here.notices().place(here.path, "incoming", notice())
        with open(place + aside, "wb") as half:
            half.write(left)
        await here.tell()
        assert await here.waiting() == [place]
        with read_slot(place) as slot:
            slot.verify()
            assert b"a@x.test" in slot.read()


async def test_written_and_not_pushed_is_pushed(tmp_path):
    async with world(tmp_path) as here:
        await here.message()
        place = here.notices().place(here.path, "incoming", notice())
        write_slot(place, Envelope(place.rpartition("/")[2], "", [Recipient(SENDER)], received=1e9), b"Subject: whole\r\n\r\n")
        await here.tell()
        assert await here.waiting() == [place]
        with read_slot(place) as slot:
            assert slot.read() == b"Subject: whole\r\n\r\n"


async def test_a_restart_of_the_queue_keeps_the_name_while_it_waits(tmp_path):
    async with world(tmp_path) as here:
        await here.message()
        await here.tell()
        before = here
    async with world(tmp_path) as here:
        here.path, here.envelope = before.path, before.envelope
        await here.tell()
        assert len(await here.waiting()) == 1
