"""Orphans: removed late, by the time that we have seen them, never when they are messages."""

from __future__ import annotations

import os

from fancymail.core.orphans import Orphans

from .test_queue import House

AGE = 36 * 3600


async def test_only_what_was_never_pushed_and_is_old_goes(tmp_path):
    house = House(tmp_path / "queues")
    orphans = Orphans(house.index, house.spool, AGE, house.queue.intake.is_pushing, house.clock.monotonic)
    pushed, taken = await house.pushed(), await house.pushed()
    house.take()
    orphan, late = house.written(), house.written()
    os.utime(orphan, (0, 0))                            # its date says nothing
    foreign = os.path.join(os.path.dirname(orphan), "README")
    open(foreign, "w").close()
    assert await orphans.sweep(["incoming", "outgoing"]) == 0 and len(orphans) == 2
    house.clock.now += AGE - 1
    young = house.written()
    assert await orphans.sweep(["incoming"]) == 0
    await house.queue.push("incoming", late)
    house.clock.now += 1
    assert await orphans.sweep(["incoming"]) == 1
    assert not os.path.exists(orphan) and all(map(os.path.exists, (pushed, taken, late, young, foreign)))
    assert len(orphans) == 1                            # only the young one is remembered
    house.close()


async def test_the_age_counts_from_our_start(tmp_path):
    house = House(tmp_path / "queues")
    orphan = house.written()
    for _ in range(3):
        orphans = Orphans(house.index, house.spool, AGE, house.queue.intake.is_pushing, house.clock.monotonic)
        assert await orphans.sweep(["incoming"]) == 0
        house.clock.now += AGE - 1
        assert await orphans.sweep(["incoming"]) == 0
    assert os.path.exists(orphan)
    house.close()
