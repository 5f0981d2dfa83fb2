"""What only a database that several nodes share can get wrong: nesting, conflicts, fences, contents that go while others bring them in."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest

from fancymail.storage.migrations import DatabaseError, Step
from fancymail.storage.ports.mailboxes import Keep, StoreFailed
from fancymail.storage.ports.queue import Entry, Fenced, State
from fancymail.storage.postgres.database import Database
from fancymail.storage.postgres.mailboxes import PostgresMailboxes
from fancymail.storage.postgres.queue import PostgresQueueIndex
from fancymail.storage.postgres.schema import STEPS, migrate
from fancymail.storage.waiting import Waiter, around, fibered
from tests.cluster_kit import database
from tests.contracts.mailbox_kit import ALICE, ALL, BOB, NOW, message

KEEP = Keep(expunged=1, delivered=10**6, blobs=1)


@pytest.fixture
def db():
    with database() as found:
        yield found


@pytest.fixture
def other(db):
    """Another node's connections to the same database."""
    with database(dsn=db.dsn) as found:
        yield found


def numbers(db) -> list[int]:
    return [number for number, in db.rows("SELECT number FROM note ORDER BY number")]


@pytest.fixture
def notes(db):
    db.rows("CREATE TABLE note (number INTEGER PRIMARY KEY)")
    return lambda number: db.rows("INSERT INTO note VALUES ($1)", number)


def test_what_fails_inside_undoes_the_inside(db, notes):
    with db.transaction():
        with pytest.raises(ZeroDivisionError):
            with db.transaction():
                notes(1)
                1 / 0
        notes(2)
        with db.transaction():
            with db.transaction():
                notes(3)
            with pytest.raises(ZeroDivisionError):
                with db.transaction():
                    notes(4)
                    1 / 0
            notes(5)
    assert numbers(db) == [2, 3, 5]


def test_a_transaction_in_which_nothing_happens_sends_nothing(db):
    with db.transaction(), db.transaction():
        assert db.session().connection is None


def test_a_statement_that_fails_spoils_the_transaction_unless_it_stands_in_one_of_its_own(db, notes):
    with pytest.raises(StoreFailed):
        with db.transaction():
            notes(1)
            with pytest.raises(StoreFailed):
                db.rows("SELECT nothing")
    with db.transaction():
        notes(2)
        with pytest.raises(StoreFailed):
            with db.transaction():
                db.rows("SELECT nothing")
        notes(3)
    assert numbers(db) == [2, 3]


async def test_fibers_have_their_own_transactions_and_leave_the_loop_to_others(db):
    mine, turns = Database(db.dsn, Waiter(asyncio.get_running_loop())), []
    await fibered(_made(mine))

    async def insert(number: int) -> None:
        with mine.transaction():
            mine.rows("INSERT INTO note VALUES ($1)", number)
            mine.rows("SELECT pg_sleep(0.05)")
            turns.append(number)
            if number % 2:
                raise ZeroDivisionError
    await asyncio.gather(*(fibered(insert(number)) for number in range(6)), return_exceptions=True)
    assert numbers(db) == [0, 2, 4]
    with pytest.raises(RuntimeError):
        mine.rows("SELECT 1")           # in the loop itself it would keep everybody
    mine.close()


async def _made(db) -> None:
    db.rows("CREATE TABLE note (number INTEGER PRIMARY KEY)")


async def test_verbs_of_all_kinds_may_wait(db):
    mine = Database(db.dsn, Waiter(asyncio.get_running_loop()))

    async def begun() -> None:
        return None

    async def many(count: int):
        for number in range(count):
            yield mine.one("SELECT $1::int", number)[0]
    assert [each async for each in around(many, begun)(3)] == [0, 1, 2]
    assert await around(lambda: mine.one("SELECT 7")[0], begun)() == 7
    mine.close()


# Contents

def test_a_content_that_comes_back_is_not_removed(db, other):
    """Doomed here while it is brought in there: either the row saves it, or whoever brings it is told to do so again."""
    here, there = PostgresMailboxes(db, settle=100), PostgresMailboxes(other, settle=100)
    blob = message().blob
    alice = here.account(ALICE)
    alice.create("INBOX", NOW)
    there.account(BOB).create("INBOX", NOW)
    alice.deliver([message()], NOW)
    alice.expunge("INBOX", ALL, NOW)
    for later in (2, 4, 50):
        assert here.purge(NOW + later, KEEP) == []          # nobody may remove it as long as somebody may be bringing it in
    there.account(BOB).deliver([message()], NOW + 60)
    assert here.purge(NOW + 200, KEEP) == []
    there.account(BOB).expunge("INBOX", ALL, NOW + 200)
    for later in (203, 205, 206):
        assert here.purge(NOW + later, KEEP) == []
    assert here.purge(NOW + 400, KEEP) == [blob]
    with pytest.raises(StoreFailed):
        there.account(BOB).deliver([message()], NOW + 401)          # its object is going at this moment
    here.purge(NOW + 800, KEEP)
    assert there.account(BOB).deliver([message()], NOW + 801)[0].uid == 2


def test_what_the_queue_holds_is_no_garbage(db):
    store, index = PostgresMailboxes(db, settle=0), PostgresQueueIndex(db, "one", 60.0)
    index.add([entry("a" * 26, b"x")])
    content = sha256(b"x").digest()
    assert store.referenced([content]) == {content}
    index.remove(["a" * 26], lambda ended: "delivered")
    index._now()
    assert store.purge(index._now() + 10, KEEP) == [content]


def entry(id: str, content: bytes = b"", **fields) -> Entry:
    return Entry(id=id, queue="incoming", pushed=1.0, size=1, sha256=sha256(content).digest(), bare=False, sender="", recipients="", count=1,
                 **fields)


# Nodes

def test_only_the_messages_of_the_dead_are_taken_over(db, other):
    one = PostgresQueueIndex(db, "one", 60.0)
    one.add([entry("a" * 26), entry("b" * 26, state=State.DEFERRED, due=5.0), entry("c" * 26)], [b"{}"] * 3)
    assert [taken.id for taken in one.claim_ready("incoming", 1, 1 << 62)] == ["a" * 26]
    two = PostgresQueueIndex(other, "two", 60.0)
    assert (two.adopt(10), two.find("a" * 26), two.known(["a" * 26])) == ([], None, {"a" * 26})
    one.close()                         # it goes, and gives its lease back
    found = {taken.id: taken.state for taken in two.adopt(10)}
    assert found == {"a" * 26: State.READY, "b" * 26: State.DEFERRED, "c" * 26: State.READY}
    assert two.envelope("a" * 26) == b"{}"
    assert two.tally() == {("incoming", "accepted"): 3} and one.tally() == {("incoming", "accepted"): 0}


def test_who_was_taken_for_dead_changes_nothing(db, other):
    one = PostgresQueueIndex(db, "one", 0.0)
    one.add([entry("a" * 26)])
    held = one.claim_ready("incoming", 1, 1 << 62)[0]
    two = PostgresQueueIndex(other, "two", 60.0)
    assert [taken.id for taken in two.adopt(10)] == ["a" * 26]
    held.state = State.DEFERRED
    one.save([held])
    assert (one.remove(["a" * 26], lambda ended: "delivered"), one.find("a" * 26)) == ([], None)
    assert two.find("a" * 26).state is State.READY


def test_two_processes_of_one_name_are_one_too_many(db, other):
    one = PostgresQueueIndex(db, "one", 60.0)
    one.renew()
    again = PostgresQueueIndex(other, "one", 60.0)
    with pytest.raises(Fenced):
        one.renew()
    again.renew()


# Versions

NOTES = "ALTER TABLE msg ADD COLUMN note TEXT NOT NULL DEFAULT ''; CREATE TABLE note (account BIGINT PRIMARY KEY)"
NEXT = (*STEPS, Step("notes", NOTES, additive=True))


def test_a_node_of_the_version_before_works_beside_the_next(db, other):
    before = PostgresMailboxes(db)
    alice = before.account(ALICE)
    alice.create("INBOX", NOW)
    assert migrate(other, NEXT) == 1 and migrate(other, NEXT) == 0
    alice.deliver([message("after")], NOW)
    assert PostgresMailboxes(db).account(ALICE).message("INBOX", 1).blob == message("after").blob
    assert other.one("SELECT note FROM msg")[0] == ""


def test_a_step_that_changes_what_is_there_ends_that(db, other):
    migrate(db)
    migrate(other, (*STEPS, Step("away", "ALTER TABLE msg DROP COLUMN threadid")))
    with pytest.raises(DatabaseError, match="newer FancyMail"):
        PostgresMailboxes(db)


def test_a_past_that_is_not_ours_is_refused(db):
    migrate(db, NEXT)
    with pytest.raises(DatabaseError, match="another text"):
        migrate(db, (*STEPS, Step("notes", "CREATE TABLE note (account BIGINT)", additive=True)))


def test_two_nodes_that_migrate_at_once_apply_each_step_once(db, other):
    async def both():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(None, migrate, each) for each in (db, other)))
    asyncio.run(both())
    assert [row[0] for row in db.rows("SELECT number FROM migration ORDER BY number")] == list(range(1, len(STEPS) + 1))
