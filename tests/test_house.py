"""The house holds: floors, linters, generated pages, no path of a machine, nothing unfinished."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fancymail.base.settings import reference as settings_reference
from fancymail.ipc.reference import render_page
from fancymail.servers.running.daemon import Daemon
from fancymail.servers.running.launch import DAEMONS, daemon_class

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent


def sources() -> list[Path]:
    """Return every file of ours that a newcomer may read as code."""
    return [path for folder in ("fancymail", "tests", "bench", "docs/examples") for path in (ROOT / folder).rglob("*.py")]


def test_floors():
    run = subprocess.run([SCRIPTS / "lint-imports", "--config", "setup.cfg", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_flake8():
    places = ["fancymail", "tests", "bench", "docs", "bin/_bootstrap.py"]
    run = subprocess.run([sys.executable, "-m", "flake8", *places], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_every_file_says_what_it_is():
    texts = {path.relative_to(ROOT): path.read_text() for path in (ROOT / "fancymail").rglob("*.py")}
    assert not [str(path) for path, text in texts.items() if text.strip() and not text.startswith('"""')]


@pytest.mark.parametrize("pattern", [r"\bTO" r"DO\b", r"\bFIX" r"ME\b", r"\bX" r"XX\b", r"NotImplementedErr" r"or\(", r"/wo" r"rk/"])
def test_nothing_is_left_unfinished(pattern):
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path in sources() for match in re.finditer(pattern, path.read_text())]
    assert not found


def test_who_is_cancelled_ends():
    """asyncio.wait_for of Python 3.11 swallows a cancellation that comes together with what it waits for; asyncio.timeout does not."""
    assert not [str(path) for path in (ROOT / "fancymail").rglob("*.py") if "asyncio.wait_for(" in path.read_text()]


def test_files_stay_readable():
    long = [f"{path.relative_to(ROOT)}: {count}" for path in sources() if (count := path.read_text().count("\n")) > 600]
    assert not long


def test_the_options_of_the_configuration_are_written_out():
    assert (ROOT / "etc/fancymail.toml").read_text() == settings_reference.reference_text()


def test_the_verbs_of_the_ipc_page_are_those_of_the_code():
    page = (ROOT / "docs/ipc.md").read_text()
    assert page == render_page(page, ROOT / "docs", {name: daemon_class(name) for name in DAEMONS}, Daemon)
