"""One side of a move: an installation on files, as it stands in a state folder or is made beside it.

Used by servers/moving/move.py. As a source its files are only read, beside the daemons that write them; as a target it grows in
STATE/moving/new and is put into its place at the end, so that nobody takes half of it for the whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from math import inf
from pathlib import Path

from fancymail.base.crash import crash_point
from fancymail.base.settings import Paths, Settings
from fancymail.core.stowage import SMALL
from fancymail.servers.moving.queues import FilesQueue
from fancymail.servers.moving.settled import folder_of
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.contents import Contents
from fancymail.storage.ports.reader import Content
from fancymail.storage.sqlite.database import sync_directory
from fancymail.storage.sqlite.moving import SqliteDirectory, SqliteMoving

CHUNK = 256 << 10
PARTS = ("mail", "queues", "accounts.db", "accounts.db-wal", "accounts.db-shm")      # of a state folder: what is moved


class Refused(Exception):
    """The move cannot be made; the message says why, in words for the operator."""


class FilesSource:
    """The mail of a state folder."""

    small = SMALL

    def __init__(self, paths: Paths, settings: Settings) -> None:
        """Raises DatabaseError, Refused."""
        if not paths.accounts.exists() or (paths.queues / "boot").exists():
            moved = (folder_of(paths.state) / "left").exists()
            raise Refused(f"the mail of {paths.state} has been moved already" if moved else f"there is no mail on files in {paths.state}")
        self.paths, self.settings, self.name = paths, settings, str(paths.state)
        self.left_file = folder_of(paths.state) / "left"
        self.directory = SqliteDirectory(paths.accounts)
        self.mail = SqliteMoving(paths.mail, settings.mailbox.shards)
        self.blobs, self.closed = ReadBlobs(paths.blobs), False

    def queue(self) -> FilesQueue:
        """What waits; only when no fm-queue runs."""
        return FilesQueue(self.paths.queues, self.settings.queue)

    def alive(self) -> list[str]:
        """Others who may still change something: of files all are ended by whoever moves them."""
        return []

    def keep(self) -> list[str]:
        """Nobody begins meanwhile: the mover holds the supervisor's lock."""
        return []

    def keep_on(self) -> None:
        """It does so as long as it lives."""

    def left(self) -> None:
        """From now on these files are not the mail any more."""
        write_durably(self.left_file, f"{datetime.now():%Y-%m-%d %H:%M:%S}\n")

    def end(self) -> Path:
        """Put the files aside, so that the folder can be that of a node; where they are."""
        self.close()
        write_durably(folder_of(self.paths.state) / "aside", f"moved-{datetime.now():%Y%m%d-%H%M%S}")
        return put_aside(self.paths)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.directory.close()
            self.mail.close()


class FilesTarget:
    """A state folder that mail is moved into."""

    small = SMALL

    def __init__(self, paths: Paths, settings: Settings) -> None:
        """Raises DatabaseError, OSError, Refused."""
        self.final, self.settings, self.name = paths, settings, str(paths.state)
        self.paths = Paths(folder_of(paths.state) / "new")
        if fresh := not self.paths.accounts.exists():
            _require_no_mail(paths)
        self.fresh = fresh
        self.paths.blobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = SqliteDirectory(self.paths.accounts)
        self.mail = SqliteMoving(self.paths.mail, settings.mailbox.shards)
        self.blobs, self.closed = FileBlobs(self.paths.blobs), False

    def queue(self) -> FilesQueue:
        return FilesQueue(self.paths.queues, self.settings.queue)

    def contents(self) -> Iterator[bytes]:
        """All that lie here."""
        return (blob for part in range(self.blobs.parts) for blob in self.blobs.stale(part, inf))

    def trim(self) -> None:
        """Nothing here is a copy."""

    def is_over(self) -> bool:
        """What is over is in its place, not here."""
        return False

    def arrive(self) -> bool:
        """Whether nothing was moved here yet. Nobody uses what is not in its place."""
        fresh, self.fresh = self.fresh, False
        return fresh

    def arrived(self) -> None:
        """Put all into its place: from now on this is the mail."""
        self.close()
        write_durably(folder_of(self.final.state) / "placing", "")
        place(self.final)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.directory.close()
            self.mail.close()
            self.blobs.close()


def place(paths: Paths) -> bool:
    """Put what has arrived into its place, or go on with that; whether there was anything to do."""
    folder = folder_of(paths.state)
    if not (folder / "placing").exists():
        return False
    for part in PARTS:
        if (folder / "new" / part).exists():
            _clear(paths.state / part)
            os.rename(folder / "new" / part, paths.state / part)
            crash_point("migrate.placed")
    sync_directory(paths.state)
    (folder / "left").unlink(missing_ok=True)
    for journal in folder.glob("to-*.db*"):
        journal.unlink()
    (folder / "placing").unlink()
    sync_directory(folder)
    return True


def put_aside(paths: Paths) -> Path | None:
    """Put what was moved away out of the way, or go on with that; where it is, None when there was nothing to do."""
    mark = folder_of(paths.state) / "aside"
    if not mark.exists():
        return None
    aside = paths.state / mark.read_text()
    aside.mkdir(mode=0o700, exist_ok=True)
    for part in PARTS:
        if (paths.state / part).exists():
            os.rename(paths.state / part, aside / part)
            crash_point("migrate.aside")
    sync_directory(aside)               # the new names first: in the other order a power cut in between takes both
    sync_directory(paths.state)
    mark.unlink()
    sync_directory(mark.parent)         # what came back with it would be put aside, too: it is a node's by then
    return aside


class ReadBlobs:
    """Contents of a state folder, while fm-mailbox has them: what a move asks of a source (ports.blobs.BlobStore.read)."""

    def __init__(self, root: Path) -> None:
        self._contents = Contents(root)

    def read(self, blob: bytes, length: int, chunk: int = CHUNK) -> Iterator[bytes]:
        """The content in chunks; raises KeyError."""
        content = Content(0, blob, length, b"")
        for start in range(0, length, chunk):
            yield self._contents.octets(content, start, chunk)


def write_durably(path: Path, text: str) -> None:
    """A small file that is there after a power cut."""
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def _require_no_mail(paths: Paths) -> None:
    """What a node keeps there are copies, which may go; anything else is somebody's mail."""
    if paths.accounts.exists() or any((paths.mail).glob("shard-*.db")):
        raise Refused(f"there is mail on files in {paths.state} already: give another folder")
    for folder in (paths.queues, paths.blobs):
        if not (folder / "boot").exists() and folder.exists() and any(path.is_file() for path in folder.rglob("*")):
            raise Refused(f"{folder} is not empty: give another folder")


def _clear(path: Path) -> None:
    """Remove what is no mail: empty folders, and the copies that a node had."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
