"""What is new, told between nodes: alerts that travel over NATS core. Hints only: the truth is in the database, who is not told asks later.

Used by nodes.py in fm-auth and fm-mailbox of a cluster. A node hears those topics only for which somebody here waits. NATS may be away at any
time: nothing waits for it, and after a return everything that is watched counts as new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import nats
from nats.aio.client import Client
from nats.errors import Error

from fancymail.base.log import Log

AGAIN = 1.0                     # seconds between two tries to reach NATS


class Hints:
    """The alerts of one daemon. heard(topic) is called for what other nodes tell."""

    def __init__(self, address: str, name: str, heard: Callable[[str], None], log: Log) -> None:
        self.address, self.name, self.heard, self.log = address, name, heard, log
        self._client: Client | None = None
        self._watched: dict[str, object] = {}
        self._tasks: set[asyncio.Task] = set()

    def start(self) -> None:
        """Connect, as soon as there is somebody."""
        self._spawn(self._connect())

    def watch(self, topic: str) -> None:
        """Hear of a topic from now on."""
        if topic not in self._watched:
            self._watched[topic] = None
            self._spawn(self._subscribe(topic))

    def tell(self, topic: str) -> None:
        """Tell the other nodes."""
        if self._client is not None and self._client.is_connected:
            self._spawn(self._publish(topic))

    async def close(self) -> None:
        """Say no more."""
        for task in self._tasks:
            task.cancel()
        if self._client is not None:
            await self._client.close()

    def subject(self, topic: str) -> str:
        """Topics hold characters that mean something in subjects."""
        return f"fm.{self.name}.{topic.encode().hex() or '-'}"

    async def _connect(self) -> None:
        while self._client is None:
            try:
                self._client = await nats.connect(self.address, name=f"fancymail {self.name}", max_reconnect_attempts=-1, reconnect_time_wait=AGAIN,
                                                  no_echo=True, error_cb=self._failed, reconnected_cb=self._returned, allow_reconnect=True)
            except (OSError, Error, asyncio.TimeoutError) as error:
                self.log.debug("no hints", reason=str(error))
                await asyncio.sleep(AGAIN)
        for topic in list(self._watched):
            await self._subscribe(topic)
        await self._returned()

    async def _subscribe(self, topic: str) -> None:
        if self._client is None or self._watched[topic] is not None:
            return
        self._watched[topic] = True

        async def heard(message) -> None:
            self.heard(topic)
        try:
            self._watched[topic] = await self._client.subscribe(self.subject(topic), cb=heard)
        except Error:
            self._watched[topic] = None

    async def _publish(self, topic: str) -> None:
        try:
            await self._client.publish(self.subject(topic), b"")
        except (Error, OSError):
            pass

    async def _returned(self) -> None:
        """Who knows what was missed?"""
        for topic in list(self._watched):
            self.heard(topic)

    async def _failed(self, error: Exception) -> None:
        self.log.debug("hints", reason=str(error) or type(error).__name__)

    def _spawn(self, work) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
