"""fm-mailbox live, beside a real fm-queue and fm-auth: the reference's verbs, POP3's, the operator's, and mail from the queue."""

from __future__ import annotations

import asyncio
import errno
import struct
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from fancymail.ipc.message import IpcError
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.mailbox import daemon as daemon_module
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.queue.daemon import QueueServer
from fancymail.storage.ports.mailboxes import Delivery
from fancymail.storage.slots import write_slot
from fancymail.storage.sqlite import mailboxes as sqlite_mailboxes
from tests.servers_kit import operator, running

ALICE, BOB = "alice@example.test", "bob@example.test"
TABLES = {"server": {"default-domain": "example.test", "hostname": "mail.example.test"}, "log": {"console": "never"}}
MESSAGE = b"Subject: one\r\n\r\nThis is the first message.\r\n"
LARGE = MESSAGE + b"Line upon line.\r\n" * 5000


class Suite:
    """Three daemons and the operator's door of each."""

    def __init__(self, auth, queue, mailbox, daemon) -> None:
        self.auth, self.queue, self.mailbox, self.daemon = auth, queue, mailbox, daemon

    async def push(self, *recipients: str, content: bytes = MESSAGE, sender: str = "carol@x.test", queue: str = "incoming") -> str:
        path = (await self.queue.call("slot", queue))[0].decode()
        write_slot(path, Envelope(path.rpartition("/")[2], sender, [Recipient(address) for address in recipients], received=1e9), content)
        await self.queue.call("push", queue, path)
        return path

    async def until(self, user: str, count: int) -> list[tuple[int, int]]:
        """Wait for mail; the daemon says when there is some."""
        while True:
            self.daemon.alerted_test.clear()
            found = await self.list(user)
            if len(found) >= count:
                return found
            await asyncio.wait_for(self.daemon.alerted_test.wait(), 20)

    async def list(self, user: str) -> list[tuple[int, int]]:
        first, rows = await self.mailbox.rows("list", user)
        assert int(first[0]) == len(rows)
        return [tuple(map(int, row.params)) for row in rows]

    async def retr(self, user: str, number: int) -> bytes:
        first, content = await self.mailbox.read_raw("retr", user, number)
        assert int(first[0]) == len(content)
        return content


@pytest.fixture
async def daemons(tmp_path):
    """fm-auth with two accounts and fm-queue: their operator's doors."""
    async with AsyncExitStack() as stack:
        for daemon in (AuthServer, QueueServer):
            await stack.enter_async_context(running(daemon, tmp_path, TABLES))
        doors = [stack.enter_context(operator(tmp_path, name)) for name in ("auth", "queue")]
        await doors[0].call("domain-add", "example.test")
        for address in (ALICE, BOB):
            await doors[0].call("account-add", address)
        yield doors


@asynccontextmanager
async def mailbox_beside(daemons, state):
    async with running(MailboxServer, state, TABLES) as daemon:
        daemon.alerted_test = asyncio.Event()
        alert = daemon.delivery.alert
        daemon.delivery.alert = lambda account: (alert(account), daemon.alerted_test.set())
        with operator(state, "mailbox") as door:
            yield Suite(*daemons, door, daemon)


@pytest.fixture
async def suite(daemons, tmp_path):
    async with mailbox_beside(daemons, tmp_path) as suite:
        yield suite


# The reference

async def test_the_conversation_of_the_reference(suite):
    assert await suite.list(ALICE) == []
    assert await suite.mailbox.write_raw("store", ALICE, ALICE, len(MESSAGE), content=MESSAGE) == [b"1"]
    stored = b"Delivered-To: alice@example.test\r\n" + MESSAGE
    assert await suite.list("alice") == [(1, len(stored))]
    assert await suite.retr(ALICE, 1) == stored
    assert await suite.mailbox.call("dele", ALICE, 1) == []
    for verb in ("dele", "blob"):
        with pytest.raises(IpcError, match="no such message"):
            await suite.mailbox.call(verb, ALICE, 1)
    with pytest.raises(IpcError, match="no such message"):
        await suite.retr(ALICE, 1)
    assert await suite.list(ALICE) == []


async def test_a_number_means_the_same_for_ever(suite):
    for _ in range(3):
        await suite.mailbox.write_raw("store", ALICE, "", len(MESSAGE), content=MESSAGE)
    await suite.mailbox.call("dele", ALICE, 2)
    await suite.mailbox.write_raw("store", ALICE, "", len(MESSAGE), content=MESSAGE)
    assert [number for number, _ in await suite.list(ALICE)] == [1, 3, 4]


@pytest.mark.parametrize("verb, words", [
    ("list", ()), ("maildrop", ()), ("folders", ()), ("retr", (1,)), ("dele", (1,)), ("blob", (1,)), ("expunge", ("1",)), ("usage", ()),
    ("lock", ("me",)), ("create", ("x",)), ("undelete", (60,))])
async def test_there_is_no_such_user(suite, verb, words):
    with pytest.raises(IpcError) as caught:
        await suite.mailbox.call(verb, "nobody", *words)
    assert caught.value.status == "5.1.1"


@pytest.mark.parametrize("line", [
    ("list",), ("list", ""), ("list", "a\0b"), ("list", "alice", "x"),
    ("retr", "alice"), ("retr", "alice", "0"), ("retr", "alice", "-1"), ("retr", "alice", "1_0"), ("retr", "alice", "a"),
    ("retr", "alice", str(2**32)),
    ("dele", "alice", "1 "), ("expunge", "alice", "0"), ("undelete", "alice", "60", "none"),
    ("store", "alice", "alice"), ("store", "alice", "alice", "x"), ("store", "alice", "a\r\nb", "1"),
    ("lock", "alice", "two words"), ("lock", "alice", "me", "-5"),
    ("create", "alice", "a//b"), ("create", "alice", "inbox"), ("rename", "alice", "none", "new"), ("remove", "alice", "INBOX"),
    ("subscribe", "no address", "tcp://127.0.0.1:1")])
async def test_what_is_said_wrongly_is_an_error(suite, line):
    with pytest.raises(IpcError) as caught:
        await suite.mailbox.call(*line)
    assert caught.value.status.startswith("5.")
    assert await suite.mailbox.call("ping") == [b"mailbox"]


async def test_a_user_is_never_a_path(suite, tmp_path):
    before = sorted(path.name for path in tmp_path.rglob("*") if path.is_dir() and len(path.name) != 2)
    for user in ("../../etc/passwd", "..", "/abs", "a/b", "a\\b@example.test", "%2e%2e%2f", "." * 300):
        with pytest.raises(IpcError):
            await suite.mailbox.call("list", user)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir() and len(path.name) != 2) == before


@pytest.mark.parametrize("content", [b"", b"x", b"a\nb\n", b"\r", MESSAGE * 5000, bytes(range(256)) * 999])
async def test_what_is_stored_comes_back(suite, content):
    await suite.mailbox.write_raw("store", ALICE, "", len(content), content=content)
    expected = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert await suite.retr(ALICE, 1) == expected
    assert await suite.list(ALICE) == [(1, len(expected))]


async def test_what_is_stored_is_synced_before_a_row_names_it(suite, monkeypatch):
    def broken():
        raise OSError("Input/output error")
    monkeypatch.setattr(suite.daemon.blobs, "sync", broken)
    with pytest.raises(IpcError) as caught:
        await suite.mailbox.write_raw("store", ALICE, "", len(LARGE), content=LARGE)
    assert caught.value.status.startswith("4.") and await suite.list(ALICE) == []


async def test_store_is_bounded(suite):
    with pytest.raises(IpcError) as caught:
        await suite.mailbox.write_raw("store", ALICE, "", 2**40, content=b"x")
    assert caught.value.status == "5.3.4"


async def test_more_than_was_announced_is_not_stored(suite, tmp_path):
    with pytest.raises(IpcError, match="more raw octets"):
        await suite.mailbox.write_raw("store", ALICE, "", 10, content=b"x" * 11)
    assert await suite.list(ALICE) == []
    assert not list((tmp_path / "mail/blobs/tmp").iterdir())


# Mail from the queue

async def test_mail_comes_from_the_queue(suite):
    path = await suite.push(ALICE, BOB)
    await suite.until(ALICE, 1)
    content = await suite.retr(ALICE, 1)
    assert content == b"Return-Path: <carol@x.test>\r\nDelivered-To: alice@example.test\r\n" + MESSAGE
    assert b"Delivered-To: bob@example.test\r\n" in await suite.retr(BOB, 1)
    with pytest.raises(IpcError):
        while True:
            await suite.queue.call("show", "incoming", path)      # it leaves the queue


async def test_a_thousand_messages_come_once_and_in_order(suite):
    paths = [(await suite.queue.call("slot", "incoming"))[0].decode() for _ in range(300)]
    for number, path in enumerate(paths):
        write_slot(path, Envelope(path[-26:], "c@x.test", [Recipient(ALICE)]), MESSAGE + b"%d\r\n" % number)
    for start in range(0, 300, 100):
        await suite.queue.call("push", "incoming", *paths[start:start + 100])
    found = await suite.until(ALICE, 300)
    assert [number for number, _ in found] == list(range(1, 301))
    contents = [(await suite.retr(ALICE, number)).splitlines()[-1] for number in (1, 150, 300)]
    assert contents == [b"0", b"149", b"299"]


async def test_who_is_gone_costs_the_sender_a_notice(suite):
    await suite.push("gone@example.test", sender=BOB)
    await suite.until(BOB, 1)
    notice = await suite.retr(BOB, 1)
    assert notice.startswith(b"Return-Path: <>\r\nDelivered-To: bob@example.test\r\n")
    assert b"gone@example.test" in notice and b"5.1.1" in notice and b"multipart/report" in notice


async def test_a_bare_slot_is_put_aside(suite):
    path = (await suite.queue.call("slot", "incoming"))[0].decode()
    with open(path, "wb") as file:
        file.write(MESSAGE)
    await suite.queue.call("push", "incoming", path)
    while True:
        _, rows = await suite.queue.rows("queues")
        counts = {row.text(0): [int(value) for value in row.params[1:]] for row in rows}
        if sum(counts["incoming"][3:6]):
            break
    assert await suite.list(ALICE) == []


async def test_a_quota_is_kept(suite):
    await suite.auth.call("account-quota", ALICE, 200)
    suite.daemon.recipients.doubt()
    await suite.push(ALICE, content=MESSAGE)
    await suite.until(ALICE, 1)
    await suite.push(ALICE, BOB, content=MESSAGE * 9)
    await suite.until(BOB, 1)
    assert len(await suite.list(ALICE)) == 1
    assert [int(value) for value in await suite.mailbox.call("usage", ALICE)] == [6, 1, (await suite.list(ALICE))[0][1], 200]


# For POP3

async def test_a_maildrop_is_a_snapshot(suite):
    for number in range(3):
        await suite.mailbox.write_raw("store", ALICE, "", len(MESSAGE), content=MESSAGE)
    await suite.mailbox.call("expunge", ALICE, "2")
    answers = suite.mailbox.stream("maildrop", ALICE)
    first = await anext(answers)
    count, octets, uidvalidity, _ = map(int, first.params)
    records = b"".join((await anext(answers)).params)
    await answers.aclose()
    assert list(struct.iter_unpack("<IQ", records)) == [(1, len(MESSAGE)), (3, len(MESSAGE))]
    assert (count, octets) == (2, 2 * len(MESSAGE)) and uidvalidity > 1_700_000_000


async def test_an_empty_maildrop_has_no_raw_octets(suite):
    answers = suite.mailbox.stream("maildrop", ALICE)
    assert [int(value) for value in (await anext(answers)).params[:2]] == [0, 0]
    await answers.aclose()
    assert await suite.mailbox.call("ping") == [b"mailbox"]


async def test_a_large_maildrop_comes_in_chunks(suite):
    account = suite.daemon.mailboxes.account(ALICE)
    account.deliver([Delivery("INBOX", "", 0, bytes(32), number, b"", 0) for number in range(6000)], 0)
    answers, records, chunks = suite.mailbox.stream("maildrop", ALICE), b"", 0
    first = await anext(answers)
    while len(records) < 12 * int(first.params[0]):
        records += b"".join((await anext(answers)).params)
        chunks += 1
    await answers.aclose()
    assert list(struct.iter_unpack("<IQ", records)) == [(number + 1, number) for number in range(6000)]
    assert chunks == 3


async def test_a_message_can_be_read_where_it_lies(suite):
    await suite.push(ALICE, content=LARGE)
    await suite.push(ALICE)
    await suite.until(ALICE, 2)
    path, offset, length, prefix = await suite.mailbox.call("blob", ALICE, 1)
    with open(path, "rb") as file:
        file.seek(int(offset))
        assert prefix + file.read(int(length)) == await suite.retr(ALICE, 1)
    small = await suite.mailbox.call("blob", ALICE, 2)
    assert small == [b"", b"0", b"0", await suite.retr(ALICE, 2)] and small[3].endswith(MESSAGE)
    assert (await suite.mailbox.call("blob", ALICE, 2, 3))[4:] == [b"", b"0", b"0", b""]


async def test_a_maildrop_has_one_holder(suite):
    assert await suite.mailbox.call("lock", ALICE, "one", 30) == [b"30.0"]
    assert await suite.mailbox.call("lock", "alice", "one", 9999) == [b"60.0"]
    with pytest.raises(IpcError) as caught:
        await suite.mailbox.call("lock", ALICE, "two")
    assert caught.value.status == "4.2.1"
    await suite.mailbox.call("lock", BOB, "two")
    await suite.mailbox.call("unlock", ALICE, "two")
    with pytest.raises(IpcError):
        await suite.mailbox.call("lock", ALICE, "two")
    await suite.mailbox.call("unlock", ALICE, "one")
    await suite.mailbox.call("lock", ALICE, "two")


async def test_expunge_takes_sets(suite):
    for number in range(9):
        await suite.mailbox.write_raw("store", ALICE, "", 1, content=b"%d" % number)
    assert await suite.mailbox.call("expunge", ALICE, "1:3,5", "9", "77") == [b"5"]
    assert await suite.mailbox.call("expunge", ALICE, "1:3") == [b"0"]
    assert [number for number, _ in await suite.list(ALICE)] == [4, 6, 7, 8]
    assert await suite.mailbox.call("undelete", ALICE, 3600) == [b"5"]
    assert [number for number, _ in await suite.list(ALICE)] == [4, 6, 7, 8, 10, 11, 12, 13, 14]


async def test_many_changes_share_a_commit(suite):
    for _ in range(20):
        await suite.mailbox.write_raw("store", ALICE, "", 1, content=b"x")
    commits = []
    transaction = suite.daemon.records.transaction
    suite.daemon.turn._transaction = lambda: commits.append(1) or transaction()
    await asyncio.gather(*(suite.mailbox.call("dele", ALICE, number) for number in range(1, 21)))
    assert await suite.list(ALICE) == []
    assert len(commits) <= 20 + 10                 # one for each, nested; few around them


# Mailboxes and the operator

async def test_folders(suite):
    await suite.mailbox.call("create", ALICE, "Work/2026")
    await suite.mailbox.call("rename", ALICE, "Work", "Old")
    _, rows = await suite.mailbox.rows("folders", ALICE)
    assert [(row.text(0), row.text(6)) for row in rows] == [
        ("Archive", "\\Archive"), ("Drafts", "\\Drafts"), ("INBOX", ""), ("Junk", "\\Junk"), ("Old", ""), ("Old/2026", ""),
        ("Sent", "\\Sent"), ("Trash", "\\Trash")]
    await suite.mailbox.call("remove", ALICE, "Old/2026")
    _, rows = await suite.mailbox.rows("folders", ALICE)
    assert len(rows) == 7


async def test_forget_needs_the_account_to_be_gone(suite):
    await suite.mailbox.write_raw("store", ALICE, "", 1, content=b"x")
    with pytest.raises(IpcError, match="remove it first"):
        await suite.mailbox.call("forget", ALICE)
    await suite.auth.call("account-remove", ALICE)
    await suite.mailbox.call("forget", ALICE)
    assert await suite.mailbox.call("accounts") == []


async def test_purge_now(suite):
    await suite.mailbox.write_raw("store", ALICE, "", len(LARGE), content=LARGE)
    await suite.mailbox.call("dele", ALICE, 1)
    assert await suite.mailbox.call("purge") == [b"0"]
    suite.daemon.mailboxes.keep = suite.daemon.mailboxes.keep._replace(expunged=-1, blobs=0)
    assert await suite.mailbox.call("purge") == [b"1"]


async def test_purge_ends_when_nothing_is_due_any_more(suite, monkeypatch):
    monkeypatch.setattr(sqlite_mailboxes, "SLICE", 2)
    for _ in range(5):
        await suite.mailbox.write_raw("store", ALICE, "", len(MESSAGE), content=MESSAGE)
    await suite.mailbox.call("expunge", ALICE, "1:5")
    suite.daemon.mailboxes.keep = suite.daemon.mailboxes.keep._replace(expunged=-1, blobs=0)
    assert await suite.mailbox.call("purge") == [b"0"]          # small ones are no contents of their own
    assert suite.daemon.records.account(ALICE).kept("INBOX", [(1, 9)]) == []


async def test_a_part_that_cannot_be_listed_keeps_nobody_from_the_next_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(daemon_module, "SWEEP", 0.0)
    async with running(MailboxServer, tmp_path, TABLES) as daemon:
        looked, last = [], asyncio.Event()

        def stale(part: int, before: float) -> list[bytes]:
            looked.append(part)
            if len(looked) == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            daemon.loop.call_soon_threadsafe(last.set)
            return []
        monkeypatch.setattr(daemon.blobs, "stale", stale)
        async with asyncio.timeout(20):
            await last.wait()
        assert looked[1] == (looked[0] + 1) % daemon.blobs.parts


async def test_a_lost_content_is_an_error_and_no_end(suite, tmp_path):
    await suite.mailbox.write_raw("store", ALICE, "", len(LARGE), content=LARGE)
    (blob,) = (tmp_path / "mail/blobs").glob("??/*")
    blob.write_bytes(b"short")
    with pytest.raises(IpcError, match="lost"):
        await suite.retr(ALICE, 1)
    blob.unlink()
    with pytest.raises(IpcError, match="lost"):
        await suite.retr(ALICE, 1)
    assert await suite.mailbox.call("ping") == [b"mailbox"]


async def test_roles(suite):
    verbs = suite.daemon.server.verbs
    common = {"ping", "help", "subscribe", "unsuscribe", "alert"}

    def may(role):
        return {verb.name for verb in verbs.values() if verb.allows(role)} - common
    assert may("smtpin") == {"full"} and may("smtpout") == may("queue") == may("auth") == set()
    assert may("pop3") == {"list", "retr", "dele", "maildrop", "lock", "unlock", "blob", "expunge", "usage", "read", "derive"}
    assert may("imap") == may("webmaild") == may("pop3") | {
            "store", "folders", "create", "rename", "remove", "make", "subscribe-name", "flags", "copy", "move", "expunge-from", "append", "claim",
            "set-metadata", "set-acl"}


async def test_all_is_there_after_a_restart(daemons, tmp_path):
    async with mailbox_beside(daemons, tmp_path) as suite:
        await suite.push(ALICE)
        before = await suite.until(ALICE, 1)
        content = await suite.retr(ALICE, 1)
    async with mailbox_beside(daemons, tmp_path) as suite:
        assert await suite.list(ALICE) == before
        assert await suite.retr(ALICE, 1) == content
