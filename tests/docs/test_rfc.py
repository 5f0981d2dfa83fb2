"""docs/rfc.md: in order, with a verdict for each, pointing to code that is there; whatever IMAP advertises is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fancymail.protocol.imap.options import EXTENSIONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "rfc.md").read_text(encoding="utf-8")
SECTIONS = [section for section in PAGE.split("\n## ")[1:] if "| RFC |" in section]


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table."""
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in section.splitlines() if re.match(r"\| [0-9]", line)]


@pytest.mark.parametrize("section", SECTIONS, ids=[section.partition("\n")[0] for section in SECTIONS])
def test_section(section):
    first = [int(row[0].split(",")[0]) for row in rows(section)]
    assert first and first == sorted(first)
    for numbers, what, verdict, where in rows(section):
        assert re.fullmatch(r"Yes|Partial|No(: .+)?", verdict), numbers
        assert what and bool(where) == (not verdict.startswith("No")), numbers
        for path in filter(None, where.split(", ")):
            assert (ROOT / "fancymail" / path).exists(), path


# Capabilities whose own name does not stand on the page: the words under which it has them.
SAID = {"QUOTA=RES-STORAGE": "RES-STORAGE", "RIGHTS=texk": "RIGHTS=", "METADATA-SERVER": "METADATA"}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_what_imap_advertises_is_there(name):
    assert SAID.get(name, name) in PAGE
