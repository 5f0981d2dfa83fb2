"""What is derived of messages that were just appended: behind the answer, several together, from the octets at hand."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from fancymail.core.filing import Filing, Letter
from fancymail.core.mailboxes import Mailboxes
from fancymail.core.turn import Turn
from fancymail.mail.derived import VERSION
from fancymail.mail.uidset import LARGEST
from fancymail.servers.mailbox.derivation import Derivation
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.ports.blobs import Blob
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.reader import SqliteReader

ALICE = "alice@example.test"
ALL = [(1, LARGEST)]


class Notes:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def info(self, event: str, **facts) -> None:
        """What goes well."""

    def error(self, event: str, **facts) -> None:
        self.errors.append(event)

    def exception(self, event: str, error: Exception, **facts) -> None:
        self.errors.append(event)


class World:
    """A store with an account, and its derivation."""

    def __init__(self, folder) -> None:
        self.store, self.blobs, self.log = SqliteMailboxes(folder), FileBlobs(folder / "blobs"), Notes()
        self.turn, self.thread = Turn(self.store.transaction), ThreadPoolExecutor(1)
        self.filing = Filing(Mailboxes(self.store, self.blobs))
        self.derivation = Derivation(self.store, self.blobs, self.turn, self.thread, self.log)
        self.reader = SqliteReader(folder)
        self.account = self.store.account(ALICE)

    async def append(self, octets: bytes, mailbox: str = "INBOX") -> None:
        """As the verb does it."""
        blob = Blob(sha256(octets).digest(), len(octets), octets)
        added = await self.turn.run(lambda: self.filing.append(ALICE, mailbox, [Letter(blob, octets, 7, [])]))
        self.derivation.soon(ALICE, mailbox, added.first, blob, 7)

    def lacking(self, mailbox: str = "INBOX") -> int:
        return len(self.account.underived(mailbox, ALL, VERSION))

    async def subjects(self) -> list[str]:
        box = self.account.mailbox("INBOX").id
        return [subject for _, subject in await self.reader.open(ALICE, box).columns(("subject_text",), ALL)]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.thread.shutdown()
    world.reader.close()
    world.store.close()


def letter(number: int) -> bytes:
    return b"Subject: number %d\r\n\r\ntext\r\n" % number


async def test_several_are_derived_by_one_commit_behind_their_answers(world):
    for number in range(5):
        await world.append(letter(number))
    assert world.lacking() == 5
    commits = world.turn.count
    async with asyncio.timeout(20):
        while world.lacking():
            await asyncio.sleep(0)
    assert world.turn.count == commits + 1
    assert await world.subjects() == [f"number {number}" for number in range(5)]


async def test_a_reader_does_not_wait_for_it(world):
    for number in range(3):
        await world.append(letter(number))
    assert await world.derivation.derive(ALICE, "INBOX", [(2, 2)]) == 1
    assert world.lacking() == 2
    await world.derivation.write()
    assert world.lacking() == 0 and await world.subjects() == ["number 0", "number 1", "number 2"]


async def test_equal_messages_are_told_apart_by_their_places_only(world):
    for mailbox in ("INBOX", "Sent", "INBOX"):
        await world.append(letter(1), mailbox)
    await world.derivation.write()
    assert world.lacking() == world.lacking("Sent") == 0 and await world.subjects() == ["number 1"] * 2


async def test_messages_that_went_meanwhile(world):
    await world.append(letter(1))
    await world.append(letter(2), "Sent")
    await world.turn.run(lambda: (world.account.forget(8), world.filing.mailboxes.account(ALICE)))
    await world.derivation.write()
    await world.append(letter(3))
    await world.derivation.write()
    assert await world.subjects() == ["number 3"] and not world.log.errors


async def test_the_end_leaves_nothing_behind_and_begins_nothing(world):
    await world.append(letter(1))
    await world.derivation.stop()
    assert world.lacking() == 0
    await world.append(letter(2))
    await world.derivation.write()
    assert world.lacking() == 1 and len(asyncio.all_tasks()) == 1
    assert await world.derivation.complete() == 1


class BrokenStore:
    """A store that cannot be read."""

    def account(self, name: str):
        raise StoreFailed("the disk does not answer")


async def test_a_store_that_fails_is_said_and_the_next_ones_are_derived(world):
    await world.append(letter(1))
    world.derivation.store = BrokenStore()
    await world.derivation.write()
    assert world.log.errors == ["cannot be derived"]
    world.derivation.store = world.store
    await world.append(letter(2))
    await world.derivation.write()
    assert await world.derivation.complete() == 1 and await world.subjects() == ["number 1", "number 2"]


async def test_a_store_that_fails_for_a_while_does_not_end_the_work_behind(world):
    await world.append(letter(1))
    world.derivation._due.clear()
    failing = iter([StoreFailed("the database is away")])
    complete = world.derivation.complete

    async def first_not(pause: float) -> int:
        for error in failing:
            raise error
        return await complete(pause)
    world.derivation.complete = first_not
    running = asyncio.create_task(world.derivation.run())
    async with asyncio.timeout(20):
        while not world.log.errors:
            await asyncio.sleep(0)
        world.derivation.wanted.set()
        while world.lacking():
            await asyncio.sleep(0)
    running.cancel()
    assert world.log.errors == ["cannot be derived"]
