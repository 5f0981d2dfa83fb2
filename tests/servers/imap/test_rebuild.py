"""`rebuild` makes all that is derived again from contents and states: clients find the same UIDs, flags, order and answers as before."""

from __future__ import annotations

import asyncio
import re

import pytest

from fancymail.servers.asking.reader import VerbReader
from fancymail.servers.imap import daemon
from tests.servers.imap.kit import Client, Suite

ALICE = "alice@example.test"
PARTS = (b"From: Zoe <zoe@x.test>\r\nSubject: parts\r\nMessage-ID: <p@x>\r\nReferences: <0@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
         b"--b\r\n\r\nneedle\r\n--b\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n")
QUESTIONS = ["UID FETCH 1:* (FLAGS RFC822.SIZE INTERNALDATE SAVEDATE ENVELOPE BODYSTRUCTURE PREVIEW EMAILID THREADID MODSEQ)",
             "UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[1])", "UID SEARCH FROM zoe", "UID SEARCH TEXT needle",
             "UID SEARCH SUBJECT number", "UID SORT (SUBJECT REVERSE ARRIVAL) UTF-8 ALL", "UID THREAD REFERENCES UTF-8 ALL",
             "STATUS Work (MESSAGES UNSEEN DELETED SIZE UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"]
DAMAGE = ["UPDATE derived SET envelope = x'2829', bodystructure = x'2829', preview = 'no', from_text = '', subject_text = '', subject_key = ''",
          "UPDATE text SET header = '', body = ''", "UPDATE mailbox SET messages = 77, unseen = 66, deleted = 55, octets = 44"]


async def fill(client: Client) -> None:
    """A mailbox with mail of several kinds, with flags and a gap."""
    await client.ok("CREATE Work")
    for number in range(4):
        await client.append("Work", b"From: bob@x.test\r\nSubject: number %d\r\nMessage-ID: <%d@x>\r\n\r\ntext %d\r\n" % (number, number, number))
    await client.append("Work", PARTS, r"\Flagged $Label")
    await client.ok("SELECT Work")
    await client.ok(r"STORE 2 +FLAGS (\Deleted \Seen)")
    await client.ok("EXPUNGE")
    await client.ok(r"STORE 1 +FLAGS (\Deleted)")
    await client.ok("UNSELECT")


async def picture(suite: Suite) -> list[list[bytes]]:
    """What a new session is told of it."""
    client = await suite.login()
    await client.ok("EXAMINE Work")
    return await answers(client)


async def answers(client: Client) -> list[list[bytes]]:
    """To all questions; modseqs of the mailbox are none of them, since a rebuild has one of its own."""
    return [[re.sub(rb"HIGHESTMODSEQ \d+", b"", line) for line in await client.ok(question)] for question in QUESTIONS]


async def rebuilt(suite: Suite) -> None:
    """Have it rebuilt, and wait until that is through."""
    box, account = await suite.imap.reader.mailbox(ALICE, "Work"), suite.mailbox_daemon.records.account(ALICE)
    assert await suite.mailbox.call("rebuild", ALICE) == [b"4"]
    async with asyncio.timeout(10):
        while account.shard.one("SELECT count(*) FROM derived")[0] < 4 or await suite.mailbox.call("derive", ALICE, box.id, "1:*") != [b"0"]:
            await asyncio.sleep(0)


@pytest.mark.parametrize("by_verbs", [False, True], ids=["files", "verbs"])
async def test_all_that_is_derived_is_made_again(suite, monkeypatch, by_verbs):
    if by_verbs:
        monkeypatch.setattr(daemon, "open_reader", lambda imap, **more: VerbReader(lambda: imap.peer("mailbox")))
        await suite.restart()
    await fill(await suite.login())
    before = await picture(suite)
    shard = suite.mailbox_daemon.records.account(ALICE).shard
    with shard:
        for statement in DAMAGE:
            shard.execute(statement)
    await suite.restart()
    assert await picture(suite) != before
    await rebuilt(suite)
    assert await picture(suite) == before


@pytest.mark.parametrize("told", [True, False], ids=["alerted", "unheard"])
async def test_sessions_of_all_processes_answer_from_what_was_rebuilt(suite, monkeypatch, told):
    """They keep orders of mailboxes that are open, and these were made of the damage. An alert may be lost: the modseq tells them all the same."""
    await fill(await suite.login())
    before = await picture(suite)
    await suite.restart()
    shard = suite.mailbox_daemon.records.account(ALICE).shard
    with shard:
        for statement in DAMAGE:
            shard.execute(statement)
    sessions = [await place.login() for place in (suite, await suite.beside())]
    for client in sessions:
        await client.ok("EXAMINE Work")
        assert await answers(client) != before
    if not told:
        monkeypatch.setattr(suite.mailbox_daemon, "alert", lambda topic: None)
    await rebuilt(suite)
    for client in sessions:
        await client.ok("NOOP")
        assert await answers(client) == before
