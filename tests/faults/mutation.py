"""The proof is proven: each durable call is taken out in turn, and something must notice. Writes the table of docs/reliability.md.

    python -m tests.faults.mutation                 # all mutants
    python -m tests.faults.mutation WORD...         # those whose name has a word in it; --missing: those not tried yet
    python -m tests.faults.mutation --list          # try none, bring the list in step with the code

Three days are recorded, and judged as if the syncs of one place in the code had not been made. Where that does not do (a rename, a check,
a PRAGMA, a wait for a sync that another thread makes), damage is done and days are lived with the call taken out of the code. Only where the
laboratory notices nothing are the tests of the parts asked; the table says so, and a test that there is no such line. What nothing notices stands
in it as an open wound.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults import parts
from tests.faults.crash_states import STATES, Record
from tests.faults.judge import verdicts
from tests.faults.mutants import ROOT, Mutant, mutants
from tests.faults.mutated import VARIABLE
from tests.faults.test_crash_states import WAYS

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- mutants: written by python -m tests.faults.mutation -->", "<!-- end of mutants -->"
OPEN = "not tried yet"
MOVES = {"a move": "moving", "a move away": "leaving"}
DAMAGE = [f"tests/faults/test_{name}.py" for name in ("parts", "full", "damage", "reuse")]
PARTS = ["tests/storage/test_slots.py", "tests/storage/test_spool.py", "tests/storage/test_blobs.py", "tests/storage/test_shard.py",
         "tests/storage/sqlite", "tests/contracts/test_blobs.py", "tests/contracts/test_queue_index.py", "tests/core/test_queue.py",
         "tests/core/test_queue_aside.py", "tests/core/test_queue_desk.py", "tests/core/test_queue_settle.py", "tests/core/test_commit.py",
         "tests/core/test_stowage.py", "tests/contracts/test_moving.py", "tests/core/test_queue_audit.py", "tests/servers/queue/test_queue.py",
         "tests/servers/mailbox/test_uploads.py",
         "tests/servers/mailbox/test_delivery.py", "tests/servers/mailbox/test_mailbox.py", "tests/servers/smtpin/test_outbox.py",
         "tests/servers/smtpout/test_outgoing.py"]


def main(words: list[str]) -> None:
    """Try them one after the other, writing the table down after each."""
    table = read()
    if "--list" in words:
        return write(table)
    chosen = [mutant for mutant in mutants() if not words or any(word in mutant.name for word in words)
              or "--missing" in words and table.get(mutant.name, OPEN) == OPEN]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        ways = WAYS if any(mutant.kind == "sync" and "moving" not in mutant.file for mutant in chosen) else {}
        days = [(way, Record(Path(folder, str(number)), prelude, marked=True)) for number, (way, prelude) in enumerate(ways.items())]
        for way, day in days:
            assert day.ended == 0, f"{way}: {day.said}"
        for mutant in sorted(chosen, key=lambda mutant: mutant.kind != "sync"):        # these are soon done
            table[mutant.name] = killer(mutant, days)
            print(f"{mutant.name} | {table[mutant.name]}", flush=True)
            write(table)


def killer(mutant: Mutant, days: list[tuple[str, Record]]) -> str:
    """What notices that this call is gone."""
    if "moving" in mutant.file:
        return _moves(mutant) or _only(mutant)
    if mutant.kind == "sync" and (found := _unsynced(mutant, days)):
        return found
    on_record = any(mutant.name in day.places() for _, day in days)     # then a day without it shows no more than that
    tries = [_damage] if mutant.kind == "check" or on_record else [_damage, _crashes]
    for attempt in tries:
        if found := attempt(mutant):
            return found
    return _only(mutant)


def _moves(mutant: Mutant) -> str:
    """A move without this call (tests/faults/moving.py, leaving.py), or a damaged one."""
    if mutant.kind == "check":
        return _tests(mutant, ["tests/faults/test_moving.py", "-k", "switched_to"])
    for day, name in MOVES.items():
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            done = _run(mutant, [sys.executable, "-m", f"tests.faults.{name}", folder])
        if done.returncode:
            return _told(day, (done.stdout.strip().splitlines() or [done.stderr.strip()[-80:]])[-1])
    return ""


def _only(mutant: Mutant) -> str:
    """What is left where the laboratory notices nothing: a test of the part."""
    return f"only {found}" if (found := _parts(mutant)) else "NOTHING"


def _unsynced(mutant: Mutant, days: list[tuple[str, Record]]) -> str:
    """The days that are on record, and those of single engines, as if the syncs of this place had not been made."""
    for way, day in days:
        if mutant.name in day.places():
            for where, broken in verdicts(day, without=mutant.name, kinds=STATES[:2]):     # the worst ones
                if broken:
                    return _told(way, f"{where}: {broken[0]}")
    for name in parts.PARTS:
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            day = parts.record(Path(folder), name)
            if mutant.name in day.places():
                for where, broken in parts.verdicts(day, name, mutant.name):
                    if broken:
                        return _told(f"{name} by itself", f"{where}: {broken}")
    return ""


def _crashes(mutant: Mutant) -> str:
    """A day without this call."""
    for way, prelude in WAYS.items():
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            done = _run(mutant, [sys.executable, "-m", "tests.faults.judge", folder, prelude])
        if done.returncode:
            return _told(way, (done.stdout.strip().splitlines() or ["the day did not end"])[-1])
    return ""


def _told(way: str, said: str) -> str:
    said = re.sub(r"\b([0-9a-f]{16}|[a-z2-7]{26}|[0-9a-f]{64})\b", "#", said).partition(";")[0]
    return f"power cut, {way}: {said[:110]}".replace("|", "/")


def _damage(mutant: Mutant) -> str:
    return _tests(mutant, DAMAGE)


def _parts(mutant: Mutant) -> str:
    return _tests(mutant, PARTS)


def _tests(mutant: Mutant, files: list[str]) -> str:
    words = ["-m", "pytest", "-p", "tests.faults.mutated", "-p", "no:cacheprovider", "-x", "-q", "-m", "not slow", *files]
    done = _run(mutant, [sys.executable, *words])
    failed = re.search(r"^(?:FAILED|ERROR) tests/(.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return f"`{failed[1]}`" if failed else "" if done.returncode == 0 else f"the tests end: {done.stdout[-80:]!r}"


def _run(mutant: Mutant, words: list) -> subprocess.CompletedProcess:
    environment = os.environ | {VARIABLE: mutant.name, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def read(page: Path = PAGE) -> dict[str, str]:
    """The table as it stands: mutant -> what notices it."""
    part = page.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line.strip("| ").split(" | ", 1) for line in part.splitlines() if line.startswith("| `")]
    return {name.strip("`").replace("\\|", "|"): found for name, found in rows}


def write(table: dict[str, str], page: Path = PAGE) -> None:
    """Put the table into the page, in the order of the code; what is no more is left out, what is new is open."""
    rows = [f"| `{mutant.name.replace('|', chr(92) + '|')}` | {table.get(mutant.name, OPEN)} |" for mutant in mutants()]
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text("\n".join([f"{before}{BEGIN}", "| taken out | noticed by |", "|---|---|", *rows, f"{END}{after}"]))


if __name__ == "__main__":
    main(sys.argv[1:])
