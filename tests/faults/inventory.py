"""What a state folder still holds, as its own daemons see it after a boot: messages in queues and mailboxes, by recipient.

Used on what a crash left (tests/faults/crash_states.py). fm-queue starts on it and is asked; mailboxes are read by fm-imap's reader.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

from fancymail.servers.queue.daemon import QueueServer
from fancymail.storage.slots import SlotError, read_slot
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from tests.faults.laboratory import LOCAL, from_disk
from tests.servers_kit import operator, running

TABLES = {"log": {"console": "never", "file": False}, "queue": {"free-octets": 0, "free-files": 0}}
ROUNDS = 100            # looks whether the queue has found all slots
QUEUES = ("incoming", "outgoing")


@dataclass
class Holdings:
    """`messages`: (recipient, content) of every copy; `queued`: id -> (queue, state); `torn`: ids whose slot is not whole; `difference`: how
    many messages the queue's books cannot account for."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    queued: dict[str, tuple[str, str]] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)
    difference: int = 0


async def inventory(state: Path) -> Holdings:
    """Look everywhere."""
    holdings = Holdings()
    SqliteMailboxes(state / "mail").close()             # plays its log back, as fm-mailbox does at its start
    for user in LOCAL:
        holdings.messages += [(user, content) for content in await from_disk(state / "mail", user)]
    async with running(QueueServer, state, TABLES):
        with operator(state, "queue") as queue:
            books = await _until_all_is_known(queue)
            holdings.difference = sum(abs(book["difference"]) for book in books.values())
            for name in QUEUES:
                for row in (await queue.rows("messages", name, 10_000))[1]:
                    holdings.queued[row.text(0)] = name, row.text(1)
                    _look(state / "queues" / name / row.text(0), holdings)
    return holdings


async def _until_all_is_known(queue) -> dict:
    """A slot that its writer made durable is a message, but may have to be found first; one that is found by nobody is not here. The books."""
    for _ in range(ROUNDS):
        books = json.loads((await queue.call("audit", timeout=30))[0])
        if not any(book["unknown"] for book in books.values()):
            break
        await asyncio.sleep(0.02)
    return books


def _look(path: Path, holdings: Holdings) -> None:
    try:
        with read_slot(path) as slot:
            slot.verify()
            content = slot.read()
            holdings.messages += [(recipient.address, content) for recipient in slot.envelope.recipients]
    except (OSError, SlotError, AttributeError):
        holdings.torn.append(path.name)
