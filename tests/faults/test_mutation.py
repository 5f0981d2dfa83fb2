"""The laboratory proves itself: it catches builds that are broken on purpose, and its list of durable calls is the code's."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.faults.crash_states import Record
from tests.faults.judge import verdicts
from tests.faults.laboratory import Laboratory
from tests.faults.mutants import ROOT, mutants
from tests.faults.mutation import read
from tests.suite_kit import wait_for

# Every seventh delivery is only claimed.
FORGETFUL = """
import fancymail.storage.sqlite.account as account
from fancymail.storage.ports.mailboxes import Delivered
deliver, count = account.SqliteAccount.deliver, 0
def forget(self, deliveries, now):
    global count
    count += 1
    return deliver(self, deliveries, now) if count % 7 else [Delivered(each.mailbox, 1, 1, False) for each in deliveries]
account.SqliteAccount.deliver = forget
"""


@pytest.mark.timeout(300)
def test_a_broken_build_is_caught(tmp_path):
    with Laboratory(tmp_path, prelude=FORGETFUL) as laboratory:
        with laboratory.load():
            wait_for(lambda: len(laboratory.ledger.acked_) >= 200, "mail is accepted")
        with pytest.raises(AssertionError, match="lost [1-9]"):
            laboratory.reckon(broken=True)


def test_every_durable_call_is_in_the_table():
    table = read()
    assert not [mutant.name for mutant in mutants() if mutant.name not in table], "run `python -m tests.faults.mutation --missing` (or --list)"
    assert not [name for name, found in table.items() if found.startswith(("NOTHING", "only "))], "the laboratory itself must notice each"


def test_the_tests_that_the_table_names_are_there():
    named = {match.groups() for found in read().values() if (match := re.search(r"`(\S+?)::(\w+)", found))}
    assert len(named) > 5
    assert not [(file, name) for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.timeout(900)
def test_a_missing_sync_is_noticed(tmp_path):
    """Of those that the table says so of, the first few: all of them are tried by tests/faults/mutation.py."""
    names = [name for name, found in read().items() if found.startswith("power cut, as it is")]
    day = Record(tmp_path / "day", marked=True)
    tried = [mutant.name for mutant in mutants() if mutant.name in names and mutant.name in day.places()][:4]
    assert tried
    for name in tried:
        assert any(broken for _, broken in verdicts(day, without=name)), name
