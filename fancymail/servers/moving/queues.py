"""What waits in the queues of both sides of a move, in every state, and how it is taken over.

Used by servers/moving/{files,cluster,move}.py when no fm-queue runs on either side. A message in work is ready again. What `entries` of a source
gives was looked at as fm-queue does at its start: a whole slot that no row names is a message, a row whose file is gone is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import astuple, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from fancymail.core.moving import Differs
from fancymail.core.queue import SLOT_ID
from fancymail.core.queue_audit import rebuild, recovered
from fancymail.mail.envelope import Envelope
from fancymail.storage.ports.blobs import BadContent, BlobStore
from fancymail.storage.ports.queue import BEGIN, Entry, QueueIndex, State
from fancymail.storage.ports.spool import SlotUnfit
from fancymail.storage.slots import SlotError, SlotWriter, read_slot
from fancymail.storage.spool import DiskSpool
from fancymail.storage.sqlite.queue import open_index

PAGE = 500
CHUNK = 256 << 10
ASIDE = {State.DEAD: "dead", State.CORRUPT: "corrupt"}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


class Waiting(NamedTuple):
    """A message of a queue."""

    entry: Entry
    envelope: bytes             # JSON; b"" of a bare slot

    def told(self) -> tuple:
        """What has to be the same on both sides: all but its place in the order, which is kept by adding in order."""
        return (*astuple(self.entry)[:-1], self.envelope)


class MovingQueue(Protocol):
    """One side."""

    by_hash: bool               # contents are to be brought in before, by their hash

    def entries(self) -> list[Waiting]: """All that waits, in its order."""
    def pieces(self, entry: Entry) -> Iterable[bytes]: """The content of one."""
    def add(self, messages: list[Waiting], pieces: Iterable[Iterable[bytes]]) -> None: """Take over, contents first; durable at the return."""
    def drop(self, ids: list[str]) -> None: """Forget messages of an earlier try."""
    def close(self) -> None: """Give everything back."""


class FilesQueue:
    """STATE/queues."""

    by_hash = False             # contents come and go with the messages

    def __init__(self, folder: Path, options) -> None:
        """Raises DatabaseError, IndexFailed, OSError."""
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.spool = DiskSpool(folder, options.queues, folder / "index.db-wal", recycle=False)
        self.index, new, _ = open_index(folder / "index.db")
        if new:
            rebuild(self.index, self.spool, list(options.queues))
        self.queues = sorted({queue for queue, _ in self.index.totals()} | set(options.queues))
        for queue in self.queues:
            self.spool.add(queue)
            self._adopt(queue)

    def entries(self) -> list[Waiting]:
        return [found for entry in _all(self.index, self.queues) if (found := self._found(entry)) is not None]

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        place = self.spool.find(entry.queue, entry.id)
        if not entry.bare:
            with read_slot(self.spool.path(place, entry.id)) as slot:
                yield from slot.chunks(CHUNK)
            return
        with open(self.spool.path(place, entry.id), "rb") as file:
            while piece := file.read(CHUNK):
                yield piece

    def add(self, messages: list[Waiting], pieces: Iterable[Iterable[bytes]]) -> None:
        self.index.remove([message.entry.id for message in messages])       # of a try that a power cut ended: rows whose files did not last
        for message, content in zip(messages, pieces):
            self._write(message, content)
        self.index.add([replace(message.entry) for message in messages])
        self.spool.sync([(_place(message.entry), message.entry.id) for message in messages])

    def drop(self, ids: list[str]) -> None:
        for entry in self.index.remove(ids):
            self.spool.remove(_place(entry), entry.id)

    def close(self) -> None:
        self.index.close()
        self.spool.close()

    def _adopt(self, queue: str) -> None:
        """As core/orphans.py: the writer may have promised it."""
        names = [name for name in self.spool.names(queue) if SLOT_ID.match(name)]
        for start in range(0, len(names), PAGE):
            piece = names[start:start + PAGE]
            known = self.index.known(piece)
            self.index.add(recovered(self.spool, queue, [id for id in piece if id not in known]))

    def _found(self, entry: Entry) -> Waiting | None:
        """A message as its file is now: one that was damaged is corrupt, whoever has found that or not."""
        place = self.spool.find(entry.queue, entry.id)
        if not place:
            return None
        try:
            envelope = b"" if entry.bare else _encode(self._envelope(place, entry.id))
        except SlotUnfit:                               # no envelope any more: all of the file is what is left
            entry = replace(entry, bare=True)
            envelope = b""
        running, size = sha256(), 0
        try:
            for piece in self.pieces(entry):
                running.update(piece)
                size += len(piece)
        except SlotError:
            return None
        if running.digest() != entry.sha256:
            entry = replace(entry, sha256=running.digest(), size=size, state=State.CORRUPT, due=0.0,
                            reason=entry.reason or "its content was not what was pushed when it was moved")
        return Waiting(entry, envelope)

    def _envelope(self, place: str, id: str) -> Envelope:
        envelope = self.spool.envelope(place, id)
        if envelope is None:
            raise SlotUnfit("no envelope")
        return envelope

    def _write(self, message: Waiting, pieces: Iterable[bytes]) -> None:
        path = self.spool.path(_place(message.entry), message.entry.id)
        Path(path).unlink(missing_ok=True)              # of a try that was killed
        if not message.envelope:
            with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.writelines(pieces)
            return
        writer = SlotWriter(path)
        try:
            for piece in pieces:
                writer.write(piece)
            writer.finish(_decode(message.envelope))
        except BaseException:
            writer.abort()
            raise


class ClusterQueue:
    """The queues of all nodes, none of which lives."""

    by_hash = True              # contents are objects

    def __init__(self, db, blobs: BlobStore) -> None:
        """Raises IndexFailed, DatabaseError."""
        from fancymail.storage.postgres.moving import LEASE, MOVER
        from fancymail.storage.postgres.queue import PostgresQueueIndex
        self.blobs, self.index = blobs, PostgresQueueIndex(db, MOVER, LEASE)
        while self.index.adopt(PAGE):
            self.index.renew()
        self.queues = sorted({queue for queue, _ in self.index.totals()})

    def entries(self) -> list[Waiting]:
        self.queues = sorted({queue for queue, _ in self.index.totals()})
        return [Waiting(entry, self.index.envelope(entry.id) or b"") for entry in _all(self.index, self.queues)]

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        try:
            yield from self.blobs.read(entry.sha256, entry.size)
        except (KeyError, BadContent) as error:
            raise Differs(f"message {entry.id} of queue {entry.queue}: its content is missing in the bucket") from error

    def add(self, messages: list[Waiting], pieces: Iterable[Iterable[bytes]]) -> None:
        """The contents are objects by now (core/moving.py's Freight)."""
        self.index.renew()
        self.index.add([replace(message.entry) for message in messages], [message.envelope for message in messages])

    def drop(self, ids: list[str]) -> None:
        self.index.remove(ids)

    def close(self) -> None:
        self.index.close()


def _all(index: QueueIndex, queues: list[str]) -> list[Entry]:
    """All rows, in the order in which they came; those in work as ready."""
    found = []
    for queue in queues:
        for state in State:
            after = BEGIN
            while page := index.scan(queue, state, after, PAGE):
                found += page
                after = (page[-1].due, page[-1].seq)
    found.sort(key=lambda entry: entry.seq)
    return [replace(entry, state=State.READY, due=0.0) if entry.state is State.LEASED else entry for entry in found]


def _place(entry: Entry) -> str:
    return ASIDE.get(entry.state, entry.queue)
