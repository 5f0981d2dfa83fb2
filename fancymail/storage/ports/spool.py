"""The port of the slot files: where they are, whether they are whole, and how they become durable.

Asked by core/queue.py with a queue of the configuration and an id of the right form, never with a path from the wire.
`sync`, `prepare` and `digest` block and are called in a worker thread; everything else is one or two system calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from fancymail.mail.envelope import Envelope


class SlotUnfit(Exception):
    """The file can't be a message: a link, cut off, or damaged; the message is the reason."""


class Written(NamedTuple):
    """What a slot holds that was written and closed. A bare slot has neither hash nor envelope."""

    size: int                   # octets of content
    sha256: bytes | None
    envelope: Envelope | None


class Told(msgspec.Struct, array_like=True):
    """What the writer of a durable slot tells of it, so that nobody has to open the file again."""

    size: int                   # octets of content
    sha256: bytes               # of the content
    message: str                # Envelope.id
    sender: str
    recipients: list[str]       # addresses; of very many the first
    count: int                  # how many recipients


class Spool(Protocol):
    """The folders of the queues, of `dead` and of `corrupt`."""

    def add(self, queue: str) -> None: """Make the folder of a queue, if it isn't there."""

    def path(self, queue: str, id: str) -> str: """The file name that a client sees."""

    def new_id(self, queue: str, reuse: bool) -> str:
        """An id that was never given before. reuse: its file is there already if one is `ready`, and SlotWriter writes over it."""

    def ready(self, queue: str) -> int: """How many files are there for reuse, their names durable."""

    def prepare(self, queue: str, count: int) -> None:
        """Make so many more files ready. Raises OSError; in the thread of `sync`."""

    def examine(self, queue: str, id: str) -> Written:
        """Open and check a slot: header, lengths, envelope, its name in it, END. Raises SlotUnfit, FileNotFoundError, OSError."""

    def digest(self, queue: str, id: str) -> bytes:
        """SHA-256 of the content as it is now. Raises as `examine`; in a worker thread."""

    def whole(self, queue: str, id: str) -> Written:
        """As `examine`, of a file that the store may share by now, after reading all of it: SlotUnfit when content and hash differ or it is bare."""

    def find(self, queue: str, id: str) -> str:
        """Where a message's file is: its queue, "dead", "corrupt", or "" when it is nowhere."""

    def envelope(self, place: str, id: str) -> Envelope | None: """The envelope of a file in any folder; None when bare or unreadable."""

    def move(self, id: str, place: str, target: str) -> bool: """Move a file between folders; False when it isn't there."""

    def remove(self, place: str, id: str) -> None: """Remove a file, if it is there."""

    def retire(self, queue: str, id: str) -> None:
        """Remove the file of a message that ended, if it is there, or keep it under a new name, for reuse once a `sync` made that durable."""

    def names(self, queue: str) -> Iterator[str]: """All names in a queue's folder, but for files that are kept for reuse."""

    def room(self) -> tuple[int, int]: """Free octets and free inodes of the filesystem."""

    def sync(self, slots: Iterable[tuple[str, str]]) -> None:
        """Make these slot files, their names and the index's log durable. Raises OSError; then nothing of it counts."""
