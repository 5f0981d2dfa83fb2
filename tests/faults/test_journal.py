"""Every write of the disk is on record, and the disk is rebuilt as power cuts could have left it: after each promise, ext4 and xfs keep it.

Between two flushes a disk may write in any order, or not at all. So each moment has many states, of which the filesystem's own recovery
makes one that programs can see; that one is judged as in test_crash_states.py. Where the shutdown call of test_power.py asks the kernel to
forget, here nothing is left to its word. As root, with nbdkit and nbdfuse.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.faults import faults
from tests.faults.inventory import inventory
from tests.faults.journal import KINDS, JournalDisk, journal_disk
from tests.faults.judge import PROMISES, Book
from tests.faults.laboratory import LOCAL, SENDER, Laboratory
from tests.faults.length import CUTS, SEEDS
from tests.faults.load import Generator
from tests.faults.report import tell
from tests.faults.scenario import FAR, live, note_what_is_taken

pytestmark = pytest.mark.timeout(3600)


class Diary:
    """The lines of a ledger, each with the moment of the disk at which it was written."""

    def __init__(self, disk: JournalDisk, laboratory: Laboratory) -> None:
        self.lines: list[tuple[int, str]] = []
        laboratory.ledger.witness = lambda line: self.lines.append((disk.moment(), line))

    def book(self, moment: int) -> Book:
        """What had been promised by then."""
        return Book([line for when, line in self.lines if when <= moment])

    def promises(self) -> list[int]:
        """The moments right after a promise."""
        return [moment for moment, line in self.lines if line.split(" ")[0] in PROMISES]


def broken(disk: JournalDisk, diary: Diary, moment: int, kind: str, chance: random.Random) -> list[str]:
    """What a power cut at the moment would break."""
    disk.replay(moment, kind, chance)
    disk.attach()
    try:
        return list(diary.book(moment).broken(asyncio.run(inventory(disk.mount / "state"))))
    finally:
        disk.detach()


def judge(disk: JournalDisk, diary: Diary, moments: list[int], kinds: tuple[str, ...], seed: int) -> None:
    chance, wrong = random.Random(seed), {}
    for moment in moments:
        for kind in kinds:
            if found := broken(disk, diary, moment, kind, chance):
                wrong[f"cut at {moment} of {disk.moment()}, {kind}"] = found[:5]
    count = len(moments) * len(kinds)
    tell(f"seed {seed}: {count} states of {disk.kind} after {len(diary.promises())} promises, broken {len(wrong)}", states=count, broken=len(wrong))
    assert not wrong, f"seed {seed}: {wrong}"


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("count, kinds", [pytest.param(10, ("synced only", "by chance"), id="short"),
                                          pytest.param(1000, KINDS, id="long", marks=pytest.mark.slow)])
def test_a_day(tmp_path, kind, count, kinds):
    with journal_disk(kind) as disk:
        with Laboratory(tmp_path, state=disk.mount / "state") as laboratory:
            diary = Diary(disk, laboratory)
            live(laboratory)
        disk.stop()
        promises = diary.promises()
        judge(disk, diary, sorted(random.Random(1).sample(promises, min(count, len(promises)))), kinds, 1)


@pytest.mark.slow
@pytest.mark.seeded
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("seed", SEEDS)
def test_under_load_and_kills(tmp_path, kind, seed):
    with journal_disk(kind) as disk:
        with Laboratory(tmp_path, seed=seed, state=disk.mount / "state") as laboratory:
            diary, began = Diary(disk, laboratory), disk.moment()
            note_what_is_taken(laboratory)
            with Generator(laboratory.ledger, laboratory.suite.ports["smtp"], [*LOCAL, FAR], threads=3, seed=seed, sender=SENDER):
                faults.kill_in_turn(laboratory, 5.0)
        disk.stop()
        moments = sorted(laboratory.chance.randint(began, disk.moment()) for _ in range(4 * CUTS))
        judge(disk, diary, moments, KINDS[:1] + KINDS[2:], seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_missing_sync_is_noticed(tmp_path, kind):
    prelude = "import fancymail.storage.sync as sync; sync._syncfs = sync._sync_file = lambda *given: None"
    with journal_disk(kind) as disk:
        with Laboratory(tmp_path, state=disk.mount / "state", prelude=prelude) as laboratory:
            diary = Diary(disk, laboratory)
            live(laboratory)
        disk.stop()
        assert any(broken(disk, diary, moment, "synced only", random.Random(1)) for moment in diary.promises())
