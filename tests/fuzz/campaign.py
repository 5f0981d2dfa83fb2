"""Fuzz every target by turns: python -m tests.fuzz.campaign MINUTES [TARGET ...]; `bin/test --fuzz MINUTES` starts it.

The minutes are shared among the targets. Prints a table of what was run and ends with 1 when something was found: the inputs are then below
fuzz/ beside the checkout's build folder (FUZZ_FOLDER names another place). What a run learned stays there for the next one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("FUZZ_FOLDER", ROOT / "build" / "fuzz"))


def fuzz(name: str, seconds: int) -> dict[str, str]:
    """Run one target in a process of its own, whatever happens to it; return what libFuzzer counted."""
    place = FOLDER / name
    place.mkdir(parents=True, exist_ok=True)
    known = set(place.iterdir())
    with open(place / "last.log", "w") as log:
        command = [sys.executable, "-m", "tests.fuzz.run", name, str(seconds), str(place)]
        code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, timeout=seconds + 300).returncode
    said = (place / "last.log").read_text(errors="replace")
    facts = dict(re.findall(r"stat::(\w+): +(\d+)", said))
    found = sorted(path.name for path in set(place.iterdir()) - known if path.name not in ("inputs", "last.log"))
    return {"executions": facts.get("number_of_executed_units", "0"), "a second": facts.get("average_exec_per_sec", "0"),
            "peak MiB": facts.get("peak_rss_mb", "0"), "found": ", ".join(found) or ("" if code == 0 else f"ended with {code}, see last.log")}


def main() -> int:
    """Share the time, print the table."""
    minutes, names = float(sys.argv[1]), sys.argv[2:] or list(TARGETS)
    seconds = max(int(minutes * 60 / len(names)), 1)
    print(f"{'target':14}{'executions':>12}{'a second':>10}{'peak MiB':>10}  found", flush=True)
    found = 0
    for name in names:
        row = fuzz(name, seconds)
        found += bool(row["found"])
        print(f"{name:14}{row['executions']:>12}{row['a second']:>10}{row['peak MiB']:>10}  {row['found'] or 'nothing'}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
