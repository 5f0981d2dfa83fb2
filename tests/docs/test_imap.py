"""docs/imap.md: every command is on it, and its limits are those of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from fancymail.mail.imap.sequence import MOST_RANGES
from fancymail.mail.mailbox import DEEPEST_NAME, LONGEST_NAME
from fancymail.protocol.imap import cursor, search
from fancymail.protocol.imap.grammar import APPENDING, RULES
from fancymail.protocol.imap.options import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "imap.md").read_text(encoding="utf-8")
L = Limits()


def rows(title: str) -> dict[str, str]:
    """The table of a section: first column -> the rest."""
    section = PAGE.partition(title)[2].partition("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    return {row[0].strip(): " ".join(row[1:]) for row in cells}


def test_every_command_is_there():
    words = set(" ".join(rows("## 1.").values()).replace(",", " ").split())
    assert {word for name in (*RULES, *APPENDING, "CAPABILITY", "LOGOUT", "STARTTLS", "AUTHENTICATE") for word in name.split()} <= words


@pytest.mark.parametrize("what, numbers", [
    ("a line, without literals", (L.line, L.line_before_login)), ("a literal that is no message", (L.literal, L.literal_before_login)),
    ("a command with its literals", (L.command,)), ("a refused literal that nobody waited for (`{n+}`)", (L.swallow, L.literal)),
    ("nesting of search keys", (L.depth,)), ("search keys of one command", (L.keys,)),
    ("items, header names, patterns, entries, parts in a list", (L.items,)), ("ranges of a sequence set, joined", (MOST_RANGES,)),
    ("messages of one APPEND", (L.messages,)), ("a string that is searched for", (search.LONGEST_TEXT,)),
    ("a mailbox name", (LONGEST_NAME, DEEPEST_NAME)), ("a keyword", (cursor.LONGEST_KEYWORD,)), ("BADs in a row", (L.errors,)),
    ("failed logins", (L.login_failures,))])
def test_limits(what, numbers):
    told = rows("## 2.")[what]
    assert all(f"{number:,}" in told for number in numbers)
    assert L.abuse == 1024 * 1024
