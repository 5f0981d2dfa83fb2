"""Orphans: whole ones become messages, others are removed late, by the time that we have seen them."""

from __future__ import annotations

import os

from fancymail.core.orphans import Orphans
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.slots import write_slot

from .test_queue import House

AGE = 36 * 3600


def half(house):
    """A slot whose writer stopped midway."""
    path = house.written()
    os.truncate(path, 70)
    return path


async def test_only_what_was_never_pushed_and_is_old_goes(tmp_path):
    house = House(tmp_path / "queues")
    orphans = Orphans(house.index, house.spool, house.queue.intake, AGE, house.clock.monotonic)
    pushed, taken = await house.pushed(), await house.pushed()
    house.take()
    orphan, late = half(house), half(house)
    os.utime(orphan, (0, 0))                            # its date says nothing
    foreign = os.path.join(os.path.dirname(orphan), "README")
    open(foreign, "w").close()
    assert await orphans.sweep(["incoming", "outgoing"]) == 0 and len(orphans) == 2
    house.clock.now += AGE - 1
    young = half(house)
    assert await orphans.sweep(["incoming"]) == 0
    write_slot(late, Envelope("a" * 26, "", [Recipient("bob@example.test")]), b"at last")
    await house.queue.push("incoming", late)
    house.clock.now += 1
    assert await orphans.sweep(["incoming"]) == 1
    assert not os.path.exists(orphan) and all(map(os.path.exists, (pushed, taken, late, young, foreign)))
    assert len(orphans) == 1                            # only the young one is remembered
    house.close()


async def test_the_age_counts_from_our_start(tmp_path):
    house = House(tmp_path / "queues")
    orphan = half(house)
    for _ in range(3):
        orphans = Orphans(house.index, house.spool, house.queue.intake, AGE, house.clock.monotonic)
        assert await orphans.sweep(["incoming"]) == 0
        house.clock.now += AGE - 1
        assert await orphans.sweep(["incoming"]) == 0
    assert os.path.exists(orphan)
    house.close()


async def test_a_whole_slot_without_a_row_is_a_message(tmp_path):
    house = House(tmp_path / "queues")
    path = house.written()                              # its writer synced it, and told nobody before it died
    house.restart()
    orphans = Orphans(house.index, house.spool, house.queue.intake, AGE, house.clock.monotonic)
    assert await orphans.sweep(["incoming", "outgoing"]) == 0 and len(orphans) == 0
    assert house.take() == [path]
    house.close()


async def test_files_kept_for_reuse_are_no_orphans(tmp_path):
    house = House(tmp_path / "queues")
    orphans = Orphans(house.index, house.spool, house.queue.intake, AGE, house.clock.monotonic)
    await house.queue.intake.prepare("incoming", 3)
    house.queue.done("incoming", await house.pushed())
    await house.queue.intake.durable()
    for _ in range(2):
        assert await orphans.sweep(["incoming"]) == 0 and len(orphans) == 0
        house.clock.now += AGE
    assert all(map(os.path.exists, house.queue.slot("incoming", 4, reuse=True)))
    house.close()


async def test_what_was_finished_since_it_was_looked_at_stays(tmp_path, monkeypatch):
    house = House(tmp_path / "queues")
    orphans = Orphans(house.index, house.spool, house.queue.intake, AGE, house.clock.monotonic)
    path = half(house)
    await orphans.sweep(["incoming"])
    house.clock.now += AGE
    recover = house.queue.intake.recover

    async def and_then_its_writer_ends(queue):
        found = await recover(queue)
        write_slot(path, Envelope("a" * 26, "", [Recipient("bob@example.test")]), b"at last")
        return found
    monkeypatch.setattr(house.queue.intake, "recover", and_then_its_writer_ends)
    assert await orphans.sweep(["incoming"]) == 0
    monkeypatch.undo()
    assert await house.queue.recover("incoming") == 1 and house.take() == [path]
    house.close()
