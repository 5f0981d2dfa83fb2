"""The life of messages in one process, over memory and over the disk: what a stranger may read first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from fancymail.base.settings.queue import Queue
from fancymail.base.settings.smtpout import SmtpOut
from fancymail.core.accounts import Directory
from fancymail.core.journey import Journey
from fancymail.core.mailboxes import Mailboxes
from fancymail.core.queue import QueueManager
from fancymail.core.reception import Client
from fancymail.core.schedule import Schedule
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.memory.accounts import MemoryAccounts
from fancymail.storage.memory.blobs import MemoryBlobs
from fancymail.storage.memory.mailboxes import MemoryMailboxes
from fancymail.storage.memory.queue import MemoryQueueIndex
from fancymail.storage.memory.spool import MemorySpool
from fancymail.storage.ports.queue import State
from fancymail.storage.slots import read_slot, write_slot
from fancymail.storage.spool import DiskSpool
from fancymail.storage.sqlite.accounts import SqliteAccounts
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.queue import SqliteQueueIndex

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@x.test"
LETTER = b"From: carol@x.test\r\nMessage-ID: <1@x.test>\r\nSubject: tea\r\n\r\nAt five.\r\n"
STRANGER = Client("transfer")
HOUR = 3600.0


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """The other servers: they take everything, unless told otherwise."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, str, str]] = {}
        self.got: list[tuple[str, bytes]] = []

    def __call__(self, address: str, content: bytes) -> tuple[str, str, str]:
        answer = self.answers.get(address, ("delivered", "2.0.0", "250 ok"))
        if answer[0] == "delivered":
            self.got.append((address, content))
        return answer


@pytest.fixture(params=["memory", "disk"])
def journey(request, tmp_path):
    options, clock = Queue(free_octets=0, free_files=0), Clock()
    if request.param == "memory":
        spool, index, accounts, mail, blobs = MemorySpool(), MemoryQueueIndex(), MemoryAccounts(), MemoryMailboxes(), MemoryBlobs()
        write, read = spool.write, spool.open
    else:
        spool, index = DiskSpool(tmp_path / "queues", options.queues), SqliteQueueIndex(tmp_path / "queues/index.db")
        accounts, mail, blobs = SqliteAccounts(tmp_path / "accounts.db"), SqliteMailboxes(tmp_path / "mail"), FileBlobs(tmp_path / "mail/blobs")
        write, read = write_slot, read_slot
    thread = ThreadPoolExecutor(1)
    queue = QueueManager(index, spool, options, thread, thread, monotonic=clock, wall=clock)
    queue.open()
    directory = Directory(accounts, clock, default_domain="example.test")
    directory.add_domain("example.test")
    for name in ("alice", "bob", "sleepless"):
        directory.add_account(f"{name}@example.test")
    directory.set_alias("team@example.test", (ALICE, BOB, "dave@y.test"))
    yield Journey("mail.example.test", directory, queue, Mailboxes(mail, blobs, wall=clock), Schedule(SmtpOut()), World(), write, read, clock=clock)
    thread.shutdown()
    for engine in (index, mail, blobs):
        engine.close()


async def arrive(journey, *recipients, client=STRANGER, sender=CAROL, content=LETTER):
    return await journey.arrive(client, "mx.x.test", sender, list(recipients), content)


def waiting(journey) -> int:
    return sum(journey.queue.total(queue, state).messages for queue in ("incoming", "outgoing") for state in State)


async def test_from_a_stranger_to_a_reader(journey):
    outcome = await arrive(journey, ALICE)
    assert outcome.id and outcome.replies == [None]
    await journey.walk()
    (found,) = journey.fetch("alice")
    assert found.startswith(b"Return-Path: <carol@x.test>\r\nDelivered-To: alice@example.test\r\nReceived: from mx.x.test")
    assert outcome.id.encode() in found.partition(b"\r\n\r\n")[0]
    assert found.endswith(LETTER)
    assert (waiting(journey), journey.world.got) == (0, [])


async def test_an_alias_leads_to_mailboxes_and_away(journey):
    await arrive(journey, "team@example.test", BOB)
    await journey.walk()
    assert len(journey.fetch(ALICE)) == len(journey.fetch(BOB)) == 1
    assert [address for address, _ in journey.world.got] == ["dave@y.test"]


async def test_strangers_do_not_relay_and_nobody_gets_nothing(journey):
    outcome = await arrive(journey, "victim@y.test", "nobody@example.test", ALICE)
    assert [reply and reply.status for reply in outcome.replies] == ["5.7.1", "5.1.1", None]
    refused = await arrive(journey, "victim@y.test")
    assert (refused.id, refused.replies[0].code) == ("", 550)
    await journey.walk()
    assert journey.world.got == []


async def test_an_account_sends_away_and_hears_of_a_failure(journey):
    journey.world.answers["gone@y.test"] = ("failed", "5.1.1", "550 no such user")
    outcome = await arrive(journey, "gone@y.test", "dave@y.test", client=Client("submission", ALICE), sender=ALICE)
    assert outcome.replies == [None, None]
    await journey.walk()
    assert [address for address, _ in journey.world.got] == ["dave@y.test"]
    (notice,) = journey.fetch(ALICE)
    assert notice.startswith(b"Return-Path: <>\r\n") and b"gone@y.test" in notice and b"dave@y.test" not in notice
    assert waiting(journey) == 0


async def test_patience_has_an_end(journey):
    journey.world.answers["busy@y.test"] = ("deferred", "4.2.0", "451 later")
    await arrive(journey, "busy@y.test", client=Client("submission", ALICE), sender=ALICE)
    await journey.walk()
    assert (waiting(journey), journey.fetch(ALICE)) == (1, [])
    for _ in range(400):
        journey.clock.now += HOUR
        journey.queue.tick()
        await journey.walk()
    assert waiting(journey) == 0
    notices = journey.fetch(ALICE)
    assert b"Action: failed" in notices[-1]
    assert all(b"Action: delayed" in notice for notice in notices[:-1])


async def test_a_second_try_may_succeed(journey):
    journey.world.answers["busy@y.test"] = ("deferred", "4.2.0", "451 later")
    await arrive(journey, "busy@y.test", client=Client("submission", ALICE), sender=ALICE)
    await journey.walk()
    del journey.world.answers["busy@y.test"]
    journey.clock.now += HOUR
    journey.queue.tick()
    await journey.walk()
    assert [address for address, _ in journey.world.got] == ["busy@y.test"]
    assert waiting(journey) == 0


async def test_an_account_that_went_meanwhile(journey):
    await arrive(journey, "sleepless@example.test", sender=BOB)
    journey.directory.remove_account("sleepless@example.test")
    await journey.walk()
    (notice,) = journey.fetch(BOB)
    assert b"sleepless@example.test" in notice and b"5.1.1" in notice


async def test_nobody_is_told_of_what_nobody_sent(journey):
    await arrive(journey, "sleepless@example.test", sender="")
    journey.directory.remove_account("sleepless@example.test")
    await journey.walk()
    assert (waiting(journey), journey.world.got) == (0, [])


async def test_when_the_mailbox_daemon_dies_behind_the_commit_nothing_comes_twice(journey):
    await arrive(journey, ALICE)

    async def die(*args):
        raise KeyboardInterrupt
    settle, journey.settle = journey.settle, die
    with pytest.raises(KeyboardInterrupt):
        await journey.deliver()
    journey.settle = settle
    assert journey.queue.resume("incoming", "mailbox") == 1
    await journey.walk()
    assert len(journey.fetch(ALICE)) == 1
    assert waiting(journey) == 0


async def test_a_loop_ends(journey):
    outcome = await arrive(journey, ALICE, content=b"Received: from here\r\n" * 60 + LETTER)
    assert outcome.id == "" and outcome.replies[0].status == "5.4.6"


async def test_what_was_read_and_deleted_is_gone(journey):
    await arrive(journey, ALICE)
    await journey.walk()
    assert len(journey.fetch(ALICE, delete=True)) == 1
    assert journey.fetch(ALICE) == []


async def test_an_answer_joins_its_thread(journey):
    await arrive(journey, ALICE)
    await arrive(journey, ALICE, content=b"Message-ID: <2@x.test>\r\nIn-Reply-To: <1@x.test>\r\n\r\nYes.\r\n")
    await journey.walk()
    first, second = (journey.mailboxes.message(ALICE, uid) for uid in (1, 2))
    assert first.threadid == second.threadid and first.emailid != second.emailid
