"""The whole laboratory in one go: python -m tests.faults.campaign [--seeds N] [--minutes N] [--seed S] [what pytest takes]; `bin/test --faults`.

First all that has no seed (computed crash states, the journal of a day, every named point, each system call refused, the proof of the proof), then
rounds: each loop once with the seed, then with the next. Prints a line for every loop as it ends, with what the ledger says, and a last line with
the sums. Ends with 1 when something was found; what the tests said stands in build/faults/ then
(FAULTS_FOLDER names another place).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.report import COUNTED

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("FAULTS_FOLDER", ROOT / "build" / "faults"))
ROUNDS = 2              # seeds, unless told otherwise: with what has no seed about three quarters of an hour on two busy cores
FLAT = "not seeded"     # marks of what is run once
ROUND = "seeded and slow"


class Campaign:
    """Adds up what its parts find."""

    def __init__(self, words: list[str], place: str) -> None:
        """place: a folder for state folders, of no long name: there are sockets in them."""
        self.words, self.place = words or ["tests/faults"], place
        self.began = time.monotonic()
        self.sums: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.quiet: Counter[tuple[str, str]] = Counter()        # tests that told nothing, by file and outcome

    def minutes(self) -> float:
        """Since the beginning."""
        return (time.monotonic() - self.began) / 60

    def part(self, name: str, marks: str, seed: int) -> None:
        """One run of pytest; its own words go to a file."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        reading, writing = os.pipe()
        environment = os.environ | {"FAULTS_REPORT": str(writing), "FAULTS_SEED": str(seed), "FAULTS_SEEDS": "1"}
        command = [sys.executable, "-m", "pytest", "-p", "tests.faults.report", "-p", "no:cacheprovider", "-v", "--timeout", "3600", "-m", marks,
                   "--basetemp", self.place, "-o", "tmp_path_retention_policy=failed"]
        with open(FOLDER / f"{name}.log", "w") as log:
            pytest = subprocess.Popen([*command, *self.words], cwd=ROOT, env=environment, stdout=log, stderr=log, pass_fds=[writing])
            os.close(writing)
            for ended in _lines(reading):
                self._show(ended)
            code = pytest.wait()
        self._show_quiet()
        if code not in (0, 1, 5):           # 5: nothing was chosen
            self.outcomes["failed"] += 1
            print(f"FAILED   pytest ended with {code}: see {FOLDER / name}.log", flush=True)

    def _show(self, ended: dict) -> None:
        outcome, name = ended["outcome"], ended["test"].removeprefix("tests/faults/")
        self.outcomes[outcome] += 1
        for _, counts in ended["told"]:
            self.sums.update(counts)
        if outcome == "passed" and not ended["told"]:
            self.quiet[name.partition("::")[0], outcome] += 1
            return
        told = "; ".join(words for words, _ in ended["told"])
        why = "" if outcome == "passed" else f" {ended['why']}"
        word = outcome.upper() if outcome == "failed" else outcome
        print(f"{word:8} {self.minutes():5.1f} min, took {ended['seconds']:4.0f} s  {name}: {told}{why}", flush=True)

    def _show_quiet(self) -> None:
        for (file, outcome), count in self.quiet.items():
            print(f"{outcome:8} {self.minutes():5.1f} min  {file}: {count} tests", flush=True)
        self.quiet.clear()

    def last_line(self, seeds: str) -> str:
        """The sums."""
        found = ", ".join(f"{word} {self.sums[word]:,}" for word in COUNTED)
        ends = ", ".join(f"{self.outcomes[word]} {word}" for word in ("passed", "failed", "skipped"))
        return f"{seeds}: {found}; {ends}; {self.minutes():.0f} minutes"


def _lines(descriptor: int) -> Iterator[dict]:
    with open(descriptor) as lines:
        for line in lines:
            yield json.loads(line)


def main() -> int:
    """Everything once, then round after round."""
    parser = argparse.ArgumentParser(prog="bin/test --faults", description="Break everything, and count what is lost.")
    parser.add_argument("--seeds", type=int, metavar="N", help=f"so many rounds ({ROUNDS})")
    parser.add_argument("--minutes", type=float, metavar="N", help="begin rounds until so many minutes are over")
    parser.add_argument("--seed", type=int, default=2, metavar="S", help="the seed of the first round (2)")
    options, words = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as place:
        return run(Campaign(words, f"{place}/t"), options)


def run(campaign: Campaign, options: argparse.Namespace) -> int:
    """Go round until it is enough; the exit code."""
    seed = options.seed
    last = seed + (options.seeds or (ROUNDS if options.minutes is None else 1 << 30))
    print(f"seed {seed}: repeat with bin/test --faults --seed {seed}", flush=True)
    campaign.part("once", FLAT, seed)
    while seed < last and (options.minutes is None or campaign.minutes() < options.minutes):
        print(f"round with seed {seed}", flush=True)
        campaign.part(f"seed-{seed}", ROUND, seed)
        seed += 1
    print(campaign.last_line(f"seeds {options.seed} to {seed - 1}" if seed > options.seed else "no seeds"), flush=True)
    return 1 if campaign.outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
