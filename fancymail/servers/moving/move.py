"""The order of events of a move: copies while mail goes on, then one short last part in which nobody works, then the switch.

Used by cli/migrate.py. All that is said of a source is read again in the last part, from which on it cannot change; the target may be used only
after the source may not. Killed anywhere, the same command goes on: what was carried and verified is known, what was not is found out.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from fancymail.base.crash import crash_point
from fancymail.base.settings import Paths, Settings
from fancymail.core.moving import BATCH, Differs, Freight, Mirror, digest, image, mirror_tables
from fancymail.servers.moving.files import FilesSource, FilesTarget, Refused
from fancymail.servers.moving.queues import MovingQueue, Waiting
from fancymail.servers.moving.settled import folder_of
from fancymail.storage.ports.moving import DIRECTORY, STATE
from fancymail.storage.sqlite.moving import SqliteJournal

Told = Callable[[str, int, int], None]          # what is being done, how many messages of how many

CACHE_NAME = "cache"


class Pass(NamedTuple):
    """What one look at everything found and did."""

    accounts: int               # that there are
    changed: int                # that were carried, or made equal again
    messages: int               # in mailboxes
    letters: int                # messages carried
    unfinished: int             # accounts that changed under our hands


class Summary(NamedTuple):
    """What the last part has verified."""

    last: Pass
    directory: int              # rows of accounts, domains, aliases
    queued: int                 # messages of queues
    contents: int               # objects or files
    digest: str                 # one hash of all rows


class Move:
    """One move, from one side to the other."""

    def __init__(self, source, target, journal: SqliteJournal, told: Told) -> None:
        self.source, self.target, self.journal, self.told = source, target, journal, told
        self.freight = Freight(source.blobs, target.blobs, target.small, journal)
        self.running = sha256()

    def copy(self, what: str = "copying") -> Pass:
        """Carry what the other side lacks. The source may change meanwhile: then some accounts are unfinished."""
        if self.target.arrive():
            self.journal.begin_anew()
        mirror_tables(DIRECTORY, self.source.directory, self.target.directory)
        total, seen, self.running = self.source.mail.count(), 0, sha256()
        accounts = changed = letters = unfinished = 0
        for name in self.source.mail.names():
            self.told(what, seen, total)
            carried, messages, done = self._account(name, lambda more: self.told(what, min(seen + more, total), total))
            accounts, seen, unfinished = accounts + 1, seen + messages, unfinished + (not done)
            changed, letters = changed + (carried is not None), letters + (carried or 0)
        self.told(what, total, total)
        return Pass(accounts, changed, seen, letters, unfinished)

    def finish(self) -> Summary:
        """The last part; nobody else has the source. Returns when the target may be used and the source may not."""
        last = self.copy("last part")
        if last.unfinished:
            raise Differs(f"{last.unfinished} accounts change although nobody should be at work")
        rows = mirror_tables(DIRECTORY, self.source.directory, self.target.directory)
        queued = self._queue()
        contents = set(self.journal.all_contents())
        if lost := contents.difference(self.target.contents()):
            raise Differs(f"{len(lost)} contents that were there are there no more, the first {min(lost).hex()}")
        crash_point("migrate.verified")
        self.source.left()
        crash_point("migrate.left")
        self.target.arrived()
        crash_point("migrate.arrived")
        return Summary(last, rows, queued, len(contents), self.running.hexdigest())

    def close(self) -> None:
        self.freight.close()

    def _account(self, name: str, told: Callable[[int], None]) -> tuple[int | None, int, bool]:
        """One account: how many letters were carried (None: it was equal), how many messages it has, whether all of it is there."""
        account = self.source.mail.account(name)
        self.source.keep_on()
        found = image(account)
        now, count = digest(found), len(found[STATE])
        self.running.update(name.encode() + now)
        if self.journal.account(name) == now:
            return None, count, True
        mirror = Mirror(account, self.target.mail.account(name), self.freight, lambda more: (self.source.keep_on(), told(more)))
        try:
            done = mirror.run(found)
        except Differs as error:
            raise Differs(f"{name}: {error}") from error
        if done:
            crash_point("migrate.account")
            self.journal.verified(name, now)
        self.target.trim()
        return mirror.letters, count, done

    def _queue(self) -> int:
        """Make the queues equal, and compare; how many messages wait."""
        with _open(self.source) as source, _open(self.target) as target:
            wanted, there = source.entries(), [message.told() for message in target.entries()]
            same = 0                                    # from the beginning on: the order is kept, too
            while same < min(len(wanted), len(there)) and wanted[same].told() == there[same]:
                same += 1
            target.drop([id for id, *_ in there[same:]])
            missing = iter(wanted[same:])
            while batch := list(islice(missing, BATCH)):
                self._carry(source, target, batch)
                self.source.keep_on()
            if [message.told() for message in target.entries()] != [message.told() for message in wanted]:
                raise Differs("what is read back of the queues is not what was written")
            return len(wanted)

    def _carry(self, source: MovingQueue, target: MovingQueue, batch: list[Waiting]) -> None:
        entries = [message.entry for message in batch]
        if target.by_hash:
            here = self.journal.contents(entry.sha256 for entry in entries)
            self.freight.bring({entry.sha256: source.pieces(entry) for entry in entries if entry.sha256 not in here}.items())
        target.add(batch, map(source.pieces, entries))
        crash_point("migrate.queue")


@contextmanager
def _open(side) -> Iterator[MovingQueue]:
    queue = side.queue()
    try:
        yield queue
    finally:
        queue.close()


@contextmanager
def to_cluster(paths: Paths, settings: Settings, database: str, blobs: str, told: Told) -> Iterator[Move]:
    """Move the files of a state folder. Raises Refused, DatabaseError, StoreFailed, OSError, ValueError."""
    source = FilesSource(paths, settings)
    try:
        with _cluster(paths, "to-cluster.db", settings, database, blobs) as (cluster, journal):
            yield from _made(source, cluster, journal, told)
    finally:
        source.close()


@contextmanager
def to_files(settings: Settings, paths: Paths, into: Settings, told: Told) -> Iterator[Move]:
    """Move the cluster of `settings` into the folder `paths`, for the settings `into`. Raises as to_cluster."""
    target = FilesTarget(paths, into)
    try:
        with _cluster(paths, "to-files.db", settings, settings.storage.database, settings.storage.blobs) as (cluster, journal):
            yield from _made(cluster, target, journal, told)
    finally:
        target.close()


def _made(source, target, journal: SqliteJournal, told: Told) -> Iterator[Move]:
    move = Move(source, target, journal, told)
    try:
        yield move
    finally:
        move.close()


@contextmanager
def _cluster(paths: Paths, name: str, settings: Settings, database: str, blobs: str) -> Iterator[tuple]:
    """The side that is not files, and the journal, which lies beside the files. One command at a time has them."""
    try:
        from fancymail.servers.moving.cluster import Cluster, peer
    except ImportError as error:
        raise Refused(f"moving to or from a cluster needs {error.name}: pip install 'fancymail[cluster]'") from None
    folder = folder_of(paths.state)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        _take(lock, paths)
        journal = SqliteJournal(folder / name)
        try:
            journal.meet(peer(database, blobs))
            cluster = Cluster(database, blobs, settings, journal.id, folder / CACHE_NAME)
            try:
                yield cluster, journal
            finally:
                cluster.close()
        finally:
            journal.close()


def _take(lock, paths: Paths) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(f"another `fancymail migrate` is at work with {paths.state}") from None


def clean(paths: Paths) -> None:
    """What a move that is over needs no more; that the mail has left stays written."""
    folder = folder_of(paths.state)
    for path in (*folder.glob("to-*.db*"), folder / "lock"):
        path.unlink(missing_ok=True)
    for name in (CACHE_NAME, "new"):
        shutil.rmtree(folder / name, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()
