"""The proof is itself proven: the ledger sees each kind of fault."""

from __future__ import annotations

import pytest

from tests.faults.ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def test_all_is_well(ledger):
    name, content = ledger.compose(["a@x.test", "b@x.test"], 500)
    ledger.acked(name)
    ledger.found("a@x.test", b"Received: from y\r\n" + content)
    ledger.found("b@x.test", content)
    verdict = ledger.verdict()
    assert verdict.clean() and verdict.acked == 1 and verdict.delivered == 2


def test_lost(ledger):
    name, content = ledger.compose(["a@x.test", "b@x.test"], 5)
    ledger.acked(name)
    ledger.found("a@x.test", content)
    assert ledger.verdict().lost == [(name, "b@x.test")]


def test_not_acked_is_not_lost(ledger):
    ledger.compose(["a@x.test"], 5)
    assert ledger.verdict().clean()


def test_recovered(ledger):
    _, content = ledger.compose(["a@x.test"], 5)
    ledger.found("a@x.test", content)
    assert ledger.verdict().clean() and ledger.verdict().recovered == 1


def test_duplicated(ledger):
    name, content = ledger.compose(["a@x.test"], 5)
    ledger.found("a@x.test", content)
    ledger.found("a@x.test", content)
    assert ledger.verdict().duplicated == [(name, "a@x.test")]


@pytest.mark.parametrize("change", [lambda c: c[:-2], lambda c: c + b"x", lambda c: c.replace(b"..two", b".two"), lambda c: c[:-3] + b"z\r\n"])
def test_damaged(ledger, change):
    name, content = ledger.compose(["a@x.test"], 500)
    ledger.found("a@x.test", change(content))
    assert ledger.verdict().damaged == [(name, "a@x.test")]


def test_unexpected(ledger):
    _, content = ledger.compose(["a@x.test"], 5)
    ledger.found("c@x.test", content)
    ledger.found("a@x.test", b"Subject: nobody wrote this\r\n\r\n")
    assert len(ledger.verdict().unexpected) == 2
