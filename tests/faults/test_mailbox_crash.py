"""fm-mailbox is killed between any two steps of a delivery: afterwards every message is there, once, and whole."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import pytest

from fancymail.core.mailboxes import Mailboxes
from fancymail.ipc.message import IpcError
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.queue.daemon import QueueServer
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.slots import write_slot
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from tests.servers_kit import operator, running

ROOT = Path(__file__).parents[2]
ALICE, BOB = "alice@example.test", "bob@example.test"
TABLES = {"server": {"default-domain": "example.test"}, "log": {"console": "never"}}
START = ("import sys; from fancymail.servers.running.daemon import run_daemon; from fancymail.servers.mailbox.daemon import MailboxServer; "
         "run_daemon(MailboxServer, sys.argv[1])")
COUNT = 60


@pytest.fixture
async def doors(tmp_path):
    (tmp_path / "fancymail.toml").write_text('[server]\ndefault-domain = "example.test"\n[log]\nconsole = "never"\n')
    async with AsyncExitStack() as stack:
        for daemon in (AuthServer, QueueServer):
            await stack.enter_async_context(running(daemon, tmp_path, TABLES))
        found = {name: stack.enter_context(operator(tmp_path, name)) for name in ("auth", "queue", "mailbox")}
        await found["auth"].call("domain-add", "example.test")
        for address in (ALICE, BOB):
            await found["auth"].call("account-add", address)
        yield found


def content(number: int) -> bytes:
    """Every third one is large, and so becomes a blob; the others stay with their rows."""
    return b"Subject: %d\r\n\r\nnumber %d\r\n" % (number, number) + b"and so on\r\n" * (5000 if number % 3 == 0 else 0)


async def push(queue) -> None:
    paths = [path.decode() for path in await queue.call("slot", "incoming", COUNT)]
    for number, path in enumerate(paths):
        recipients = [Recipient(ALICE), Recipient(BOB)] if number % 2 else [Recipient(ALICE)]
        write_slot(path, Envelope(path[-26:], "carol@x.test", recipients, received=1e9), content(number))
    await queue.call("push", "incoming", *paths)


async def start(state, crash: str = ""):
    return await asyncio.create_subprocess_exec(sys.executable, "-c", START, str(state), cwd=ROOT, env={**os.environ, "FM_CRASH_AT": crash})


async def all_delivered(mailbox, queue) -> None:
    """Wait until the mailboxes are full and the queue is empty."""
    async with asyncio.timeout(60):
        while True:
            try:
                first, _ = await mailbox.rows("list", BOB, timeout=5)
                _, rows = await queue.rows("queues")
            except IpcError:
                continue
            incoming = next([int(value) for value in row.params[1:3]] for row in rows if row.text(0) == "incoming")
            if int(first[0]) >= COUNT // 2 and not sum(incoming):
                return


@pytest.mark.parametrize("crashes", [
    ["mailbox.linked:1", "mailbox.synced:1", "mailbox.stored:1"], ["mailbox.stored:3", "mailbox.stored:2", "mailbox.linked:4"],
    ["mailbox.synced:5", "mailbox.stored:5"]])
async def test_killed_between_two_steps(doors, tmp_path, crashes):
    await push(doors["queue"])
    for crash in crashes:
        process = await start(tmp_path, crash)
        assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    process = await start(tmp_path)
    try:
        await all_delivered(doors["mailbox"], doors["queue"])
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
    store, blobs = SqliteMailboxes(tmp_path / "mail"), FileBlobs(tmp_path / "mail/blobs")
    mailboxes = Mailboxes(store, blobs)
    for address, numbers in ((ALICE, range(COUNT)), (BOB, range(1, COUNT, 2))):
        messages = store.account(address).messages("INBOX", [(1, 2**32 - 1)])
        contents = [b"".join(mailboxes.octets(message)).removeprefix(message.prefix) for message in messages]
        assert sorted(contents) == sorted(content(number) for number in numbers)
        assert [message.blob for message in messages] == [sha256(octets).digest() for octets in contents]
        assert {message.content is None for message in messages} == {True, False}
        box = store.account(address).mailbox("INBOX")
        assert (box.messages, box.uidnext) == (len(messages), messages[-1].uid + 1)
    store.close(), blobs.close()
