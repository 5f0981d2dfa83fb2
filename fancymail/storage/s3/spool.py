"""The slot files of one node of a cluster: working copies of what is in the bucket and the database (ports.spool.Spool).

Used by fm-queue only. A slot is written and read as on a single machine (storage/spool.py); what makes it last is `send`, which puts its content
into the bucket, and the row that is written after. `bring` makes the file anew on the node that takes a message over. Files of before a power
cut are thrown away, since nothing here is ever synced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from fancymail.mail.envelope import Envelope
from fancymail.storage.ports.spool import SlotUnfit
from fancymail.storage.slots import SlotError, SlotWriter
from fancymail.storage.spool import DiskSpool
from fancymail.storage.waiting import beside

from .blobs import CHUNK, SENDERS, key_of
from .cache import BOOT, forget_before_boot
from .objects import Objects

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


class NodeSpool(DiskSpool):
    """The folders below STATE/queues, in front of a bucket."""

    def __init__(self, folder: Path | str, queues: Iterable[str], objects: Objects, boot: Path = BOOT) -> None:
        forget_before_boot(Path(folder), boot, "messages")
        super().__init__(folder, queues, recycle=False)         # a message's file is still linked to a mailbox's cache when it ends
        self.objects, self._new = objects, Path(self.folder) / "new"        # where files are made, under the names that they will have
        self._new.mkdir(mode=0o770, exist_ok=True)
        self._senders = ThreadPoolExecutor(SENDERS, "s3")

    def send(self, slots: Iterable[tuple[str, str, bytes]]) -> list[bytes]:
        """Put the contents of (queue, id, SHA-256) into the bucket, side by side; the envelope of each. Raises OSError; then nothing of it counts."""
        return list(self._senders.map(lambda slot: self._send(*slot), slots))

    def bring(self, queue: str, id: str, envelope: Callable[[], bytes | None], sha256: bytes) -> None:
        """Make a message's file if it is not here. Raises KeyError when its content is nowhere, OSError when it cannot be had now."""
        if not super().find(queue, id):
            told = envelope()
            beside(lambda: self._bring(queue, id, told, sha256))

    def find(self, queue: str, id: str) -> str:
        """Where a message's file is; one that is not here can be brought into its queue."""
        return super().find(queue, id) or queue

    def move(self, id: str, place: str, target: str) -> bool:
        """Move a file between folders; one that is not here is brought where it is wanted."""
        return super().move(id, place, target) or True

    def sync(self, slots: Iterable[tuple[str, str]]) -> None:
        """Nothing here has to last."""

    def close(self) -> None:
        """Close the folders."""
        self._senders.shutdown()
        super().close()

    def _send(self, queue: str, id: str, sha256: bytes) -> bytes:
        try:
            with self._open(queue, id) as slot:
                self.objects.put(key_of(sha256), slot.chunks(CHUNK), slot.content_length)
                return b"" if slot.envelope is None else _encode(slot.envelope)
        except (SlotUnfit, SlotError) as error:
            raise OSError(f"{id}: {error}") from error

    def _bring(self, queue: str, id: str, envelope: bytes | None, sha256: bytes) -> None:
        path = self.path(queue, id)
        pieces = self.objects.chunks(key_of(sha256), CHUNK)
        if envelope:
            writer = SlotWriter(self._new / id)
            try:
                for piece in pieces:
                    writer.write(piece)
                writer.finish(_decode(envelope))
            finally:
                writer.abort()
        else:                   # a bare slot
            with open(self._new / id, "wb") as file:
                file.writelines(pieces)
        os.rename(self._new / id, path)
