"""A test that cannot be ended does not hold up the others, and is named (tests/conftest.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFTEST = "from tests import conftest\nfrom tests.conftest import *\nconftest.GRACE = 0.5\n"
HANGING = """
import pathlib, time, pytest

@pytest.mark.timeout(%s)
def test_hangs():
    pathlib.Path("begun").touch()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def test_is_quick():
    pass
"""


@pytest.fixture
def begin(tmp_path):
    """Run tests of which the first hangs."""
    processes = []

    def begin(timeout: float) -> subprocess.Popen:
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_these.py").write_text(HANGING % timeout)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "1", "--rootdir", tmp_path, "--basetemp", tmp_path / "base"]
        processes.append(subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True))
        return processes[0]
    yield begin
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()


def test_its_process_ends_and_the_next_test_runs(begin):
    told, _ = begin(0.5).communicate(timeout=60)
    assert "in test_hangs" in told                      # where it stood
    assert "test_these.py::test_hangs" in told and "1 failed, 1 passed" in told


def test_who_interrupts_is_told_what_ran(begin, tmp_path):
    process = begin(60)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert "still running" in told and "test_these.py::test_hangs" in told.split("still running")[1]
