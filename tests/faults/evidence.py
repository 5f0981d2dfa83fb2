"""What the log of a suite says of messages that were accepted for a mailbox and of which no line says that they came there.

Used by tests/faults/laboratory.py when something is lost: the state folder may be gone when somebody reads of it. A killed daemon takes lines
along that it had not written yet, so a message may be named here that is well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ACCEPTED = re.compile(r" smtpin info accepted id=(\w+) .* to=(\S+)")
ARRIVED = re.compile(r" mailbox info (?:already )?delivered id=(\w+) .*?\bto=(\S+)")
MOST = 60               # lines


def evidence(log: Path, local: tuple[str, ...]) -> list[str]:
    """All lines that name one of these messages, in their order."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    arrived = {match.groups() for line in lines if (match := ARRIVED.search(line))}
    missing = {id for id, recipients in _accepted(lines) if any((id, recipient) not in arrived for recipient in recipients if recipient in local)}
    return [line for line in lines if any(id in line for id in missing)][:MOST]


def _accepted(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    for line in lines:
        if match := ACCEPTED.search(line):
            yield match[1], match[2].split(",")
