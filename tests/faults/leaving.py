"""A day on which an installation on files, whose mail is in a cluster by now, is put aside; recorded, and cut off at every moment.

    python -m tests.faults.leaving live FOLDER          # the day; the installation is FOLDER/disk/target, the ledger FOLDER/ledger
    python -m tests.faults.leaving FOLDER               # records it, and prints what is broken; exit code 1

The files stay whole until the operator deletes them: where they were, or put aside. From `left` on no daemon may begin with them, and once they
were put aside (`aside`) the folder is free for a node, for good. Each state is gone on with as the command would.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.faults import mutated            # first: what follows may be altered by it
from fancymail.base.settings import Paths, Settings
from fancymail.servers.moving.files import PARTS, FilesSource, put_aside
from fancymail.servers.moving.settled import folder_of, require_settled
from fancymail.storage.sync import Syncer
from tests.faults import moving
from tests.faults.crash_states import Record
from tests.faults.ledger import Ledger


def live(folder: Path) -> None:
    """It leaves, with a word in the ledger at each point of it."""
    state = folder / "disk" / "target"
    moving.furnish(state)
    moving.picture(Paths(state))            # what waits has rows from then on
    folder_of(state).mkdir(mode=0o700)
    _settle(folder / "disk")
    ledger = Ledger(folder / "ledger")
    ledger.write("furnished")
    with closing(FilesSource(Paths(state), Settings())) as source, moving.visited(lambda name: ledger.write("at", name)):
        source.left()
        ledger.write("left")
        source.end()
        ledger.write("aside")


def _settle(folder: Path) -> None:
    """All of it was there long before."""
    descriptor = os.open(folder, os.O_RDONLY)
    Syncer(descriptor).everything()
    os.close(descriptor)


def broken(wanted: tuple, lines: list[str], target: Path) -> str:
    """What is wrong with a state, once it was gone on with; "" when nothing is."""
    paths = Paths(target)
    try:
        if "left" in lines and moving.would_begin(paths):
            return "daemons would begin with what is elsewhere by now"
        if "aside" in lines:
            require_settled(paths, clustered=True)
        lies = put_aside(paths) or next(target.glob("moved-*"), target)
        if moving.picture(Paths(lies)) != wanted:
            return "something is missing, or is not as it was"
    except Exception as error:          # whatever it is: the operator is left alone with it
        return f"cannot be gone on with: {type(error).__name__}: {error}"
    return "it is where a node begins" if (lies != target or "aside" in lines) and any((target / part).exists() for part in PARTS) else ""


def verdicts(record: Record, folder: Path):
    """As those of a move."""
    state = folder / "day" / "disk" / "target"
    wanted = moving.picture(Paths(next(state.glob("moved-*/mail"), state / "mail").parent))
    return moving.each_state(record, partial(broken, wanted), begin="furnished")


if __name__ == "__main__":
    assert mutated
    if sys.argv[1] == "live":
        live(Path(sys.argv[2]))
    else:
        sys.exit(moving.main(Path(sys.argv[1]), "leaving", verdicts))
