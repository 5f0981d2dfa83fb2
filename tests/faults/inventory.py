"""What a state folder still holds, as its own daemons see it after a boot: messages in queues and mailboxes, by recipient.

Used on what a crash left (tests/faults/crash_states.py). fm-queue starts on it and is asked; mailboxes are read by fm-imap's reader. Then
`fmctl audit --contents` must state that all is right, and `fmctl fsck` find nothing to mend: what they ask of fm-queue is asked of it, and what
they ask of fm-mailbox is asked of its core, since fm-mailbox itself would begin to deliver.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from fancymail.cli.auditing import stated
from fancymail.core.mailbox_audit import Books, MailboxAudit
from fancymail.core.mailboxes import Mailboxes
from fancymail.servers.queue.daemon import QueueServer
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.slots import SlotError, read_slot
from fancymail.storage.sqlite.accounts import SqliteAccounts
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from tests.faults.laboratory import LOCAL, from_disk
from tests.servers_kit import operator, running

TABLES = {"log": {"console": "never", "file": False}, "queue": {"free-octets": 0, "free-files": 0}}
QUEUES = ("incoming", "outgoing")
ASIDE = {"dead": "dead", "corrupt": "corrupt"}         # by state: where else the file is


@dataclass
class Holdings:
    """`messages`: (recipient, content) of every copy; `queued`: id -> (queue, state); `aside`: ids whose slot is where those set aside lie;
    `torn`: ids whose slot is not whole; `wrong`: what the audit and fsck say."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    queued: dict[str, tuple[str, str]] = field(default_factory=dict)
    aside: set[str] = field(default_factory=set)
    torn: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    aliases: set[str] = field(default_factory=set)


async def inventory(state: Path) -> Holdings:
    """Look everywhere."""
    holdings = Holdings()
    with closing(SqliteAccounts(state / "accounts.db")) as accounts:
        holdings.aliases = {alias.address for alias in accounts.aliases()}
    SqliteMailboxes(state / "mail").close()             # plays its log back, as fm-mailbox does at its start
    for user in LOCAL:
        holdings.messages += [(user, content) for content in await from_disk(state / "mail", user)]
    async with running(QueueServer, state, TABLES) as daemon:
        await daemon.swept.wait()           # a slot that its writer made durable is a message, but may have to be found first
        with operator(state, "queue") as queue:
            for name in QUEUES:
                for row in (await queue.rows("messages", name, 10_000))[1]:
                    holdings.queued[row.text(0)] = name, row.text(1)
                    places = [state / "queues" / place / row.text(0) for place in (ASIDE.get(row.text(1), name), name)]
                    _look(places, holdings)
                    if row.text(1) in ASIDE and places[0].exists():
                        holdings.aside.add(row.text(0))
            holdings.wrong = await audited(state, queue)
    return holdings


async def audited(state: Path, queue) -> list[str]:
    """What `fmctl audit` and, after it, `fmctl fsck` find; nothing, if all is right."""
    async def ask(verb: str) -> dict:
        return json.loads((await queue.call(verb, timeout=30))[0])
    with closing(SqliteMailboxes(state / "mail")) as store, closing(FileBlobs(state / "mail" / "blobs")) as blobs:
        auditor = MailboxAudit(Mailboxes(store, blobs))
        before = stated(await ask("audit"), _looked(auditor).told())
        mended = await ask("mend") | auditor.mend(_looked(auditor))
        after = stated(await ask("audit"), _looked(auditor).told())
    wrong = [f"{when}: {facts}" for when, facts in (("audit", before), ("audit after fsck", after)) if not facts["right"]]
    return wrong + [f"fsck mends: {name} {count}" for name, count in mended.items() if count]


def _looked(auditor: MailboxAudit) -> Books:
    books = Books()
    for _ in auditor.look(books, contents=True):
        """To the end."""
    return books


def _look(places: list[Path], holdings: Holdings) -> None:
    """What is set aside may lie in its queue still, if its row was on the disk before its new name: fm-queue looks in both, too."""
    try:
        with read_slot(next(filter(Path.exists, places))) as slot:
            slot.verify()
            content = slot.read()
            holdings.messages += [(recipient.address, content) for recipient in slot.envelope.recipients]
    except (OSError, SlotError, AttributeError, StopIteration):
        holdings.torn.append(places[0].name)
