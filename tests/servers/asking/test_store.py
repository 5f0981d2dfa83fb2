"""MailStore and fm-mailbox, one at each end of the verbs: what goes in comes out at the reader, and refusals arrive as such."""

from __future__ import annotations

import asyncio

import pytest

from fancymail.core.imap.precompute import precompute
from fancymail.ipc.message import IpcError
from fancymail.mail.derived import VERSION
from fancymail.mail.envelope import Envelope
from fancymail.mail.mailbox import SEEN
from fancymail.mail.uidset import LARGEST, ranges
from fancymail.servers.asking.reader import VerbReader
from fancymail.servers.asking.store import Letter, MailStore
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.mailbox.recipients import Account
from fancymail.storage.ports.mailboxes import Usage
from fancymail.storage.slots import write_slot
from fancymail.storage.sqlite.reader import SqliteReader
from tests.servers_kit import operator, running

ALICE, BOB = "alice@example.test", "bob@example.test"
ALL = [(1, LARGEST)]
ONE = b"From: x@y.test\r\nSubject: one\r\n\r\nThe first.\r\n"


class Kit:
    """A daemon, a store and a reader by verbs, and a reader of its files; `told` are the accounts whose watchers were alerted."""

    def __init__(self, daemon, door, files) -> None:
        self.daemon, self.files, self.quotas, self.told = daemon, files, {}, []
        self.store = MailStore(lambda name, verb, *words, timeout: door.call(verb, *words, timeout=timeout))
        self.reader, self.door = VerbReader(lambda: door), door
        daemon.recipients.find = self.find
        daemon.alert = self.told.append

    async def find(self, user: str) -> Account:
        return Account(user, self.quotas.get(user, 0))

    async def box(self, name: str = "INBOX", owner: str = ALICE):
        return await self.files.mailbox(owner, name)

    async def flags_of(self, name: str = "INBOX", owner: str = ALICE) -> list[tuple[int, int]]:
        loaded = await self.files.open(owner, (await self.box(name, owner)).id).load()
        return list(zip(loaded.uids, loaded.flags))


@pytest.fixture
async def kit(tmp_path):
    async with running(MailboxServer, tmp_path, {"log": {"console": "never"}}) as daemon:
        with operator(tmp_path, "mailbox") as door:
            files = SqliteReader(tmp_path / "mail")
            yield Kit(daemon, door, files)
            files.close()


async def refused(status: str, work) -> None:
    with pytest.raises(IpcError) as caught:
        await work
    assert caught.value.status == status


async def test_append_in_parameters(kit):
    large = b"Subject: large\r\n\r\n" + bytes(range(256)) * 1000           # any octets, over several frames
    added = await kit.store.append(ALICE, "INBOX", [Letter(ONE, 1234567890, ["\\Seen", "$Junk"]), Letter(large, 5), Letter(b"", 6)])
    box = await kit.box()
    assert added == (box.uidvalidity, 1, 3) and kit.told == [ALICE]
    assert await kit.flags_of() == [(1, SEEN | 32), (2, 0), (3, 0)]
    reader = kit.files.open(ALICE, box.id)
    rows = await reader.columns(("internaldate", "size", "envelope"), ALL)
    assert rows == [(1, 1234567890, len(ONE), precompute(b"", ONE, 0).envelope), (2, 5, len(large), precompute(b"", large, 5).envelope),
                    (3, 6, 0, precompute(b"", b"", 6).envelope)]
    assert [await reader.octets(place) for place in await contents(reader)] == [ONE, large, b""]
    assert kit.daemon.blobs._pins == {}


async def contents(reader):
    from fancymail.storage.ports.reader import CONTENT, Content
    return [Content(*row) for row in await reader.columns(CONTENT, ALL)]


async def test_append_of_files(kit, tmp_path):
    path = tmp_path / "mail/incoming/upload1"
    write_slot(path, Envelope(id="", sender=""), ONE)
    await kit.store.append(ALICE, "Sent", [Letter(path, 77, ["\\Seen"])])
    reader = kit.files.open(ALICE, (await kit.box("Sent")).id)
    assert [await reader.octets(place) for place in await contents(reader)] == [ONE]
    assert not path.exists()
    await refused("4.3.0", kit.store.append(ALICE, "Sent", [Letter(path, 77)]))           # gone
    path.write_bytes(b"FMSLOT0\n" + bytes(200))
    await refused("5.5.4", kit.store.append(ALICE, "Sent", [Letter(path, 77)]))           # not whole
    for name in ("../x", ".hidden", "a/b"):
        await refused("5.5.4", kit.door.call("append", ALICE, "Sent", '[{"date":1,"file":"%s"}]' % name, "null"))
    assert len(await kit.flags_of("Sent")) == 1


@pytest.mark.parametrize("letters, replacing, contents", [
    ("[]", "null", []), ("{}", "null", []), ('[{"octets":3}]', "null", [b"abc"]), ('[{"date":1,"octets":3}]', "null", [b"ab"]),
    ('[{"date":1,"octets":3}]', "null", [b"ab", b"cd"]),
    ('[{"date":1,"octets":3}]', "[1]", [b"abc"]), ('[{"date":1,"octets":3}]', '["a",1]', [b"abc"]), ('[{"date":1,"octets":3}]', "[1,1]", [b"abc"]),
    ('[{"date":1,"octets":3,"flags":"x"}]', "null", [b"abc"])])
async def test_append_that_makes_no_sense(kit, letters, replacing, contents):
    await refused("5.5.4", kit.door.call("append", ALICE, "INBOX", letters, replacing, *contents))
    assert kit.told == []


async def test_append_over_limits(kit):
    kit.quotas[ALICE] = 100
    await refused("5.2.2", kit.store.append(ALICE, "INBOX", [Letter(ONE, 1), Letter(ONE * 2, 1)]))
    await refused("5.3.4", kit.door.call("append", ALICE, "INBOX", '[{"date":1,"octets":99999999}]', "null"))
    await refused("5.2.0", kit.store.append(ALICE, "Nowhere", [Letter(ONE, 1)]))
    assert await kit.store.usage(ALICE) == (Usage(6, 0, 0), 100)
    assert kit.daemon.blobs._pins == {} and kit.told == []


async def test_replace(kit):
    await kit.store.append(ALICE, "Drafts", [Letter(ONE, 1), Letter(ONE, 1)])
    drafts = (await kit.box("Drafts")).id
    assert (await kit.store.append(ALICE, "Drafts", [Letter(ONE + b"more\r\n", 1)], replacing=(ALICE, drafts, 1))).first == 3
    assert await kit.flags_of("Drafts") == [(2, 0), (3, 0)]
    await refused("5.5.4", kit.store.append(ALICE, "Drafts", [Letter(ONE, 1)], replacing=(ALICE, drafts, 1)))
    assert await kit.flags_of("Drafts") == [(2, 0), (3, 0)]
    kit.told.clear()
    assert (await kit.store.append(BOB, "INBOX", [Letter(ONE, 1)], replacing=(ALICE, drafts, 2))).first == 1
    assert await kit.flags_of("Drafts") == [(3, 0)] and kit.told == [BOB, ALICE]


async def test_flags_copy_move_expunge(kit):
    await kit.store.append(ALICE, "INBOX", [Letter(ONE, 1)] * 5)
    box = await kit.box()
    kit.told.clear()
    assert await kit.store.flags(ALICE, box.id, [(1, 2), (4, 4)], "add", ["\\Seen", "todo"]) == (3, [(1, 2), (4, 4)], [])
    assert await kit.store.flags(ALICE, box.id, ALL, "set", ["\\Deleted"], 2) == (4, [(3, 3), (5, 5)], [(1, 2), (4, 4)])
    assert await kit.store.flags(ALICE, box.id, [(3, 3)], "add", ["\\Deleted"]) == (4, [], [])
    assert kit.told == [ALICE] * 2
    archive = await kit.box("Archive")
    assert await kit.store.copy(ALICE, box.id, [(1, 1), (4, 9)], ALICE, "Archive") == (archive.uidvalidity, [(1, 1), (4, 5)], 1, 4)
    kit.told.clear()
    await kit.store.append(BOB, "INBOX", [Letter(ONE, 1)])
    moved = await kit.store.copy(ALICE, box.id, [(2, 2)], BOB, "INBOX", move=True)
    assert moved[1:] == ([(2, 2)], 2, 5) and kit.told == [BOB, ALICE, BOB]
    assert await kit.store.expunge(ALICE, box.id, ALL) == (6, [(3, 3), (5, 5)])
    assert await kit.store.expunge(ALICE, box.id, [(1, 1)], deleted=False) == (7, [(1, 1)])
    assert [uid for uid, _ in await kit.flags_of()] == [4]
    await refused("5.2.0", kit.store.flags(ALICE, 12345, ALL, "add", []))
    await refused("5.2.0", kit.store.copy(ALICE, box.id, ALL, ALICE, "None"))
    await refused("5.5.4", kit.store.flags(ALICE, box.id, ALL, "toggle", []))
    await refused("5.5.4", kit.door.call("flags", ALICE, box.id, "add", "", "", "1;2"))


async def test_sets_that_fill_many_frames(kit):
    """Every second of 20,000 UIDs: 10,000 ranges."""
    letters = [Letter(b"x", 1)] * 500
    for _ in range(4):
        await kit.store.append(ALICE, "INBOX", letters)
    box, odd = await kit.box(), ranges(range(1, 20_000, 2))
    stored = await kit.store.flags(ALICE, box.id, odd, "add", ["\\Deleted"])
    assert stored.changed == ranges(range(1, 2000, 2))
    assert (await kit.store.expunge(ALICE, box.id, odd))[1] == ranges(range(1, 2000, 2))
    assert len(await kit.reader.open(ALICE, box.id).columns(("size",), ranges(range(2, 20_001, 2)))) == 1000


async def test_mailboxes(kit):
    number = await kit.store.create(ALICE, "Work/2026", "\\Archive")
    assert (await kit.box("Work/2026")).id == number and (await kit.box("Work/2026")).subscribed == 0
    await kit.store.rename(ALICE, "Work", "Play")
    assert (await kit.box("Play/2026")).id == number
    await kit.store.subscribe(ALICE, "Play/2026", True)
    await kit.store.remove(ALICE, "Play/2026")
    assert await kit.box("Play/2026") is None
    assert "Play/2026" in await kit.files.subscriptions(ALICE)
    assert await kit.store.claim(ALICE, (await kit.box()).id) == (1, 1)
    await refused("5.2.0", kit.store.remove(ALICE, "Play/2026"))
    await refused("5.2.0", kit.store.create(ALICE, "inbox"))


async def test_metadata_and_access_lists(kit):
    await kit.store.append(ALICE, "INBOX", [Letter(ONE, 1)])
    box = await kit.box()
    await kit.store.set_metadata(ALICE, box.id, {"/private/comment": b"x" * 50_000, "/shared/empty": b"", "/private/none": None})
    await kit.store.set_metadata(ALICE, 0, {"/private/comment": b"\0"})
    assert await kit.files.metadata(ALICE, box.id) == {"/private/comment": b"x" * 50_000, "/shared/empty": b""}
    assert await kit.files.metadata(ALICE) == {"/private/comment": b"\0"}
    kit.told.clear()
    await kit.store.set_acl(ALICE, box.id, BOB, "lrs")
    assert kit.told == [ALICE, BOB]
    assert [(shared.owner, shared.rights) for shared in await kit.files.shared(BOB)] == [(ALICE, "lrs")]
    await refused("5.5.4", kit.door.call("set-metadata", ALICE, box.id, '[["a",5]]', b"xy"))
    await refused("5.5.4", kit.door.call("set-metadata", ALICE, box.id, '[["a"]]'))


@pytest.mark.parametrize("call, arguments", [("load", []), ("load", [1, 2]),
                                             ("columns", [1, ["nothing"], [[1, 2]], False]), ("changes", [1, "b", 3]),
                                             ("columns", [1, ["size"], [[1]], False]), ("matching", [1, [3], "text", [[1, 2]]]),
                                             ("matching", [1, ["x"], "nowhere", [[1, 2]]]), ("close", []), ("mailboxes", [1])])
async def test_reading_that_makes_no_sense(kit, call, arguments):
    await kit.store.append(ALICE, "INBOX", [Letter(ONE, 1)])
    with pytest.raises((IpcError, KeyError)) as caught:
        await kit.reader.ask(ALICE, call, *arguments)
    assert isinstance(caught.value, IpcError) and caught.value.status == "5.5.4"


async def test_what_is_missing_is_derived(kit):
    """At once for who asks, in the background for all others; a content that is lost is an empty message."""
    await kit.store.append(ALICE, "INBOX", [Letter(ONE, 1)] * 3)
    account, box = kit.daemon.records.account(ALICE), await kit.box()
    account.rebuild()
    assert await kit.door.call("derive", ALICE, box.id, "1:2") == [b"2"]
    assert len(account.underived("INBOX", ALL, VERSION)) == 1
    account.rebuild()
    kit.daemon.derivation.wanted.set()
    while account.underived("INBOX", ALL, VERSION):
        await asyncio.sleep(0.01)
    assert {row[1] for row in await kit.files.open(ALICE, box.id).columns(("envelope",), ALL)} == {precompute(b"", ONE, 1).envelope}
