"""Delivery from the queue, over a queue and an auth daemon that are a few lines each: batches, duplicates, failures, trouble of every kind."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from fancymail.base.log import Log
from fancymail.base.settings.log import Log as LogSettings
from fancymail.base.settings.smtpout import SmtpOut
from fancymail.core.imap.precompute import precompute
from fancymail.core.mailboxes import Mailboxes, StoreFailed
from fancymail.core.schedule import Schedule
from fancymail.core.turn import Turn
from fancymail.ipc.message import IpcError
from fancymail.mail.derived import VERSION
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.mailbox import delivery
from fancymail.servers.mailbox.delivery import Delivery
from fancymail.servers.mailbox.recipients import Recipients
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.memory.mailboxes import MemoryMailboxes
from fancymail.storage.slots import write_slot

NOW = 1_800_000_000.0
CONTENT = b"Received: from x\r\nMessage-ID: <1@x.test>\r\nSubject: tea\r\n\r\nAt five.\r\n"
LARGE = CONTENT + b"With milk.\r\n" * 5000


class World:
    """A queue, an auth daemon and a postman, as they look from fm-mailbox."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.waiting: list[tuple[str, dict]] = []
        self.said: list[tuple] = []
        self.held: set[str] = set()
        self.quotas = {"alice@example.test": 0, "bob@example.test": 0}
        self.away: set[str] = set()
        self.alerts: list[str] = []
        self.told: list[tuple] = []
        self.empty, self.more = asyncio.Event(), asyncio.Event()       # the consumer waits in vain; somebody sent something
        self.thread = ThreadPoolExecutor(1)
        self.counters = Counter()
        self.mailboxes = Mailboxes(MemoryMailboxes(), FileBlobs(folder / "blobs"), wall=lambda: NOW)
        self.turn = Turn(self.mailboxes.store.transaction)
        self.recipients = Recipients(self.ask, 60, lambda: 0.0)
        self.delivery = Delivery(self.ask, self.alerts.append, self.mailboxes, self.turn, self.recipients, self, Schedule(SmtpOut()), self.thread,
                                 Log("mailbox", LogSettings(console="never"), None), self.counters, chance=lambda: 0.5, clock=lambda: NOW)

    async def ask(self, daemon: str, verb: str, *words, timeout: float = 0):
        if daemon in self.away:
            raise IpcError("4.4.1", f"no answer from {daemon}")
        if verb == "quota":
            if words[0] not in self.quotas:
                raise IpcError("5.1.1", "no such user")
            return [words[0].encode(), b"%d" % self.quotas[words[0]]]
        if verb == "consume":
            queue, count, _, *done = words
            self.settle(queue, [path for frame in done for path in json.loads(frame)])
            if not self.waiting:
                self.more.clear()
                self.empty.set()
                await self.more.wait()
            given, self.waiting = self.waiting[:count], self.waiting[count:]
            self.held |= {path for path, _ in given}
            return [json.dumps(given).encode()]
        if verb == "leave":
            self.more.set()
        elif verb == "done":
            self.settle(*words[:1], words[1:])
        elif verb != "resume":
            self.said.append((verb, *words))
        return []

    def settle(self, queue: str, paths) -> None:
        """What is settled already may be told again."""
        if news := [path for path in paths if path in self.held]:
            self.said.append(("done", queue, *news))
            self.held.difference_update(news)

    async def tell(self, envelope, notice, path) -> bool:
        if "queue" in self.away:
            raise IpcError("4.4.1", "no answer from queue")
        self.told.append((notice.kind, envelope.sender, [(result.recipient, result.status) for result in notice.results]))
        return True

    def push(self, *recipients: Recipient | str, sender: str = "carol@x.test", content: bytes = CONTENT, pending=None, **facts) -> str:
        id = f"{len(list(self.folder.glob('slot*'))):026d}".replace("0", "a").replace("1", "b")
        path = str(self.folder / f"slot{id}")
        recipients = [Recipient(each) if isinstance(each, str) else each for each in recipients]
        write_slot(path, Envelope(id, sender, recipients, received=NOW - 9), content)
        self.again(path, pending=list(range(len(recipients))) if pending is None else pending, **facts)
        return path

    def again(self, path: str, **facts) -> None:
        self.more.set()
        self.waiting.append((path, {"id": path[-26:], "attempts": 1, "first": NOW - 5, "size": 1, "pending": [0], **facts}))

    async def run(self) -> None:
        """Let the consumer work until the queue is empty and all is settled."""
        self.delivery.stopped = False
        running = asyncio.create_task(self.delivery.run())
        self.empty.clear()
        await self.empty.wait()
        self.delivery.stop()
        await running

    def inbox(self, account: str = "alice@example.test", mailbox: str = "INBOX"):
        return self.mailboxes.account(account).messages(mailbox, [(1, 2**32 - 1)])

    @property
    def verbs(self) -> list[str]:
        return [said[0] for said in self.said]


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.thread.shutdown()
    world.mailboxes.blobs.close()


@pytest.mark.parametrize("content", [CONTENT, LARGE])
async def test_a_message_is_taken_entered_and_done(world, content):
    path = world.push("alice@example.test", "bob@example.test", content=content)
    await world.run()
    assert world.said == [("done", "incoming", path)]
    (message,) = world.inbox()
    assert b"".join(world.mailboxes.octets(message)) == message.prefix + content
    assert message.prefix == b"Return-Path: <carol@x.test>\r\nDelivered-To: alice@example.test\r\n"
    assert message.internaldate == NOW - 9
    assert len(world.inbox("bob@example.test")) == 1
    assert sorted(world.alerts) == ["alice@example.test", "bob@example.test"]
    assert world.mailboxes.blobs._pins == {}


async def test_a_small_one_needs_no_file(world):
    path = world.push("alice@example.test")
    await world.run()
    assert world.inbox()[0].content == CONTENT
    assert os.stat(path).st_nlink == 1              # the queue may use it again
    assert not list((world.folder / "blobs").glob("??/*"))


async def test_contents_are_durable_before_rows_and_rows_before_the_queue_hears(world, monkeypatch):
    steps, ask = [], world.delivery.ask

    def note(step, function):
        return lambda *args: (steps.append(step), function(*args))[1]

    async def listen(daemon, verb, *words, **options):
        steps.append(verb)
        return await ask(daemon, verb, *words, **options)
    world.delivery.ask = listen
    blobs = world.mailboxes.blobs
    for name in ("link", "sync", "release"):
        monkeypatch.setattr(blobs, name, note(name, getattr(blobs, name)))
    monkeypatch.setattr(world.mailboxes, "deliver", note("rows", world.mailboxes.deliver))
    world.push("alice@example.test", content=LARGE)
    await world.run()
    assert [step for step in steps if step not in ("resume", "quota", "leave")] == [
        "consume", "link", "sync", "rows", "release", "consume"]
    assert world.verbs == ["done"]


async def test_a_batch_is_done_in_one_message(world):
    world.delivery.batch = world.delivery.size = 5
    paths = [world.push("alice@example.test", content=CONTENT + b"%d" % number) for number in range(12)]
    await world.run()
    assert [(verb, len(words)) for verb, _, *words in world.said] == [("done", 5), ("done", 7)]
    assert [path for _, _, *words in world.said for path in words] == paths
    assert [message.uid for message in world.inbox()] == list(range(1, 13))
    assert [message.length for message in world.inbox()] == [len(CONTENT) + len(str(number)) for number in range(12)]


async def test_the_next_batch_is_asked_for_beside_a_full_one_and_behind_others(world):
    takes, ask = [], world.delivery.ask

    async def listen(daemon, verb, *words, **options):
        if verb != "consume":
            return await ask(daemon, verb, *words, **options)
        delivered = len(world.inbox())
        answer = await ask(daemon, verb, *words, **options)
        takes.append((delivered, len(json.loads(answer[0]))))
        if len(takes) == 2:                         # while these are delivered somebody sends one more
            world.push("alice@example.test", content=CONTENT + b"late")
        return answer
    world.delivery.ask = listen
    world.delivery.batch = world.delivery.size = 4
    for number in range(6):
        world.push("alice@example.test", content=CONTENT + b"%d" % number)
    running = asyncio.create_task(world.delivery.run())
    async with asyncio.timeout(10):
        while len(world.inbox()) < 7:
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert takes == [(0, 4), (0, 2), (6, 1)] and len(world.inbox()) == 7
    world.delivery.stop()
    await running


async def test_the_first_batches_are_small(world):
    """A message of which the process died is found alone after a restart or two, and blamed alone."""
    asked, ask = [], world.delivery.ask

    async def listen(daemon, verb, *words, **options):
        asked.append((verb, *words[1:2]) if verb in ("consume", "resume") else None)
        return await ask(daemon, verb, *words, **options)
    world.delivery.ask = listen
    for number in range(200):
        world.push("alice@example.test", content=CONTENT + b"%d" % number)
    await world.run()
    await world.run()
    taken = [each for each in asked if each]
    assert taken[:8] == [("resume",), *(("consume", count) for count in (1, 2, 4, 8, 16, 32, 64))]
    assert taken.count(("resume",)) == 1
    assert len(world.inbox()) == 200


async def test_what_comes_again_is_not_delivered_again(world):
    path = world.push("alice@example.test", "bob@example.test")
    await world.run()
    world.again(path, pending=[0, 1], attempts=2)
    await world.run()
    assert world.verbs == ["done", "done"]
    assert len(world.inbox()) == len(world.inbox("bob@example.test")) == 1
    assert world.counters["duplicates"] == 2


async def test_settled_recipients_are_left_alone(world):
    world.push("alice@example.test", "bob@example.test", pending=[1])
    await world.run()
    assert (len(world.inbox()), len(world.inbox("bob@example.test"))) == (0, 1)


async def test_the_tag_is_in_what_the_sender_wrote(world):
    world.mailboxes.create("alice@example.test", "news")
    world.push(Recipient("alice@example.test", "Alice+news@example.test"))
    world.push(Recipient("alice+news@example.test"), content=CONTENT + b"2")
    world.push(Recipient("alice@example.test", "sales@example.test"), content=CONTENT + b"3")
    await world.run()
    assert [message.prefix.splitlines()[1] for message in world.inbox(mailbox="news")] == [
        b"Delivered-To: Alice+news@example.test", b"Delivered-To: alice+news@example.test"]
    assert [message.prefix.splitlines()[1] for message in world.inbox()] == [b"Delivered-To: alice@example.test"]


async def test_who_is_gone_costs_a_notice_to_the_sender(world):
    path = world.push("alice@example.test", "gone@example.test")
    await world.run()
    assert len(world.inbox()) == 1
    assert world.told == [("failed", "carol@x.test", [(1, "5.1.1")])]
    ((verb, queue, told, results),) = world.said
    assert (verb, queue, told) == ("result", "incoming", path)
    assert [(result["recipient"], result["state"]) for result in json.loads(results)] == [(0, "delivered"), (1, "failed")]


async def test_nobody_hears_of_a_double_bounce(world):
    world.push("gone@example.test", sender="")
    await world.run()
    assert (world.told, world.verbs, world.counters["double_bounces"]) == ([], ["result"], 1)


async def test_a_sender_may_ask_not_to_hear_of_failures(world):
    world.push(Recipient("gone@example.test", notify=("NEVER",)))
    await world.run()
    assert (world.told, world.verbs) == ([], ["result"])


async def test_a_sender_may_ask_to_hear_of_success(world):
    world.push(Recipient("alice@example.test", notify=("SUCCESS",)), "bob@example.test")
    await world.run()
    assert world.told == [("delivered", "carol@x.test", [(0, "2.1.5")])]
    assert world.verbs == ["result"]


async def test_when_the_sender_cannot_be_told_the_message_stays(world):
    path = world.push("alice@example.test", "gone@example.test")

    async def refuse(*args):
        raise IpcError("4.4.1", "no answer")
    world.tell, good = refuse, world.tell
    await world.run()
    assert [said[:4] for said in world.said] == [("defer", "incoming", path, 30.0)]
    world.tell = good
    world.again(path, pending=[0, 1], attempts=2)
    await world.run()
    assert world.verbs == ["defer", "result"]
    assert len(world.inbox()) == 1


async def test_a_full_mailbox_is_tried_again(world):
    world.quotas["alice@example.test"] = 10
    path = world.push("alice@example.test", "bob@example.test")
    await world.run()
    assert world.verbs == ["result", "defer"]
    assert [(result["state"], result["status"]) for result in json.loads(world.said[0][3])] == [("deferred", "4.2.2"), ("delivered", "2.1.5")]
    assert world.said[1][2] == path and world.said[1][3] > 0
    assert world.told == []


async def test_a_mailbox_that_stays_full_costs_a_notice_in_the_end(world):
    world.quotas["alice@example.test"] = 10
    world.push("alice@example.test", first=NOW - 30 * 86400, attempts=100)
    await world.run()
    assert world.verbs == ["result"]
    assert world.told == [("failed", "carol@x.test", [(0, "5.4.7")])]


async def test_auth_is_away(world):
    world.away.add("auth")
    world.push("alice@example.test")
    await world.run()
    assert world.verbs == ["result", "defer"]
    assert world.inbox() == []


async def test_who_was_known_is_known_when_auth_is_away(world):
    world.push("alice@example.test")
    await world.run()
    world.away.add("auth")
    world.recipients.doubt()
    world.push("alice@example.test", content=CONTENT + b"2")
    await world.run()
    assert len(world.inbox()) == 2


async def test_accounts_that_changed_are_asked_for_anew(world):
    world.push("alice@example.test")
    await world.run()
    del world.quotas["alice@example.test"]
    world.recipients.doubt()
    world.push("alice@example.test", content=CONTENT + b"2")
    await world.run()
    assert world.told == [("failed", "carol@x.test", [(0, "5.1.1")])]


async def test_a_full_disk_puts_all_off_and_nothing_is_lost(world):
    paths = [world.push("alice@example.test", content=CONTENT + b"%d" % number) for number in range(3)]
    deliver = world.mailboxes.deliver

    def refuse(arrivals):
        raise StoreFailed("the disk is full")
    world.mailboxes.deliver = refuse
    await world.run()
    assert [said[:3] for said in world.said] == [("defer", "incoming", path) for path in paths]
    assert world.mailboxes.blobs._pins == {}
    world.mailboxes.deliver = deliver
    for path in paths:
        world.again(path)
    await world.run()
    assert len(world.inbox()) == 3


async def test_a_sync_that_fails_enters_nothing(world, monkeypatch):
    world.push("alice@example.test")

    def refuse():
        raise OSError(5, "Input/output error")
    monkeypatch.setattr(world.mailboxes.blobs, "sync", refuse)
    await world.run()
    assert (world.verbs, world.inbox()) == (["defer"], [])
    assert world.mailboxes.blobs._pins == {}


async def test_a_message_that_breaks_us_does_not_hold_up_its_neighbours(world):
    paths = [world.push("alice@example.test", content=CONTENT + b"%d" % number) for number in range(4)]
    deliver = world.mailboxes.deliver

    def choke(arrivals):
        if any(arrival.blob.length == len(CONTENT) + 1 and arrival.queue_id == paths[2][-26:] for arrival in arrivals):
            raise ZeroDivisionError("a bug")
        return deliver(arrivals)
    world.mailboxes.deliver = choke
    await world.run()
    assert len(world.inbox()) == 3
    assert [said[:3] for said in world.said if said[0] == "reject"] == [("reject", "incoming", paths[2])]


async def test_what_nobody_foresaw_does_not_end_delivery(world, monkeypatch):
    monkeypatch.setattr("fancymail.servers.mailbox.delivery.PAUSE", 0)
    world.delivery.batch = world.delivery.size = 2
    paths = [world.push("alice@example.test", content=CONTENT + b"%d" % number) for number in range(6)]
    deliver, broken = world.delivery.deliver, []

    async def break_once(tasks):
        if not broken:
            broken.extend(tasks)
            world.delivery._release(tasks)
            raise ZeroDivisionError("a bug")
        await deliver(tasks)
    world.delivery.deliver = break_once
    await world.run()
    assert world.counters["failures"] == 1
    assert world.mailboxes.blobs._pins == {}
    for path in paths[:4]:                              # those and the ones taken ahead are given back
        world.again(path, attempts=2)
    await world.run()
    assert len(world.inbox()) == 6


@pytest.mark.parametrize("harm", [
    lambda data: data[:70] + bytes([data[70] ^ 1]) + data[71:], lambda data: data[:-1], lambda data: data[:40], lambda data: CONTENT,
    lambda data: b"", lambda data: data[:-40] + b"x" * 40])
async def test_what_is_no_slot_or_was_changed_is_rejected(world, harm, tmp_path):
    path = world.push("alice@example.test")
    good = world.push("bob@example.test", content=CONTENT + b"2")
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(harm(data))
    await world.run()
    assert sorted(said[:3] for said in world.said) == [("done", "incoming", good), ("reject", "incoming", path)]
    assert world.inbox() == []


async def test_a_file_that_is_gone_is_given_back(world, tmp_path):
    path = world.push("alice@example.test")
    (tmp_path / path).unlink()
    await world.run()
    assert [said[:4] for said in world.said] == [("defer", "incoming", path, 0.0)]


async def test_a_symbolic_link_is_no_slot(world, tmp_path):
    path = world.push("alice@example.test")
    (tmp_path / path).rename(tmp_path / "elsewhere")
    (tmp_path / path).symlink_to(tmp_path / "elsewhere")
    await world.run()
    assert world.verbs == ["reject"]


async def test_the_queue_is_away(world):
    path = world.push("alice@example.test")
    take = world.ask

    async def gone_after_take(daemon, verb, *words, **options):
        if verb == "done" or verb == "consume" and words[3:]:
            world.empty.set()
            raise IpcError("4.4.1", "no answer from queue")
        return await take(daemon, verb, *words, **options)
    world.delivery.ask = gone_after_take
    await world.run()
    assert (world.said, len(world.inbox())) == ([], 1)
    world.delivery.ask = take
    world.again(path, attempts=2)
    await world.run()
    assert (world.verbs, len(world.inbox())) == (["done"], 1)


async def test_many_recipients_share_one_content(world):
    world.quotas |= {f"user{number}@example.test": 0 for number in range(600)}
    world.push(*(f"user{number}@example.test" for number in range(600)))
    await world.run()
    assert world.verbs == ["done"]
    assert len({world.inbox(f"user{number}@example.test")[0].blob for number in range(600)}) == 1


# What readers will ask for

def lacking(world, account: str = "alice@example.test") -> int:
    return len(world.mailboxes.account(account).underived("INBOX", [(1, 2**32 - 1)], VERSION))


async def test_what_is_derived_is_derived_at_delivery(world):
    later = []
    world.delivery.later = lambda: later.append(1)
    world.push("alice@example.test", "bob@example.test")
    await world.run()
    assert (lacking(world), lacking(world, "bob@example.test"), later) == (0, 0, [])
    alice, = world.inbox()
    derived, = [value for mid, value in world.mailboxes.store.derivations.items() if world.mailboxes.store.msgs[mid].account == "alice@example.test"]
    assert derived == precompute(alice.prefix, CONTENT, alice.internaldate)


async def test_behind_a_backlog_it_is_derived_later(world, monkeypatch):
    monkeypatch.setattr(delivery, "AT_ONCE", 1)
    later = []
    world.delivery.later, world.delivery.size = lambda: later.append(1), 8
    for _ in range(3):
        world.push("alice@example.test")
    await world.run()
    assert (lacking(world), len(world.inbox()), len(later)) == (3, 3, 1)


async def test_what_cannot_be_derived_is_delivered(world, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError
    monkeypatch.setattr(delivery, "precompute", fail)
    world.push("alice@example.test")
    await world.run()
    assert (lacking(world), len(world.inbox()), world.verbs) == (1, 1, ["done"])
