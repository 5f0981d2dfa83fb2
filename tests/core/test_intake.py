"""What comes into the queue without a push: slots that their writer made durable, and those that a crash kept from being told of."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from fancymail.core.intake import Refusal
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.ports.queue import State
from fancymail.storage.ports.spool import Told
from fancymail.storage.slots import read_slot, write_slot
from tests.core.test_queue import House, failing


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path / "queues")
    yield house
    house.close()


async def test_files_are_made_for_those_who_write_with_our_own_writer(house):
    await house.queue.intake.prepare("incoming", 3)
    made = house.queue.slot("incoming", 3, reuse=True)
    assert all(map(os.path.exists, made)) and house.spool.ready("incoming") == 0


def told(path):
    with read_slot(path) as slot:
        people = [recipient.address for recipient in slot.envelope.recipients]
        return path, Told(slot.content_length, slot.sha256, slot.envelope.id, slot.envelope.sender, people, len(people))


async def test_a_durable_slot_is_entered_without_a_sync_and_without_a_look(house, monkeypatch):
    path = house.written(recipients=2)
    news = told(path)
    monkeypatch.setattr(house.spool, "sync", lambda slots: pytest.fail("its writer did that"))
    monkeypatch.setattr(house.spool, "examine", lambda *slot: pytest.fail("its writer told"))
    house.queue.enter("incoming", [news])
    house.queue.enter("incoming", [news])                       # may be repeated
    assert house.alerts == ["incoming"] and house.take(5) == [path]
    entry = house.index.find(os.path.basename(path))
    assert (entry.size, entry.count, entry.message, entry.recipients) == (news[1].size, 2, "a" * 26, "r0@example.test r1@example.test")
    house.queue.done("incoming", path)
    house.queue.enter("incoming", [news])                       # late, after all was over
    assert house.take() == []


async def test_what_is_entered_behind_a_push_is_told_of_when_it_can_be_taken(house, monkeypatch):
    """Rows behind those of a push are not handed out before it is durable: who waits for another queue must hear of them then."""
    pushed, entered = house.written(), house.written("outgoing")
    sync, synced, go_on = house.spool.sync, [], threading.Event()

    def slow(slots):
        if not slots:               # of the row; that of the slot is over
            synced.append(slots)
            go_on.wait(10)
        sync(slots)
    monkeypatch.setattr(house.spool, "sync", slow)
    pushing = asyncio.ensure_future(house.queue.push("incoming", pushed))
    while not synced:
        await asyncio.sleep(0)
    house.queue.enter("outgoing", [told(entered)])
    assert house.take(5, "outgoing") == [] and house.alerts == []
    go_on.set()
    await pushing
    assert sorted(house.alerts) == ["incoming", "outgoing"] and house.take(5, "outgoing") == [entered]
    assert house.queue.total("outgoing", State.READY) == (0, 0)


async def test_a_slot_that_cannot_be_synced_shows_nobody_the_rows_of_others_too_early(house, monkeypatch):
    there, good, bad = await house.pushed(), house.written(), house.written()
    sync, begun, go_on = house.spool.sync, [], {name: threading.Event() for name in ("slot", "row")}

    def slow(slots):
        begun.append(slots)
        if ("incoming", os.path.basename(bad)) in slots:
            failing(slots)
        go_on["slot" if slots else "row"].wait(10)
        sync(slots)
    monkeypatch.setattr(house.spool, "sync", slow)
    first = asyncio.ensure_future(house.queue.push("incoming", good))
    while not begun:
        await asyncio.sleep(0)
    second = asyncio.ensure_future(house.queue.push("incoming", bad))           # its sync comes before that of the first one's row
    await asyncio.sleep(0)
    go_on["slot"].set()
    with pytest.raises(Refusal):
        await second
    assert house.state(good) is State.READY and house.take(5) == [there] and not first.done()
    go_on["row"].set()
    await first
    assert house.take(5) == [good]


async def test_what_nobody_told_of_is_found_by_whoever_begins_anew(house):
    whole, empty = house.written(), house.queue.slot("incoming")[0]
    with open(empty, "xb") as file:
        file.write(b"not a slot")
    assert await house.queue.recover("incoming") == 1 and await house.queue.recover("incoming") == 0
    assert house.take(5) == [whole] and ("adopted", {"slot": os.path.basename(whole), "queue": "incoming"}) in house.notes
    house.queue.enter("incoming", [told(whole)])                # its writer lives after all, and is late
    assert house.take(5) == []


async def test_what_was_written_into_slots_of_the_process_before_is_found(house):
    path, = house.queue.slot("incoming")
    house.restart()
    assert await house.queue.recover("incoming") == 0           # looked at, and not written yet
    write_slot(path, Envelope("a" * 26, "", [Recipient("r0@example.test")]), b"Subject: hi\r\n\r\nhello\r\n")
    assert await house.queue.recover("incoming") == 1           # its writer answered 250, and died before it told
    assert house.take(5) == [path]


async def test_a_slot_is_durable_before_its_row_is_written(house, monkeypatch):
    path, sync, seen = house.written(), house.spool.sync, []
    monkeypatch.setattr(house.spool, "sync", lambda slots: (seen.append((list(slots), house.index.find(os.path.basename(path)))), sync(slots)))
    await house.queue.push("incoming", path)
    (first, row), (_, later) = seen
    assert first == [("incoming", os.path.basename(path))] and row is None and later is not None


async def test_what_was_found_is_durable_before_a_push_of_it_says_so(house, monkeypatch):
    path, synced, sync = house.written(), [], house.spool.sync
    monkeypatch.setattr(house.spool, "sync", lambda slots: (synced.extend(slots), sync(slots)))
    assert await house.queue.recover("incoming") == 1
    await house.queue.push("incoming", path)
    assert synced == [("incoming", os.path.basename(path))]


async def test_a_damaged_slot_or_one_of_another_name_is_not_found(house):
    damaged, renamed = house.written(), house.written()
    with open(damaged, "r+b") as file:
        file.seek(70)
        file.write(b"!")
    other, = house.queue.slot("incoming")
    os.rename(renamed, other)
    assert await house.queue.recover("incoming") == 0


async def test_what_the_mailbox_had_begun_to_take_in_is_found(house, tmp_path):
    path = house.written()
    os.link(path, tmp_path / "blob")            # a large content gets its name in the blob store before any row, there or here, is durable
    house.restart()
    assert await house.queue.intake.adopt("incoming", [os.path.basename(path)]) == [os.path.basename(path)]
    assert house.take(5) == [path]


async def test_what_was_found_stays_whatever_the_disk_says(house, monkeypatch):
    path = house.written()
    monkeypatch.setattr(house.spool, "sync", failing)
    assert await house.queue.recover("incoming") == 0
    assert os.path.exists(path) and house.state(path) is None and house.take() == []
    monkeypatch.undo()
    assert await house.queue.intake.adopt("incoming", [os.path.basename(path)]) == [os.path.basename(path)]
    assert house.take(5) == [path]


async def test_the_file_of_an_ended_message_is_no_message_whenever_the_crash_comes(house, monkeypatch):
    path = await house.pushed()
    house.take()

    def crash(ids, ended):
        raise KeyboardInterrupt
    monkeypatch.setattr(house.index, "remove", crash)           # between file and row
    with pytest.raises(KeyboardInterrupt):
        house.queue.done("incoming", path)
    monkeypatch.undo()
    house.restart()
    assert not os.path.exists(path)
    house.clock.now += house.options.restart_grace + 1
    house.queue.tick()
    assert house.take() == [] and house.index.find(os.path.basename(path)) is None
