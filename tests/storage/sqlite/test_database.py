"""Opening SQLite: the settings that durability stands on, and migrations that refuse a past that isn't ours."""

from __future__ import annotations

import os

import apsw
import pytest

from fancymail.storage.sqlite import database
from fancymail.storage.sqlite.database import DatabaseError, Step, open_database, require_sqlite, transaction

FIRST = Step("first", "CREATE TABLE one (a INTEGER) STRICT; CREATE INDEX one_a ON one (a)")
SECOND = Step("second", "ALTER TABLE one ADD COLUMN b TEXT")


def test_a_new_database_is_private_and_durable(tmp_path):
    path = tmp_path / "x.db"
    db = open_database(path, (FIRST, SECOND), cache=1 << 20)
    assert path.stat().st_mode & 0o777 == 0o600
    assert db.pragma("journal_mode") == "wal" and db.pragma("synchronous") == 2 and db.pragma("cache_size") == -1024
    with transaction(db):
        db.execute("INSERT INTO one VALUES (1, 'x')")
    assert (tmp_path / "x.db-wal").stat().st_mode & 0o777 == 0o600
    db.close()
    assert list(open_database(path, (FIRST, SECOND)).execute("SELECT * FROM one")) == [(1, "x")]


def test_the_names_of_a_database_and_its_log_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(database.os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    first = open_database(tmp_path / "x.db", (FIRST,))
    assert synced == [str(tmp_path)]
    open_database(tmp_path / "x.db", (FIRST,)).close()
    assert len(synced) == 1
    first.close()                                               # its log is gone, and is made anew
    open_database(tmp_path / "x.db", (FIRST,)).close()
    assert len(synced) == 2


def test_steps_are_applied_once_and_later_ones_added(tmp_path):
    open_database(tmp_path / "x.db", (FIRST,)).close()
    db = open_database(tmp_path / "x.db", (FIRST, SECOND))
    assert [row[0] for row in db.execute("SELECT name FROM migration")] == ["first", "second"]


def test_an_altered_step_is_refused(tmp_path):
    open_database(tmp_path / "x.db", (FIRST,)).close()
    with pytest.raises(DatabaseError, match="step 1 'first' was applied with another text"):
        open_database(tmp_path / "x.db", (Step("first", "CREATE TABLE two (a)"),))


def test_a_newer_database_is_refused(tmp_path):
    open_database(tmp_path / "x.db", (FIRST, SECOND)).close()
    with pytest.raises(DatabaseError, match="newer FancyMail"):
        open_database(tmp_path / "x.db", (FIRST,))


def test_a_failing_step_leaves_nothing_behind(tmp_path):
    with pytest.raises(DatabaseError):
        open_database(tmp_path / "x.db", (FIRST, Step("bad", "CREATE TABLE three (a); SELECT nothing FROM nowhere")))
    db = open_database(tmp_path / "x.db", (FIRST,))
    assert list(db.execute("SELECT name FROM sqlite_master WHERE name = 'three'")) == []


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "x.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match="not an SQLite database"):
        open_database(tmp_path / "x.db", (FIRST,))
    (tmp_path / "link.db").symlink_to(tmp_path / "y.db")
    with pytest.raises(DatabaseError, match="not a regular file"):
        open_database(tmp_path / "link.db", (FIRST,))


def test_an_old_library_is_refused():
    with pytest.raises(DatabaseError, match="3.51.3 or newer"):
        require_sqlite("3.51.2")
    require_sqlite("3.51.3")
    require_sqlite("4.0")


def test_a_transaction_is_all_or_nothing(tmp_path):
    db = open_database(tmp_path / "x.db", (FIRST,))
    with pytest.raises(ZeroDivisionError):
        with transaction(db):
            db.execute("INSERT INTO one VALUES (1)")
            1 / 0
    with pytest.raises(apsw.ConstraintError):
        with transaction(db):
            db.execute("INSERT INTO one VALUES (1)")
            db.execute("INSERT INTO one VALUES ('text')")
    assert list(db.execute("SELECT * FROM one")) == [] and not db.in_transaction


def test_what_only_adds_is_no_obstacle_for_the_version_before(tmp_path):
    before = (Step("first", "CREATE TABLE one (x)"),)
    after = (*before, Step("second", "CREATE TABLE two (x)", additive=True))
    open_database(tmp_path / "a.db", after).close()
    open_database(tmp_path / "a.db", before).execute("INSERT INTO one VALUES (1)")
    open_database(tmp_path / "a.db", (*after, Step("third", "DROP TABLE two"))).close()
    with pytest.raises(DatabaseError, match="newer FancyMail"):
        open_database(tmp_path / "a.db", before)


def test_a_database_of_the_first_version_learns_which_steps_only_add(tmp_path):
    old = apsw.Connection(str(tmp_path / "a.db"))
    step = Step("first", "CREATE TABLE one (x)")
    old.execute("CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT")
    old.execute(step.sql)
    old.execute("INSERT INTO migration VALUES (1, ?, ?)", (step.name, step.checksum))
    old.close()
    db = open_database(tmp_path / "a.db", (step, Step("second", "CREATE TABLE two (x)", additive=True)))
    assert list(db.execute("SELECT number, additive FROM migration")) == [(1, 0), (2, 1)]
