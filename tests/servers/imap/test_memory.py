"""What a process of fm-imap holds: sessions and mailboxes are let go of, and what is kept has a limit in octets, whatever clients ask for."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
import weakref

import pytest

from fancymail.core.imap import image, orders
from fancymail.mail.kept import octets_kept
from fancymail.servers.imap import finding
from fancymail.servers.imap.images import Box
from fancymail.servers.imap.session import ImapSession
from tests.servers.imap.kit import Client, Suite
from tests.servers_kit import operator

ALICE = "alice@example.test"
WORK = ["SELECT INBOX", "FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)", "FETCH 1:* BODY.PEEK[]", "FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT X-A)]",
        "SEARCH TEXT text", "SORT (SUBJECT) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "SEARCH RETURN (UPDATE) UNSEEN",
        r"STORE 1:* +FLAGS (\Seen a b)", "COPY 1:2 Archive", r"STORE 1 +FLAGS.SILENT (\Deleted)", "EXPUNGE", "SELECT Archive",
        "STATUS INBOX (MESSAGES)", 'LIST "" *', "UNSELECT"]


async def fill(suite: Suite, count: int) -> Client:
    client = await suite.login()
    for number in range(count):
        await client.append("INBOX", b"Subject: number %d\r\nMessage-ID: <%d@x>\r\n\r\ntext\r\n" % (number, number))
    return client


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("end", ["LOGOUT", "hang up", "hang up in IDLE", "hang up in APPEND", "hang up in FETCH"])
async def test_sessions_and_their_mailboxes_are_let_go_of(suite, end):
    await suite.restart(images=0.0)
    (await fill(suite, 6)).close()
    gone: list[weakref.ref] = []
    for _ in range(3):
        client = await suite.login()
        for command in WORK:
            await client.ok(command)
        await client.ok("SELECT INBOX")
        gone += [weakref.ref(one) for one in gc.get_objects() if type(one) in (ImapSession, Box) or type(one) is image.BoxImage]
        if end == "LOGOUT":
            await client.ok(end)
        elif end == "hang up in IDLE":
            client.start("IDLE")
            await client.response()
        elif end == "hang up in APPEND":
            client.send("x APPEND INBOX {100000}\r\n")
            await client.response()
        elif end == "hang up in FETCH":
            client.start("FETCH 1:* BODY.PEEK[]")
        client.close()
    assert len(gone) >= 9
    await until(lambda: not suite.imap.sessions and not len(suite.imap.images))
    await until(lambda: gc.collect() >= 0 and not [one for one in gone if one() is not None])


@pytest.mark.parametrize("command", ["SELECT INBOX", "EXPUNGE", "SEARCH ALL", "SEARCH RETURN (SAVE UPDATE) ALL"])
async def test_who_breaks_off_in_the_middle_of_a_command_is_let_go_of(suite, monkeypatch, command):
    await suite.restart(images=0.0)
    (await fill(suite, 2)).close()
    began, go = asyncio.Event(), asyncio.Event()

    def waiting(work):
        async def late(*arguments, **options):
            began.set()
            await go.wait()
            return await work(*arguments, **options)
        return late
    client = await suite.login()
    if command != "SELECT INBOX":
        await client.ok("SELECT INBOX")
    await suite.deliver(b"Subject: new\r\n\r\n")
    for store in ("claim", "expunge"):
        monkeypatch.setattr(suite.imap.store, store, waiting(getattr(suite.imap.store, store)))
    monkeypatch.setattr(finding, "search", waiting(finding.search))
    client.start(command)
    await began.wait()
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()
    await until(lambda: not suite.imap.caps.sessions)
    under_way = [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "ImapSession._go_on"]
    go.set()
    await asyncio.wait(under_way)
    await until(lambda: not suite.imap.sessions and not len(suite.imap.images) and not suite.imap.audience.of(ALICE))
    assert not suite.imap.counters["broken"]


HOSTILE = [lambda number: "FETCH 1 (%s)" % " ".join(f"BODY.PEEK[HEADER.FIELDS (X{number}-{name} {'y' * 60})]" for name in range(40)),
           lambda number: f"FETCH 1 BODY.PEEK[HEADER.FIELDS ({' '.join(f'N{number}x{name}' for name in range(200))})]",
           lambda number: f"UID FETCH 1 (BODY.PEEK[{number + 1}] FLAGS)",
           lambda number: f"SEARCH {' '.join(f'LARGER {number + key}' for key in range(20))}",
           lambda number: f"STATUS {'x' * 100}{number} (MESSAGES)",
           lambda number: f"UID FETCH {','.join(str(2 * key + number) for key in range(1, 20))} UID"]


async def test_whatever_is_asked_little_is_kept_of_it(suite):
    client = await fill(suite, 1)
    await client.ok("SELECT INBOX")
    for question in HOSTILE:
        for number in range(120):
            await client.ask(question(number))
    async with asyncio.timeout(10):
        with operator(suite.state, "imap") as door:
            stats = json.loads((await door.call("stats"))[0])
    assert octets_kept() < stats["kept_octets"] + 1 and 0 < stats["kept_octets"] <= stats["kept_octets_most"] < 64 << 20
    assert 0 < stats["image_octets"] < 1 << 20


async def test_flags_of_removed_messages_are_forgotten_in_time(suite, monkeypatch):
    """A client that says nothing cannot be told of an expunge; another one goes through mail meanwhile."""
    monkeypatch.setattr(image, "GONE", 10)
    client = await fill(suite, 3)
    silent = await suite.login()
    for one in (client, silent):
        await one.ok("SELECT INBOX")
    for _ in range(6):
        await client.ok("COPY 1:3 INBOX")
        await client.ok(r"STORE 1:3 +FLAGS.SILENT (\Deleted)")
        await client.ok("EXPUNGE")
    (box,) = suite.imap.images._boxes["alice@example.test"].values()
    assert 0 < len(box.image.gone) <= 10
    assert len(await silent.ok("FETCH 1:3 (UID FLAGS)")) >= 3
    await silent.ok("NOOP")
    assert await silent.ok("UID SEARCH ALL") == await client.ok("UID SEARCH ALL")


def test_orders_of_all_mailboxes_share_their_room():
    assert orders.SHARE.octets <= orders.SHARE.most <= 32 << 20
