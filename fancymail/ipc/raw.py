"""Raw operations: octets that follow a message in chunks, as `store` receives and `retr` sends them.

Each chunk is a message `raw: OCTETS` with the tag of the request. The server makes a `RawInbox` when a verb asks for a RawStream; the verb reads it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from fancymail.ipc.message import IpcError

MOST_WAITING = 8 * 1024 * 1024      # octets that may wait for a verb that does not read
PATIENCE = 60.0                     # seconds without a chunk after which the sender counts as gone


class RawInbox:
    """Chunks on their way from the wire to one verb."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.waiting = 0
        self.overrun = False
        self._more = asyncio.Event()

    def feed(self, chunk: bytes) -> None:
        """Take a chunk from the wire; a sender that is far ahead of its reader loses the operation, not the daemon."""
        if self.waiting + len(chunk) > MOST_WAITING:
            self.overrun = True
        else:
            self.chunks.append(chunk)
            self.waiting += len(chunk)
        self._more.set()

    async def read(self, length: int) -> AsyncIterator[bytes]:
        """Yield chunks until `length` octets came; raises IpcError when they do not come, or come in excess."""
        while length > 0:
            while not self.chunks:
                if self.overrun:
                    raise IpcError("4.5.3", "raw octets came faster than they could be written")
                self._more.clear()
                try:
                    async with asyncio.timeout(PATIENCE):
                        await self._more.wait()
                except TimeoutError:
                    raise IpcError("4.4.2", f"{length} raw octets did not come") from None
            chunk = self.chunks.popleft()
            self.waiting -= len(chunk)
            length -= len(chunk)
            if length < 0:
                raise IpcError("5.5.4", "more raw octets than announced")
            yield chunk
