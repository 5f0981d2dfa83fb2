"""docs/performance.md and its figures are what the results in bench/results/ say; prose is left alone."""

from __future__ import annotations

import re

import pytest

from bench import page
from bench import result as results
from bench.works import PARTS


def test_tables_and_figures_are_those_of_the_results():
    stale = [str(path.relative_to(page.ROOT)) for path, text in page.wanted().items() if not path.exists() or path.read_text() != text]
    assert not stale, f"run bin/bench --page: {stale}"


def test_what_was_measured_is_shown():
    text = page.PAGE.read_text()
    kept = [path.stem for path in results.RESULTS.glob("*.json")]
    assert not [part for part in kept if f"<!-- bench: {part} -->" not in text]


def test_each_figure_is_on_the_page():
    text = page.PAGE.read_text()
    assert not [path.name for path in page.FIGURES.glob("*.svg") if f"figures/{path.name}" not in text]


def test_markers_are_of_parts_that_there_are():
    assert set(re.findall(r"<!-- bench: (\w+) -->", page.PAGE.read_text())) <= set(PARTS)


def test_only_what_stands_between_markers_changes(monkeypatch):
    monkeypatch.setattr(page, "section", lambda part: f"tables of {part}")
    text = "before\n<!-- bench: smtp -->\nold\n<!-- end of bench: smtp -->\nbetween\n<!-- bench: ipc -->\n<!-- end of bench: ipc -->\nafter\n"
    assert page.made(text) == text.replace("old\n", "tables of smtp\n").replace("ipc -->\n<", "ipc -->\ntables of ipc\n<")


def test_a_part_that_was_not_measured_says_so(monkeypatch):
    monkeypatch.setattr(results, "read", lambda part: None)
    assert page.section("smtp") == page.NOTHING


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_run_and_be_shown(part):
    assert callable(PARTS[part].run) and callable(PARTS[part].page) and PARTS[part].__doc__
