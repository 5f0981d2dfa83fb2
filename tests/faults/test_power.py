"""The power is cut under the whole suite, at any moment, on ext4 and xfs: what got 250 is there after the next boot, once, and whole.

Queue and mailbox store lie on the same filesystem, so each cut hits both, in whatever they are doing. As root only.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.faults.disks import disk
from tests.faults.laboratory import Laboratory
from tests.faults.length import CUTS, SEEDS
from tests.suite_kit import wait_for

pytestmark = [pytest.mark.timeout(3600), pytest.mark.seeded]


def cut_and_boot(laboratory: Laboratory, disk) -> None:
    """Cut the power, end what hangs in the air, and start everything again."""
    with laboratory.ledger.lock:
        # The ioctl is no moment: a sync that it meets under way may end well for a process that a power cut would have ended.
        laboratory.ledger.deaf = True
    disk.cut_power()
    laboratory.count["power cuts"] += 1
    laboratory.suite.end_all()
    disk.boot()
    laboratory.start()
    laboratory.ledger.deaf = False


def until_acked(laboratory: Laboratory, more: int) -> None:
    """Return when so many more messages have been promised."""
    wanted = len(laboratory.ledger.acked_) + more
    wait_for(lambda: len(laboratory.ledger.acked_) >= wanted, f"{more} more messages are accepted")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("seed, cuts", [pytest.param(1, 3, id="seed1"),
                                        *(pytest.param(seed, CUTS, id=f"seed{seed}", marks=pytest.mark.slow) for seed in SEEDS)])
def test_power_cuts_under_load(tmp_path, kind, seed, cuts):
    with disk(kind) as mounted, Laboratory(tmp_path, seed=seed, state=mounted.mount / "state") as laboratory:
        subprocess.run(["sync", "-f", mounted.mount], check=True)          # the demo's passwords are nobody's mail
        for _ in range(cuts):
            with laboratory.load():
                until_acked(laboratory, laboratory.chance.randint(20, 300))
                cut_and_boot(laboratory, mounted)
        with laboratory.load():
            until_acked(laboratory, 50)
        laboratory.reckon()
        laboratory.suite.down()             # before the disk goes


@pytest.mark.skipif(shutil.which("unshare") is None, reason="there is no unshare")
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_disk_that_another_namespace_still_holds(kind):
    with disk(kind) as mounted:
        (mounted.mount / "kept").write_text("kept")
        subprocess.run(["sync", "-f", mounted.mount], check=True)
        holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
        try:
            holder.stdout.readline()
            mounted.cut_power()
            mounted.boot()
            assert (mounted.mount / "kept").read_text() == "kept"
        finally:
            holder.kill()
            holder.communicate()
