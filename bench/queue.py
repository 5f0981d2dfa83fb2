"""How fast the queue is: slot, push, take and done of messages of 1 kB, through the core alone and over a door.

    python -m bench.queue [--messages 5000] [--writers 50] [--size 1000] [--spool DIR] [--ipc]

Prints messages per second, CPU microseconds per message (writer, queue and consumer in one process) and syncs. Each writer asks for a slot,
writes it, pushes it and waits for ok, as a session of SMTP does; --batch K pushes K messages at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop
import zmq

from fancymail.base.settings.queue import Queue
from fancymail.core.queue import QueueManager
from fancymail.ipc.client import Client
from fancymail.ipc.security import KeyRing
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.slots import write_slot
from fancymail.storage.spool import DiskSpool
from fancymail.storage.sqlite.queue import SqliteQueueIndex

ENVELOPE = Envelope("a" * 26, "alice@example.test", [Recipient("bob@example.test")], received=1e9, client="192.0.2.1", helo="client.example.test")


class Core:
    """The queue without its daemon."""

    def __init__(self, folder: Path) -> None:
        options = Queue(free_octets=0)
        self.index = SqliteQueueIndex(_made(folder) / "index.db")
        self.spool = DiskSpool(folder, options.queues, folder / "index.db-wal")
        self.manager = QueueManager(self.index, self.spool, options, ThreadPoolExecutor(1), ThreadPoolExecutor(1))
        self.manager.open()

    async def slot(self, count: int) -> list[str]:
        return self.manager.slot("incoming", count, reuse=True)

    async def push(self, *paths: str) -> None:
        await self.manager.push("incoming", *paths)

    async def take(self, count: int) -> list[str]:
        return [self.manager.path(entry) for entry in self.manager.take("incoming", count, "mailbox")]

    async def done(self, *paths: str) -> None:
        self.manager.done("incoming", *paths)

    @property
    def batches(self) -> int:
        return self.manager.intake.commit.batches


class Door:
    """The queue over the daemons' door of a daemon in this process."""

    def __init__(self, client, daemon) -> None:
        self.client, self.daemon = client, daemon

    async def slot(self, count: int) -> list[str]:
        return [path.decode() for path in await self.client.call("slot", "incoming", count)]

    async def push(self, *paths: str) -> None:
        await self.client.call("push", "incoming", *paths)

    async def take(self, count: int) -> list[str]:
        return [path.decode() for path in (await self.client.call("take", "incoming", count))[::2]]

    async def done(self, *paths: str) -> None:
        await self.client.call("done", "incoming", *paths)

    @property
    def batches(self) -> int:
        return self.daemon.manager.intake.commit.batches


async def write(queue, messages: int, batch: int, content: bytes) -> None:
    """One writer: ask, write, push, wait."""
    for _ in range(0, messages, batch):
        paths = await queue.slot(batch)
        for path in paths:
            write_slot(path, ENVELOPE, content)
        await queue.push(*paths)


async def consume(queue, messages: int) -> None:
    """One consumer: take what there is, settle it."""
    while messages > 0:
        paths = await queue.take(64)
        if not paths:
            await asyncio.sleep(0.001)
            continue
        await queue.done(*paths)
        messages -= len(paths)


async def measure(name: str, queue, args, *, consumer: bool) -> None:
    """Run writers (and a consumer) and print one line."""
    content, each = b"x" * args.size, args.messages // args.writers // args.batch * args.batch
    messages = each * args.writers
    wall, cpu, batches = time.perf_counter(), time.process_time(), queue.batches
    tasks = [write(queue, each, args.batch, content) for _ in range(args.writers)]
    await asyncio.gather(*tasks, *([consume(queue, messages)] if consumer else []))
    wall, cpu, batches = time.perf_counter() - wall, time.process_time() - cpu, queue.batches - batches
    print(f"{name:28} {messages / wall:8.0f} msg/s  {cpu / messages * 1e6:6.0f} us CPU/msg  {messages / batches:5.1f} msg/sync")


async def drain(name: str, queue, messages: int) -> None:
    """Take and settle all that waits, and print one line."""
    wall, cpu = time.perf_counter(), time.process_time()
    await consume(queue, messages)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:28} {messages / wall:8.0f} msg/s  {cpu / messages * 1e6:6.0f} us CPU/msg")


async def run(args) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fm-bench-", dir=args.spool))
    try:
        async with contextlib.AsyncExitStack() as stack:
            if args.ipc:
                from fancymail.servers.queue.daemon import QueueServer
                from tests.servers_kit import running
                daemon = await stack.enter_async_context(running(QueueServer, folder))
                queue, kind = Door(stack.enter_context(_client(daemon)), daemon), "ipc"
            else:
                queue, kind = Core(folder), "core"
            kept = args.messages // args.writers // args.batch * args.batch * args.writers
            await measure(f"{kind}: slot+push, kept", queue, args, consumer=False)
            await drain(f"{kind}: take+done", queue, kept)
            for _ in range(2):
                await measure(f"{kind}: slot+push+take+done", queue, args, consumer=True)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _client(daemon):
    """A client with the role of mailbox, which may write and consume."""
    context, keys = zmq.Context(), KeyRing(daemon.paths.keys)
    client = Client(context, daemon.paths.endpoints("queue")[1], keys=keys, role="mailbox", server_key=keys.public("queue"))
    yield client
    client.close()
    context.destroy(0)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--spool", help="a folder on the filesystem to be measured")
    parser.add_argument("--ipc", action="store_true")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
