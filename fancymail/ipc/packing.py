"""Many small values in one parameter: to send and receive a frame costs as much as what is done about one of them.

    frames = pack(map(encode, items))           # JSON lists, as many items in each as fit into a frame
    items = [item for frame in frames for item in decode(frame)]

Used where daemons tell each other of many messages (`enter`, `consume`, `finish`). What is in the lists is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

ROOM = 60_000                   # octets of a parameter; a frame of the conversation holds 64 KiB


def pack(items: Iterable[bytes], room: int = ROOM) -> list[bytes]:
    """JSON values as JSON lists of at most `room` octets, or of one value."""
    frames, held, size = [], [], 0
    for octets in items:
        if held and size + len(octets) + 2 > room:
            frames.append(b"[%b]" % b",".join(held))
            held, size = [], 0
        held.append(octets)
        size += len(octets) + 1
    return [*frames, b"[%b]" % b",".join(held)] if held else frames
