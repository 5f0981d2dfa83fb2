"""The contract of readers (ports/reader.py), asked of memory, of the shards, and of fm-mailbox by its verbs alike."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from hashlib import sha256
from secrets import token_hex

import pytest

from fancymail.core.imap.precompute import precompute
from fancymail.mail.derived import Derived
from fancymail.mail.mailbox import DELETED, FLAGGED, SEEN
from fancymail.mail.uidset import ranges
from fancymail.servers.asking.reader import VerbReader
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.mailbox.recipients import Account
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.memory.blobs import MemoryBlobs
from fancymail.storage.memory.mailboxes import MemoryMailboxes
from fancymail.storage.memory.reader import MemoryReader
from fancymail.storage.ports.blobs import Blob
from fancymail.storage.ports.mailboxes import Delivery
from fancymail.storage.ports.reader import COLUMNS, Content, MailboxGone
from fancymail.storage.postgres.database import Database
from fancymail.storage.postgres.mailboxes import PostgresMailboxes
from fancymail.storage.postgres.reader import PostgresReader
from fancymail.storage.s3.blobs import S3Blobs, S3Contents
from fancymail.storage.s3.cache import CacheFiles
from fancymail.storage.s3.objects import Objects
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.reader import SqliteReader
from fancymail.storage.waiting import Waiter
from tests.ceph_kit import ceph
from tests.cluster_kit import bucket, database
from tests.servers_kit import operator, running

ALICE, BOB = "alice@example.test", "bob@example.test"
NOW = 1_800_000_000
ALL = [(1, 2**32 - 1)]


class Kit:
    """A writer's store with contents, and a reader beside it."""

    def __init__(self, store, blobs, reader) -> None:
        self.store, self.blobs, self.reader = store, blobs, reader
        self.alice = store.account(ALICE)
        self.alice.create("INBOX", NOW)

    def put(self, *contents: bytes, mailbox: str = "INBOX", derive: bool = False, prefix: bytes = b"", account=None,
            small: bool = False) -> None:
        rows = []
        for content in contents:
            if small:
                blob = Blob(sha256(content).digest(), len(content))
            else:
                incoming = self.blobs.incoming()
                incoming.write(content)
                blob = incoming.finish()
            derived = precompute(prefix, content, NOW - 5) if derive else None
            rows.append(Delivery(mailbox, "", 0, blob.hash, blob.length, prefix, NOW - 5, derived=derived, content=content if small else None))
        (account or self.alice).deliver(rows, NOW)

    def inbox(self):
        return self.reader.open(ALICE, self.alice.mailbox("INBOX").id)


def letter(number: int, text: str = "") -> bytes:
    return f"From: N{number} <n{number}@x.test>\r\nSubject: number {number}\r\nX-Other: yes\r\n\r\nThis is {number}. {text}\r\n".encode()


@asynccontextmanager
async def memory(folder):
    store, blobs = MemoryMailboxes(changes=100), MemoryBlobs()
    yield store, blobs, MemoryReader(store, blobs, precompute)


@asynccontextmanager
async def shards(folder, count=3):
    store, blobs = SqliteMailboxes(folder / "mail", count, changes=100, synchronous="OFF"), FileBlobs(folder / "mail/blobs")

    async def derive(account, mailbox, uids):
        rows = store.account(account).underived(mailbox, uids, Derived().version)
        contents = [b"".join(blobs.read(row.blob, row.length)) if row.content is None else row.content for row in rows]
        store.derive([(row, precompute(row.prefix, content, row.internaldate)) for row, content in zip(rows, contents)])
    reader = SqliteReader(folder / "mail", count, derive=derive)
    yield store, blobs, reader
    reader.close()
    store.close()
    blobs.close()


@asynccontextmanager
async def verbs(folder):
    async def find(user):
        return Account(user, 0)
    async with running(MailboxServer, folder, {"log": {"console": "never"}, "mailbox": {"changes": 100}}) as daemon:
        daemon.recipients.find = find
        with operator(folder, "mailbox") as door:
            yield daemon.records, daemon.blobs, VerbReader(lambda: door)


@asynccontextmanager
async def cluster(folder, bucket=bucket):
    with database() as db:
        store, blobs = PostgresMailboxes(db, changes=100, settle=0), S3Blobs(CacheFiles(folder / "blobs"), Objects(bucket()))

        async def derive(account, mailbox, uids):
            rows = store.account(account).underived(mailbox, uids, Derived().version)
            contents = [b"".join(blobs.read(row.blob, row.length)) if row.content is None else row.content for row in rows]
            store.derive([(row, precompute(row.prefix, content, row.internaldate)) for row, content in zip(rows, contents)])
        reads = Database(db.dsn, Waiter(asyncio.get_running_loop()))
        yield store, blobs, PostgresReader(reads, S3Contents(folder / "blobs", Objects(blobs.objects.address)), derive)
        reads.close()
        blobs.close()


ENGINES = {"cluster": cluster, "memory": memory, "sqlite": lambda folder: shards(folder, 1), "shards": shards, "verbs": verbs,
           "ceph": lambda folder: cluster(folder, lambda: ceph().url(f"b{token_hex(8)}"))}


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] if name == "ceph" else []) for name in ENGINES])
async def kit(request, tmp_path):
    async with ENGINES[request.param](tmp_path) as parts:
        yield Kit(*parts)


async def test_the_mailboxes_of_an_account(kit):
    kit.alice.create("Work", NOW, "\\Archive", subscribed=False)
    kit.alice.subscribe("Gone", True)
    assert await kit.reader.mailboxes(ALICE) == kit.alice.mailboxes()
    assert await kit.reader.mailbox(ALICE, "Work") == kit.alice.mailbox("Work")
    assert await kit.reader.mailbox(ALICE, "Nothing") is None
    assert await kit.reader.subscriptions(ALICE) == ["Gone", "INBOX"]
    assert (await kit.reader.mailboxes(BOB), await kit.reader.subscriptions(BOB), await kit.reader.mailbox(BOB, "INBOX")) == ([], [], None)


async def test_metadata_and_access_lists(kit):
    box = kit.alice.mailbox("INBOX")
    kit.alice.set_metadata("INBOX", {"/private/comment": b"x"})
    kit.alice.set_metadata(None, {"/shared/admin": b"y"})
    kit.alice.grant("INBOX", BOB, "lrs")
    assert await kit.reader.metadata(ALICE, box.id) == {"/private/comment": b"x"}
    assert await kit.reader.metadata(ALICE) == {"/shared/admin": b"y"}
    assert await kit.reader.metadata(BOB) == {}
    assert await kit.reader.acl(ALICE, box.id) == {BOB: "lrs"}
    assert await kit.reader.acl(BOB, box.id) == {}
    assert await kit.reader.shared(BOB) == [(ALICE, kit.alice.mailbox("INBOX"), "lrs")]
    assert await kit.reader.shared(ALICE) == []


async def test_a_mailbox_as_arrays(kit):
    empty = await kit.inbox().load()
    assert (list(empty.uids), list(empty.flags), list(empty.modseqs)) == ([], [], [])
    kit.put(*map(letter, range(3)))
    kit.alice.set_flags("INBOX", [(2, 2)], SEEN | kit.alice.keyword("INBOX", "todo"), 0)
    loaded = await kit.inbox().load()
    assert loaded.mailbox == kit.alice.mailbox("INBOX")
    assert loaded.keywords == {"todo": 32}
    assert [(kind.typecode, list(kind)) for kind in loaded[2:]] == [("I", [1, 2, 3]), ("Q", [0, SEEN | 32, 0]), ("Q", [2, 3, 2])]


async def test_changes_lead_from_one_state_to_the_other(kit):
    """Whatever is done, what was loaded and what changed since make what is loaded."""
    chance, box = random.Random(7), kit.inbox()
    before = await box.load()
    for _ in range(40):
        for _ in range(chance.randrange(1, 5)):
            uids = ranges(chance.sample(range(1, 60), 4))
            deed = chance.randrange(4)
            if deed == 0:
                kit.put(*[letter(number) for number in range(chance.randrange(1, 4))])
            elif deed == 1:
                kit.alice.expunge("INBOX", uids[:2], NOW)
            else:
                kit.alice.set_flags("INBOX", uids, chance.choice([SEEN, FLAGGED, DELETED]), chance.choice([0, SEEN]))
        changes = await box.changes(before.mailbox.highestmodseq, before.mailbox.uidnext)
        known = dict(zip(before.uids, zip(before.flags, before.modseqs)))
        known.update({state.uid: (state.flags, state.modseq) for state in changes.states})
        for first, last in changes.vanished:
            for uid in range(first, last + 1):
                known.pop(uid, None)
        before = await box.load()
        assert changes.mailbox == before.mailbox
        assert known == dict(zip(before.uids, zip(before.flags, before.modseqs)))


async def test_changes_since_very_long_ago(kit):
    kit.put(*map(letter, range(5)))
    for number in range(150):
        kit.alice.set_flags("INBOX", [(1 + number % 5,) * 2], FLAGGED * (number // 5 % 2 == 0), FLAGGED)
    changes = await kit.inbox().changes(2, 6)
    assert [state[:2] for state in changes.states] == [state[:2] for state in kit.alice.states("INBOX", 2)]
    assert len(changes.states) == 5
    assert (await kit.inbox().changes(changes.mailbox.highestmodseq, 6)).states == []


@pytest.mark.parametrize("derive", [True, False])
async def test_columns(kit, derive):
    prefix = b"Return-Path: <>\r\n"
    kit.put(letter(1), letter(2), letter(3, "body " * 500), derive=derive, prefix=prefix)
    rows = await kit.inbox().columns(COLUMNS, ALL)
    assert [row[0] for row in rows] == [1, 2, 3]
    for row, content in zip(rows, (letter(1), letter(2), letter(3, "body " * 500))):
        found = dict(zip(COLUMNS, row[1:]))
        assert found["blob"] == sha256(content).digest() and found["length"] == len(content) and found["prefix"] == prefix
        assert found["size"] == len(content) + len(prefix)
        assert (found["internaldate"], found["savedate"]) == (NOW - 5, NOW)
        assert found["emailid"].startswith("M") and found["threadid"].startswith("T")
        assert Derived(**{name: found[name] for name in Derived._fields}) == precompute(prefix, content, NOW - 5)


@pytest.mark.parametrize("names", [("size",), ("savedate",), ("envelope",), ("fields",), ("text",), ("header_text", "size"), ("fields", "text"),
                                   ("preview", "emailid"), ()])
async def test_columns_in_any_choice(kit, names):
    kit.put(*map(letter, range(4)))
    whole = await kit.inbox().columns(COLUMNS, ALL)
    rows = await kit.inbox().columns(names, ALL)
    assert rows == [(row[0], *(row[1 + COLUMNS.index(name)] for name in names)) for row in whole]
    assert await kit.inbox().columns(names, [(1, 1), (3, 9)]) == [rows[0], rows[2], rows[3]]
    assert await kit.inbox().columns(names, [(77, 99)]) == await kit.inbox().columns(names, []) == []


async def test_columns_of_what_was_expunged(kit):
    kit.put(*map(letter, range(4)))
    box = kit.inbox()
    kit.alice.expunge("INBOX", [(2, 3)], NOW)
    assert [row[0] for row in await box.columns(("envelope",), ALL)] == [1, 4]
    assert [row[0] for row in await box.columns(("envelope", "size"), ALL, kept=True)] == [2, 3]
    kit.alice.remove("INBOX", NOW)
    assert [row[0] for row in await box.columns(("preview",), ALL, kept=True)] == [1, 2, 3, 4]
    for call in (box.load(), box.changes(1, 1), box.columns(("size",), ALL), box.matching(["x"], "text", ALL)):
        with pytest.raises(MailboxGone):
            await call


async def test_nobody_reads_a_mailbox_of_others(kit):
    kit.put(letter(1))
    number = kit.alice.mailbox("INBOX").id
    with pytest.raises(MailboxGone):
        await kit.reader.open(BOB, number).load()


@pytest.mark.parametrize("small", [False, True])
async def test_octets(kit, small):
    prefix, content = b"Return-Path: <>\r\n", letter(1, "z" * 5000)
    kit.put(content, prefix=prefix, small=small)
    place, = [Content(*row) for row in await kit.inbox().columns(("blob", "length", "prefix"), ALL)]
    whole = prefix + content
    assert await kit.inbox().octets(place) == whole
    for start, length in ((0, 5), (0, len(whole)), (10, 20), (len(prefix), 7), (len(prefix) - 1, 2), (100, 10**6), (len(whole), 5), (3, 0)):
        assert await kit.inbox().octets(place, start, length) == whole[start:start + length]


async def test_what_is_derived_of_small_ones(kit):
    kit.put(letter(7), small=True)
    assert await kit.inbox().columns(("subject_text", "size"), ALL) == [(1, "number 7", len(letter(7)))]


async def test_lost_contents(kit):
    kit.put(letter(1))
    place, = [Content(*row) for row in await kit.inbox().columns(("blob", "length", "prefix"), ALL)]
    kit.blobs.release([place.blob])
    kit.blobs.discard([place.blob])
    with pytest.raises(KeyError):
        await kit.inbox().octets(place)


@pytest.mark.parametrize("words, where, found", [
    (["wanted"], "body", [2, 4]), (["wanted"], "header", [3]), (["wanted"], "text", [2, 3, 4]), (["ante"], "text", [2, 3, 4]),
    (["wanted", "n4@x"], "text", [4]), (["wanted", "n4@x"], "body", []), (["x-other: yes"], "header", [1, 2, 3, 4]), (["nowhere"], "text", []),
    (["straße"], "body", []), (["strasse"], "body", [1]), (["is 2. w"], "body", [2]), ([""], "text", [1, 2, 3, 4]), (["w"], "body", [2, 4])])
async def test_text_that_matches(kit, words, where, found):
    kit.put(letter(1, "Straße"), letter(2, "Wanted here"), letter(3).replace(b"Subject: ", b"Subject: WANTED "), letter(4, "unwanted" + " pad" * 900))
    assert await kit.inbox().matching(words, where, ALL) == found
    assert await kit.inbox().matching(words, where, [(1, 2), (4, 9)]) == [uid for uid in found if uid != 3]
    assert await kit.inbox().matching(words, where, []) == []
