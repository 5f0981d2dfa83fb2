"""Single engines, each lived through by itself and cut off at every moment: no neighbour that syncs the same folder comes to its help.

    python -m tests.faults.parts live-NAME FOLDER       # the day of one; its files in FOLDER/disk/target, the ledger in FOLDER/ledger

Each `kept` in the ledger is a promise of the engine's port. Nobody syncs a folder but our own code: SQLite can be built so that it does not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from math import inf
from pathlib import Path

from tests.faults import mutated            # first: what follows may be altered by it
from fancymail.base.settings import Paths, Settings
from fancymail.servers.auth.daemon import AuthServer
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.migrations import Step
from fancymail.storage.ports.queue import Entry
from fancymail.storage.sqlite.accounts import SqliteAccounts
from fancymail.storage.sqlite.database import open_database, transaction
from fancymail.storage.sqlite.queue import SqliteQueueIndex, set_aside
from fancymail.storage.sync import Syncer
from tests.faults.crash_states import Record
from tests.faults.ledger import Ledger
from tests.faults.moving import each_state

STEPS = (Step("kept", "CREATE TABLE kept (word TEXT NOT NULL) STRICT"),)
CONTENT = b"Subject: kept\r\n\r\n" + b"and so on\r\n" * 9000
Keep = Callable[[str], None]


def live_database(folder: Path, keep: Keep) -> None:
    """Rows in a database, and in the same one opened again: its log is another file then."""
    for word in ("first", "second"):
        with closing(open_database(folder / "x.db", STEPS)) as db:
            with transaction(db):
                db.execute("INSERT INTO kept VALUES (?)", (word,))
            keep(word)
        keep(word)


def look_database(folder: Path) -> set[str]:
    with closing(open_database(folder / "x.db", STEPS)) as db:
        return {word for (word,) in db.execute("SELECT word FROM kept")}


def live_index(folder: Path, keep: Keep) -> None:
    """Rows of the queue's index, whose log is synced by the spool; opened again, and again."""
    descriptor = os.open(folder, os.O_RDONLY)
    for id in ("a" * 26, "b" * 26, "c" * 26):
        with closing(SqliteQueueIndex(folder / "index.db")) as index:
            index.add([Entry(id=id, queue="incoming", pushed=1.0, size=1, sha256=b"", bare=False, sender="", recipients="", count=1)])
            Syncer(descriptor).files([str(folder / "index.db-wal")])
            keep(id)
        keep(id)


def look_index(folder: Path) -> set[str]:
    with closing(SqliteQueueIndex(folder / "index.db")) as index:
        return index.known(id * 26 for id in "abc")


def live_aside(folder: Path, keep: Keep) -> None:
    """A damaged index, put aside: what begins anew begins without it, or would go on with what is damaged."""
    SqliteQueueIndex(folder / "index.db").close()
    descriptor = os.open(folder, os.O_RDONLY)
    Syncer(descriptor).everything()
    set_aside(folder / "index.db")
    keep("aside")


def look_aside(folder: Path) -> set[str]:
    return {"aside"} if not (folder / "index.db").exists() and (folder / "index.db.damaged").exists() else set()


def live_blobs(folder: Path, keep: Keep) -> None:
    """A content in a store that is new, in a folder that is not."""
    with closing(FileBlobs(folder / "blobs")) as blobs:
        incoming = blobs.incoming()
        incoming.write(CONTENT)
        blob = incoming.finish()
        blobs.sync()
        keep(blob.hash.hex())


def look_blobs(folder: Path) -> set[str]:
    with closing(FileBlobs(folder / "blobs")) as blobs:
        return {blob.hex() for part in range(blobs.parts) for blob in blobs.stale(part, inf) if blobs.verify(blob)}


def live_accounts(folder: Path, keep: Keep) -> None:
    """A domain, by fm-auth, which makes its files while it may and then writes into them."""
    paths = Paths(folder)
    AuthServer(Settings(), paths).prepare()
    with closing(SqliteAccounts(paths.accounts)) as accounts:
        accounts.add_domain("example.test")
        keep("example.test")
    keep("example.test")


def look_accounts(folder: Path) -> set[str]:
    with closing(SqliteAccounts(Paths(folder).accounts)) as accounts:
        return set(accounts.domains())


PARTS = {"accounts": (live_accounts, look_accounts), "database": (live_database, look_database), "index": (live_index, look_index),
         "aside": (live_aside, look_aside), "blobs": (live_blobs, look_blobs)}


def record(folder: Path, name: str) -> Record:
    """The day of an engine."""
    return Record(folder, marked=True, words=["tests.faults.parts", f"live-{name}", folder / "day"])


def verdicts(day: Record, name: str, without: str = "") -> Iterator[tuple[str, str]]:
    """After each promise, for each state: (where, what is broken)."""
    def judge(lines: list[str], folder: Path) -> str:
        try:
            found = PARTS[name][1](folder)
        except Exception as error:          # whatever it is: it cannot be read
            return f"cannot be opened: {type(error).__name__}: {error}"
        lost = {line.split(" ")[1] for line in lines if line.startswith("kept ")} - found
        return f"lost: {' '.join(sorted(lost))}" if lost else ""
    return each_state(day, judge, begin="begun", without=without, alone=True)


def main(name: str, folder: Path) -> None:
    """Live through it, in a folder that was there long before."""
    target = folder / "disk" / "target"
    target.mkdir(parents=True)
    descriptor = os.open(target, os.O_RDONLY)
    Syncer(descriptor).everything()
    ledger = Ledger(folder / "ledger")
    ledger.write("begun")
    PARTS[name][0](target, lambda word: ledger.write("kept", word))


if __name__ == "__main__":
    assert mutated
    main(sys.argv[1].removeprefix("live-"), Path(sys.argv[2]))
