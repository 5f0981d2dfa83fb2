"""fm-mailbox fills its index by itself, and fills it again after a rebuild."""

from __future__ import annotations

import asyncio

import apsw

from fancymail.mail.uidset import LARGEST
from fancymail.servers.asking.reader import VerbReader
from fancymail.servers.asking.store import Letter, MailStore
from fancymail.servers.mailbox import indexing
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.mailbox.recipients import Account
from tests.servers_kit import operator, running

ALICE = "alice@example.test"


async def found(name: str) -> Account:
    return Account(name, 0)


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_comes_is_indexed(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "IDLE", 0.01)
    monkeypatch.setattr(indexing, "REST", 0.001)
    tables = {"log": {"console": "never"}, "mailbox": {"search-index": 2}}
    async with running(MailboxServer, tmp_path, tables) as daemon:
        daemon.recipients.find = found
        with operator(tmp_path, "mailbox") as door:
            store = MailStore(lambda name, verb, *words, timeout: door.call(verb, *words, timeout=timeout))
            await store.append(ALICE, "INBOX", [Letter(b"Subject: a\r\n\r\nneedle\r\n", 1), Letter(b"Subject: b\r\n\r\nhay\r\n", 1)])
            await until(lambda: daemon.indexing.count == 2)
            box = VerbReader(lambda: door).open(ALICE, 1)
            assert await box.matching(["needle"], "text", [(1, LARGEST)]) == [1]
            assert await door.call("rebuild", ALICE) == [b"2"]
            await until(lambda: daemon.indexing.count == 4)
            assert await box.matching(["hay"], "text", [(1, LARGEST)]) == [2]
    assert (tmp_path / "mail/text-0.db").exists()


async def test_a_failure_that_nobody_foresaw_is_no_end(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "IDLE", 0.01)
    monkeypatch.setattr(indexing, "TROUBLE", 0.01)
    failing, begin = iter([apsw.CantOpenError("unable to open database file")]), indexing.Indexing._begin

    def first_not(self) -> None:
        for error in failing:
            raise error
        begin(self)
    monkeypatch.setattr(indexing.Indexing, "_begin", first_not)
    async with running(MailboxServer, tmp_path, {"log": {"console": "never"}, "mailbox": {"search-index": 0}}) as daemon:
        daemon.recipients.find = found
        with operator(tmp_path, "mailbox") as door:
            store = MailStore(lambda name, verb, *words, timeout: door.call(verb, *words, timeout=timeout))
            await store.append(ALICE, "INBOX", [Letter(b"Subject: a\r\n\r\nneedle\r\n", 1)])
            await until(lambda: daemon.indexing.count == 1)
            assert next(failing, None) is None


async def test_a_broken_index_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "IDLE", 0.01)
    (tmp_path / "mail").mkdir(parents=True)
    (tmp_path / "mail/text-0.db").write_bytes(b"no database" * 100)
    async with running(MailboxServer, tmp_path, {"log": {"console": "never"}, "mailbox": {"search-index": 0}}) as daemon:
        daemon.recipients.find = found
        with operator(tmp_path, "mailbox") as door:
            store = MailStore(lambda name, verb, *words, timeout: door.call(verb, *words, timeout=timeout))
            await store.append(ALICE, "INBOX", [Letter(b"Subject: a\r\n\r\nneedle\r\n", 1)])
            box = VerbReader(lambda: door).open(ALICE, 1)
            assert await box.matching(["needle"], "text", [(1, LARGEST)]) == [1]
            await until(lambda: daemon.indexing.count == 1)          # it was made anew
