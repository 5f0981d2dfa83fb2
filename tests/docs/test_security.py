"""docs/security.md is true: its table of attacks is the catalogue's, the catalogue names every test, and the numbers are not too high."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from fancymail.servers.running.launch import DAEMONS
from tests.attacks.catalogue import CATALOGUE, PAGE, rewritten

ROOT = Path(__file__).parents[2]
LETTERS = "ABCDEFGHIJKLMNOP"


def written() -> set[tuple[str, str]]:
    """(file, test) of all in tests/attacks."""
    found = set()
    for path in (ROOT / "tests" / "attacks").glob("test_*.py"):
        names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        found |= {(path.stem.removeprefix("test_"), name.removeprefix("test_")) for name in names if name.startswith("test_")}
    return found


def test_every_attack_belongs_to_a_class():
    named = {(file, name) for entry in CATALOGUE.values() for file, names in entry.tests.items() for name in names.split()}
    assert named == written()
    assert set(LETTERS) <= set(CATALOGUE)


def test_every_class_is_tried_or_says_why_not():
    for letter, entry in CATALOGUE.items():
        assert entry.tests or entry.further == "not built yet", letter
        for path in re.findall(r"tests/[\w/.]+", entry.further):
            assert (ROOT / path).exists(), path


def test_the_table_is_the_catalogues():
    page = PAGE.read_text()
    assert page == rewritten(page), "python -m tests.attacks.catalogue writes it anew"


def test_the_page_names_every_daemon_and_claims_no_more_cases_than_there_are():
    page = PAGE.read_text()
    assert all(f"`fm-{name}`" in page for name in DAEMONS)
    (claimed,) = re.findall(r"([0-9,]+) cases", page)
    command = [sys.executable, "-m", "pytest", "tests/attacks", "--collect-only", "-q", "-o", "addopts=--import-mode=importlib"]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    counted = collected.count("::") or sum(int(number) for number in re.findall(r"^tests/attacks/\S+: ([0-9]+)$", collected, re.MULTILINE))
    assert counted >= int(claimed.replace(",", "")) >= 300, counted
