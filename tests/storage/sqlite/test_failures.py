"""Counts of failed logins on disk: kept, replaced, forgotten, bounded; a damaged file is begun anew."""

from __future__ import annotations

import pytest

from fancymail.storage.ports.accounts import StoreFailed
from fancymail.storage.sqlite.failures import SqliteFailures

ROW = ("account", "ab" * 16, 3, 1000.0, 1010.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logins.db"


def test_rows_are_there_for_the_next_process(path):
    failures = SqliteFailures(path)
    failures.keep([ROW, ("address", "192.0.2.1/32", 1, 900.0, 0.0)])
    failures.keep([(*ROW[:2], 4, 1001.0, 1020.0)])
    beside = SqliteFailures(path)                       # the first one was never closed: its process was killed
    assert beside.rows({}) == [(*ROW[:2], 4, 1001.0, 1020.0), ("address", "192.0.2.1/32", 1, 900.0, 0.0)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_old_rows_are_forgotten_unless_somebody_waits(path):
    failures = SqliteFailures(path)
    failures.keep([("account", "old", 3, 10.0, 20.0), ("account", "waits", 3, 10.0, 2000.0), ("network", "home", 0, 9.0, 0.0), ROW])
    assert [row[1] for row in failures.rows({"account": 500.0, "network": 5.0})] == [ROW[1], "waits", "home"]
    failures.forget([ROW[:2], ("account", "unknown")])
    assert [row[1] for row in failures.rows({})] == ["waits", "home"]
    failures.forget(None)
    assert [row[0] for row in failures.rows({})] == ["network"]


def test_the_newest_stay_when_there_are_too_many(path):
    failures = SqliteFailures(path, most=100)
    for start in range(0, 3000, 50):
        failures.keep([("account", str(number), 1, float(number), 0.0) for number in range(start, start + 50)])
    assert len(SqliteFailures(path, most=5000).rows({})) <= 1100
    assert [row[1] for row in failures.rows({})] == [str(number) for number in range(2999, 2899, -1)]


def test_a_damaged_file_is_begun_anew(path):
    SqliteFailures(path).close()
    path.write_bytes(b"no database at all" * 500)
    failures = SqliteFailures(path)
    assert failures.rows({}) == []
    failures.keep([ROW])
    assert failures.rows({}) == [ROW]


def test_what_sqlite_refuses_is_one_error(path):
    failures = SqliteFailures(path)
    with pytest.raises(StoreFailed):
        failures.keep([("account", "x", "many", 0.0, 0.0)])
    failures.keep([ROW])
