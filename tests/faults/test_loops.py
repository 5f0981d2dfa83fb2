"""Under load things go wrong, over and over: nothing that got 250 is lost, invented, damaged, or twice in a local mailbox.

The short form runs with every test run; `bin/test --faults` runs the long one, with one seed after the other (tests/faults/length.py). The seed is
in the name of each test and in what it prints; the same seed does the same things to the suite.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults import faults
from tests.faults.laboratory import Laboratory
from tests.faults.length import FIRST, SECONDS, SEEDS
from tests.faults.network import Network

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def run(folder, fault, seed: int, seconds: float, least: int = 10, **options) -> Laboratory:
    with Laboratory(folder, seed=seed, **options) as laboratory:
        with laboratory.load():
            fault(laboratory, seconds)
        laboratory.reckon(least)
    return laboratory


def parameters(*kinds):
    """The short form of each kind, and the long one with many seeds."""
    marks = [pytest.mark.slow, pytest.mark.seeded]
    short = [pytest.param(kind, 1, 5.0, id=f"{kind.__name__}-seed1", marks=pytest.mark.seeded) for kind in kinds]
    long = [pytest.param(kind, seed, SECONDS, id=f"{kind.__name__}-seed{seed}", marks=marks) for kind in kinds for seed in SEEDS]
    return pytest.mark.parametrize("fault, seed, seconds", short + long)


pytestmark = pytest.mark.timeout(1800)


@parameters(faults.kill_in_turn, faults.kill_all_at_once, faults.freeze, faults.lose_the_network, faults.kill_and_freeze_and_cut)
def test_processes_and_lines(tmp_path, fault, seed, seconds):
    run(tmp_path, fault, seed, seconds)


@parameters(faults.lose_the_network)
def test_a_network_of_its_own(tmp_path, fault, seed, seconds):
    run(tmp_path, fault, seed, seconds, line=Network)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@parameters(faults.refuse_system_calls)
def test_refused_system_calls(tmp_path, fault, seed, seconds):
    run(tmp_path, fault, seed, seconds)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("seed", [FIRST])
def test_each_system_call_refused(tmp_path, seed):
    run(tmp_path, faults.refuse_each_call, seed, 0)


@parameters(faults.kill_at_points)
def test_named_points(tmp_path, fault, seed, seconds):
    # The trigger is a file that every daemon reads and removes, so that none may be shut in.
    laboratory = run(tmp_path, fault, seed, seconds, prelude=faults.ARMED % str(tmp_path / "trigger"), config='[server]\ncontainment = "off"\n')
    died = {point.removeprefix("at ") for point, count in laboratory.count.items() if count}
    assert died >= set(faults.points()) - faults.RARE, f"of {faults.points()} nobody died but at {died}"


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@parameters(faults.kill_in_turn)
def test_short_writes(tmp_path, fault, seed, seconds):
    """SQLite's, too."""
    library = tmp_path / "short.so"
    subprocess.run(["cc", "-O", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("short.c"), "-ldl"], check=True)
    run(tmp_path, fault, seed, seconds, environment={"LD_PRELOAD": str(library)})


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
@parameters(faults.step_the_clock)
def test_the_clock(tmp_path, fault, seed, seconds):
    environment = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"), "FAKETIME_NO_CACHE": "1",
                   "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
    run(tmp_path, fault, seed, seconds, environment=environment)


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs with room for all that the load brings, and not for much more: mail that really finds no room stays queued, and that is no fault."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g,nr_inodes=30000", "fancymail-test", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
@parameters(faults.fill_the_disk)
def test_full_disk(tmp_path, small_disk, fault, seed, seconds):
    run(tmp_path, fault, seed, seconds, state=small_disk / "state", least=3)
