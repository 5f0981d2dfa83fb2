"""`bin/test --fuzz` as a command: it fuzzes what it is told to, keeps what it learned, and prints what it ran. Where atheris is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_a_few_seconds(tmp_path):
    pytest.importorskip("atheris", reason="atheris is not installed: bin/test --fuzz does that")
    done = subprocess.run([sys.executable, ROOT / "bin" / "test", "--fuzz", "0.05", "words"], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"FUZZ_FOLDER": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head[:2] == ["target", "executions"] and [row[0] for row in rows] == ["words"]
    assert all(int(row[1]) > 100 and row[-1] == "nothing" for row in rows) and any((tmp_path / "words" / "inputs").iterdir())
