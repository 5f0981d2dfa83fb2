"""What the queue tells a consumer of a message that it hands out, beside its path: written by fm-queue, read by those who consume.

    frame = write(taken)                # one message, as the answers of `take` have it
    taken = read(frame)
    messages = read_many(frames)        # of the answer of `consume`: (path, taken) of each

JSON, as docs/ipc.md shows it. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Taken(msgspec.Struct):
    """One message that somebody has now."""

    id: str
    attempts: int               # how often it was handed out, this time included
    pending: list[int]          # indexes of the recipients without a final result
    first: float                # when it was pushed, seconds since the epoch
    size: int = 0               # octets of content
    results: msgspec.Raw = msgspec.Raw(b"[]")       # the last results of recipients, as `result` gave them (JSON)

    @property
    def last(self) -> list[dict]:
        """The last results of recipients."""
        return [] if self.results == b"[]" else msgspec.json.decode(self.results)


write = msgspec.json.Encoder().encode
read = msgspec.json.Decoder(Taken).decode
_read_list = msgspec.json.Decoder(list[tuple[str, Taken]]).decode


def read_many(frames: Iterable[bytes]) -> list[tuple[str, Taken]]:
    """Read lists of [path, what is told]."""
    return [message for frame in frames for message in _read_list(frame)]
