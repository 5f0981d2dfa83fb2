"""The long form as one command: a line for each loop, the sums at the end, and an exit code that says whether something was found."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.faults.mutants import ROOT

LOOPS = """
import pytest
from tests.faults.length import SEEDS
from tests.faults.report import tell

def test_quiet():
    pass

@pytest.mark.slow
@pytest.mark.seeded
@pytest.mark.parametrize("seed", SEEDS)
def test_loop(seed):
    tell(f"ledger of {seed}", acked=seed, lost=int(seed == 9))
    assert seed != 9, "one is lost"

@pytest.mark.slow
@pytest.mark.seeded
def test_elsewhere():
    pytest.skip("there is no such machine")
"""


def campaign(folder, *words: str) -> tuple[int, list[str]]:
    (folder / "test_loops.py").write_text(LOOPS)
    done = subprocess.run([sys.executable, "-m", "tests.faults.campaign", *words, folder / "test_loops.py"], cwd=ROOT, text=True, timeout=100,
                          env=os.environ | {"FAULTS_FOLDER": str(folder)}, stdout=subprocess.PIPE)
    return done.returncode, done.stdout.splitlines()


def test_rounds_go_on_seed_by_seed(tmp_path):
    code, lines = campaign(tmp_path, "--seed", "5", "--seeds", "2")
    assert code == 0
    assert "--seed 5" in lines[0] and [line for line in lines if line.startswith("round")] == ["round with seed 5", "round with seed 6"]
    assert sum("ledger of 5" in line or "ledger of 6" in line for line in lines) == 2
    assert sum(line.startswith("skipped") and line.endswith("there is no such machine") for line in lines) == 2
    assert lines[-1].startswith("seeds 5 to 6: acked 11, lost 0,") and "3 passed, 0 failed, 2 skipped" in lines[-1]


def test_what_was_found_is_said_and_is_the_exit_code(tmp_path):
    code, lines = campaign(tmp_path, "--seed", "9", "--seeds", "1")
    assert code == 1
    assert [line for line in lines if line.startswith("FAILED") and "ledger of 9" in line and "one is lost" in line]
    assert "lost 1," in lines[-1] and "1 failed" in lines[-1]


def test_no_round_is_begun_when_the_time_is_over(tmp_path):
    code, lines = campaign(tmp_path, "--minutes", "0")
    assert code == 0 and lines[-1].startswith("no seeds: ") and "1 passed" in lines[-1]
