"""Numbered steps by which a database becomes what this version needs, the same for SQLite's files and for PostgreSQL.

An engine opens its database with all the steps that it knows; `missing` says which of them are still to be applied, or why this database is not
for this version. A step has a checksum: once applied its text is frozen. A step that is `additive` (a new table, a new column with a default, an
index) leaves everything in its place for those who do not know it: a node of the version before goes on beside it. Any other step ends that.
Used by storage/sqlite/database.py and storage/postgres/schema.py. It runs no SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple


class DatabaseError(Exception):
    """The database cannot be used; the message says which one and why, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration: a name for people and the SQL that makes it. Applied once, then its text is frozen."""

    name: str
    sql: str
    additive: bool = False      # who does not know the step can work beside it

    @property
    def checksum(self) -> str:
        """What tells whether the text is still the one that was applied."""
        return sha256(self.sql.encode()).hexdigest()


class Applied(NamedTuple):
    """A row of the table `migration`."""

    number: int
    name: str
    checksum: str
    additive: bool


def missing(applied: Sequence[Applied], steps: Sequence[Step], where: str) -> list[tuple[int, Step]]:
    """The steps that a database lacks, with their numbers, in order. Raises DatabaseError when its past isn't ours."""
    for row, step in zip(applied, steps):
        if row.checksum != step.checksum:
            raise DatabaseError(f"{where}: step {row.number} {row.name!r} was applied with another text than our {step.name!r}")
    for row in applied[len(steps):]:
        if not row.additive:
            raise DatabaseError(f"{where}: made by a newer FancyMail (step {row.number} {row.name!r}, this one knows {len(steps)})")
    return list(enumerate(steps, 1))[len(applied):]
