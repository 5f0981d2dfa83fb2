"""Fuzz one target with atheris for some seconds: python -m tests.fuzz.run TARGET SECONDS FOLDER

Started by `bin/test --fuzz MINUTES` (tests/fuzz/campaign.py), once per target. What is found is written into FOLDER: a crash, a hang of 10
seconds or 1 GiB of memory is a file there, and belongs into tests/fuzz/corpus once it is mended. libFuzzer's own lines go to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fancymail"]):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 4096              # octets of an input


def main() -> None:
    """Run until the time is over; libFuzzer ends the process."""
    name, seconds, folder = sys.argv[1:]
    place = Path(folder)
    (place / "inputs").mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=1024", f"-artifact_prefix={place}/",
               "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(place / "inputs"), str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
