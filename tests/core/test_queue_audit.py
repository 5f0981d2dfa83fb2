"""The audit of the queue: every message is accounted for, what doesn't fit is named, and what can be mended is."""

from __future__ import annotations

import os

import pytest

from fancymail.core.queue_audit import QueueAudit, rebuild
from fancymail.mail.results import RecipientResult, dump
from fancymail.storage.memory.queue import MemoryQueueIndex
from fancymail.storage.ports.queue import State

from .test_queue import House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path / "queues")
    house.audit = QueueAudit(house.queue)
    yield house
    house.close()


async def books(house, queue="incoming"):
    return (await house.audit.books())[queue]


async def test_every_end_is_counted_by_its_name(house):
    delivered, bounced, mixed, removed, dropped, _, held = [await house.pushed(recipients=2) for _ in range(7)]
    house.queue.done("incoming", delivered)
    failed, arrived = RecipientResult(0, "failed", "5.1.1", "no such user"), RecipientResult(1, "delivered", "2.0.0", "here")
    assert await house.queue.result("incoming", bounced, dump([failed, arrived]))
    assert not await house.queue.result("incoming", mixed, dump([failed]))
    house.queue.done("incoming", mixed)
    house.queue.drop("incoming", [os.path.basename(dropped)])
    house.queue.take("incoming", 1, "", popped=True)                    # gives out `removed`, the oldest that is left
    os.unlink(removed)
    house.queue.take("incoming", 1, "", popped=True)
    entry = house.index.find(os.path.basename(held))
    house.queue.change(entry, State.HELD)
    found = await books(house)
    assert found.ended == {"delivered": 1, "bounced": 2, "removed": 1, "dropped": 1, "lost": 0}
    assert (found.accepted, found.here["held"], found.here["leased"], found.difference) == (7, 1, 1, 0)
    assert found.told()["difference"] == 0 and found.missing == found.unknown == []


async def test_a_row_that_vanished_is_noticed(house):
    path = await house.pushed()
    house.index.remove([os.path.basename(path)], lambda entry: "")      # under no word that anybody knows
    assert (await books(house)).difference == 1


async def test_a_missing_file_is_named_and_given_up(house):
    path, other = await house.pushed(), await house.pushed()
    os.unlink(path)
    assert (await books(house)).missing == [os.path.basename(path)]
    assert await house.audit.mend(adopt=False) == {"miscounted": 0, "lost": 1, "adopted": 0, "tally": []}
    found = await books(house)
    assert (found.ended["lost"], found.here["ready"], found.difference, found.missing) == (1, 1, 0, [])
    assert house.take(9) == [other]


async def test_what_was_popped_and_removed_is_settled_and_not_lost(house):
    popped, kept = await house.pushed(), await house.pushed()
    assert len(house.queue.take("incoming", 2, "", popped=True)) == 2
    os.unlink(popped)
    assert (await books(house)).missing == []
    os.unlink(kept)
    assert (await house.audit.mend(adopt=False))["lost"] == 0
    found = await books(house)
    assert (found.ended["removed"], found.ended["lost"], found.here["leased"], found.difference) == (2, 0, 0, 0)


async def test_a_forgotten_slot_is_taken_in_when_told_to(house):
    path = house.written()
    assert (await books(house)).unknown == []                           # somebody may still be writing it
    house.restart()
    house.audit = QueueAudit(house.queue)
    assert (await books(house)).unknown == [os.path.basename(path)]
    assert (await house.audit.mend(adopt=False))["adopted"] == 0
    assert (await house.audit.mend(adopt=True))["adopted"] == 1
    assert house.take(9) == [path]
    await house.queue.push("incoming", path)                            # its writer comes late: it is there already
    assert (await books(house)).accepted == 1


async def test_a_queue_that_is_configured_no_more_stays_in_the_books(house):
    house.index.correct({("old", "accepted"): 2, ("old", "delivered"): 2})
    house.restart()
    house.audit = QueueAudit(house.queue)
    found = await books(house, "old")
    assert (found.accepted, found.ended["delivered"], found.difference, found.unknown) == (2, 2, 0, [])


async def test_wrong_counters_are_counted_anew(house):
    await house.pushed()
    house.queue.totals["incoming", State.READY][0] = 7
    assert (await house.audit.mend(adopt=False))["miscounted"] == 1
    assert house.queue.total("incoming", State.READY).messages == 1


@pytest.mark.parametrize("spoiled, said", [
    ({"accepted": 7}, ["incoming: accepted 10, now 3"]),
    ({"accepted": -3}, ["incoming: accepted 0, now 3"]),
    ({"delivered": 5}, ["incoming: accepted 3, now 8"]),
    ({"delivered": -2}, ["incoming: accepted 3, now 2", "incoming: delivered -1, now 0"])], ids=str)
async def test_a_tally_that_was_spoiled_adds_up_again(house, spoiled, said):
    house.queue.done("incoming", await house.pushed())
    await house.pushed(), await house.pushed()
    house.index.correct({("incoming", word): count for word, count in spoiled.items()})
    assert (await books(house)).difference != 0
    assert sorted((await house.audit.mend(adopt=False))["tally"]) == said
    assert (await books(house)).difference == 0
    assert [fields["now"] for event, fields in house.notes if event == "tally mended"] != []
    assert (await house.audit.mend(adopt=False))["tally"] == []


async def test_an_index_is_made_from_whole_slots_only(house):
    whole, torn, changed = [await house.pushed() for _ in range(3)]
    house.written(content=b"never pushed, and whole: better twice than not at all")
    os.truncate(torn, 100)
    with open(changed, "r+b") as file:
        file.seek(70)
        file.write(b"#")
    index = MemoryQueueIndex()
    assert rebuild(index, house.spool, ["incoming", "outgoing"]) == 2
    entry = index.find(os.path.basename(whole))
    assert entry.sha256 == house.index.find(entry.id).sha256 and (entry.sender, entry.count) == ("alice@example.test", 1)
