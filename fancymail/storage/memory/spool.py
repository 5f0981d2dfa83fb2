"""Slot files in memory: the spool of tests and of the journey in one process (ports.spool.Spool).

`write` and `open` stand for what a client does with the file name that it got; there is no disk, so all of it is durable at once.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256

from fancymail.mail.envelope import Envelope
from fancymail.storage.ports.spool import SlotUnfit, Written

ROOT = "memory:"


class MemorySlot:
    """A slot as its reader sees it (as storage.slots.Slot)."""

    def __init__(self, path: str, envelope: Envelope, content: bytes, digest: bytes) -> None:
        self.path, self.envelope, self.sha256 = path, envelope, digest
        self.content_length = len(content)
        self._content = content

    def fileno(self) -> int:
        """There is no file."""
        return -1

    def chunks(self) -> Iterator[bytes]:
        """All octets."""
        yield self._content

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Content from `offset` on."""
        return self._content[offset:] if length is None else self._content[offset:offset + length]

    def __enter__(self) -> MemorySlot:
        return self

    def __exit__(self, *exc) -> None:
        """Nothing is open."""


class MemorySpool:
    """All slots, by folder and id."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, str], MemorySlot] = {}

    def write(self, path: str, envelope: Envelope, content: bytes) -> None:
        """Write a whole slot, as a client does."""
        place, id = _parts(path)
        self._slots[place, id] = MemorySlot(path, envelope, content, sha256(content).digest())

    def open(self, path: str) -> MemorySlot:
        """Open a slot for reading. Raises FileNotFoundError."""
        return self._get(*_parts(path))

    def add(self, queue: str) -> None:
        """Folders need no making."""

    def path(self, queue: str, id: str) -> str:
        return f"{ROOT}{queue}/{id}"

    def new_id(self, queue: str, reuse: bool) -> str:
        return base64.b32encode(os.urandom(17))[:26].decode().lower()

    def ready(self, queue: str) -> int:
        return 1 << 30

    def prepare(self, queue: str, count: int) -> None:
        """There are no files."""

    def examine(self, queue: str, id: str) -> Written:
        slot = self._get(queue, id)
        return Written(slot.content_length, slot.sha256, slot.envelope)

    def whole(self, queue: str, id: str) -> Written:
        return self.examine(queue, id)

    def digest(self, queue: str, id: str) -> bytes:
        return sha256(self._get(queue, id).read()).digest()

    def find(self, queue: str, id: str) -> str:
        return next((place for place in (queue, "dead", "corrupt") if (place, id) in self._slots), "")

    def envelope(self, place: str, id: str) -> Envelope | None:
        slot = self._slots.get((place, id))
        return slot.envelope if slot else None

    def move(self, id: str, place: str, target: str) -> bool:
        slot = self._slots.pop((place, id), None)
        if slot:
            self._slots[target, id] = slot
        return slot is not None

    def remove(self, place: str, id: str) -> None:
        self._slots.pop((place, id), None)

    retire = remove

    def names(self, queue: str) -> Iterator[str]:
        return iter([id for place, id in self._slots if place == queue])

    def room(self) -> tuple[int, int]:
        return 1 << 62, 1 << 62

    def sync(self, slots: Iterable[tuple[str, str]]) -> None:
        for queue, id in slots:
            if (queue, id) not in self._slots:
                raise SlotUnfit(f"{id} is gone")

    def _get(self, place: str, id: str) -> MemorySlot:
        try:
            return self._slots[place, id]
        except KeyError:
            raise FileNotFoundError(f"{place}/{id}") from None


def _parts(path: str) -> tuple[str, str]:
    place, _, id = path.removeprefix(ROOT).rpartition("/")
    return place.rpartition("/")[2], id
