"""bin/bench: run the parts, keep what came out in bench/results/, and write the tables and figures of docs/performance.md.

    bin/bench                          all parts, one after the other (about half an hour)
    bin/bench smtp relay --rounds 5    some of them
    bin/bench --quick smtp             a tenth of the work and one round, to see that it goes; keeps and writes nothing
    bin/bench --page                   the tables and figures anew, from the results that are kept
    bin/bench --check                  the same, but only say whether something would change
Needs root, Linux, and apt-get (the peers' packages are unpacked into build/peers once; nothing is installed).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from bench import page
from bench import result as results
from bench.packages import PEERS, Packages, PackagesMissing
from bench.turns import Bench
from bench.works import PARTS


def main() -> None:
    """Do what the command line says."""
    options = parsed()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))     # so that servers are stopped and folders removed
    if options.check:
        sys.exit(checked())
    if not options.page:
        measure(options)
    if not options.quick:
        for path in page.write():
            print(f"written: {path.relative_to(page.ROOT)}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="little work, one round, nothing is kept")
    parser.add_argument("--folder", type=Path, help="a folder on the filesystem to be measured (default: the temporary directory)")
    parser.add_argument("--plain", action="store_true", help="fresh folders, not fresh filesystems (ext4 in an image) for each server")
    parser.add_argument("--peers", type=Path, default=page.ROOT / "build/peers", help="where the peers' packages are unpacked")
    parser.add_argument("--page", action="store_true", help="write tables and figures from the results that are kept")
    parser.add_argument("--check", action="store_true", help="say whether tables and figures are those of the results")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if os.geteuid() and not (options.page or options.check):
        parser.error("needs root: the peers drop to accounts of their own, and run in mount namespaces")
    return options


def measure(options: argparse.Namespace) -> None:
    """Run the parts; a part's result is kept as soon as it is there."""
    packages = Packages(options.peers)
    try:
        bench = Bench(packages, options.rounds, options.quick, options.folder, options.plain)
        for part in options.parts or PARTS:
            began, machine = time.monotonic(), results.machine(versions(packages, part))
            bench.say(f"{part}:")
            result = results.Result(part=part, taken=results.today(), machine=machine, rows=PARTS[part].run(bench))
            bench.say(f"{part}: {time.monotonic() - began:.0f} s")
            if options.quick:
                print(f"\n{PARTS[part].page(result)}\n")
            else:
                results.write(result)
    except PackagesMissing as error:
        sys.exit(f"bench: {error}")


def versions(packages: Packages, part: str) -> dict[str, str]:
    """Return the versions of the peers that a part measures beside (`PEERS` of its module)."""
    peers = getattr(PARTS[part], "PEERS", ("postfix",))
    return {name: version for peer in peers if peer in PEERS for name, version in packages.versions(peer).items() if name in PEERS[peer]}


def checked() -> int:
    """Compare page and figures with the results; return the exit code."""
    stale = [path for path, text in page.wanted().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{path.relative_to(page.ROOT)}: is not what the results say; run bin/bench --page")
    return 1 if stale else 0


if __name__ == "__main__":
    main()
