"""What moving asks of an engine (ports.moving): all that a client or an operator can find out is the same on the other side, whichever they are.

Each test fills one engine through its ordinary port, moves its accounts by core/moving.py, and asks the other one through its ordinary port.
"""

from __future__ import annotations

from contextlib import ExitStack
from hashlib import sha256
from typing import NamedTuple

import pytest

from fancymail.core.moving import Differs, Freight, Mirror, digest, image, mirror_tables
from fancymail.core.stowage import SMALL
from fancymail.mail.derived import Derived
from fancymail.mail.mailbox import DELETED, SEEN
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.ports.accounts import Account, Alias
from fancymail.storage.ports.mailboxes import Delivery
from fancymail.storage.ports.moving import ACCOUNT, DIRECTORY, Letter
from fancymail.storage.postgres.accounts import PostgresAccounts
from fancymail.storage.postgres.mailboxes import PostgresMailboxes
from fancymail.storage.postgres.moving import PostgresDirectory, PostgresMoving
from fancymail.storage.postgres.schema import migrate
from fancymail.storage.sqlite.accounts import SqliteAccounts
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.moving import SqliteDirectory, SqliteJournal, SqliteMoving
from tests.cluster_kit import database
from tests.contracts.mailbox_kit import ALICE, ALL, BOB, NOW


class Side(NamedTuple):
    store: object               # ports.mailboxes.MailboxStore
    moving: object              # ports.moving.MovingMail, of the same
    blobs: FileBlobs
    accounts: object            # ports.accounts.AccountStore
    directory: object           # ports.moving.Rows, of the same
    small: int                  # octets of contents that are kept with their rows


def side(kind: str, folder, stack: ExitStack) -> Side:
    """An empty engine; its contents are files whatever it is, since tests/contracts/test_blobs.py has shown these and objects to be alike."""
    folder.mkdir()
    blobs = FileBlobs(folder / "blobs")
    stack.callback(blobs.close)
    if kind == "postgres":
        db = stack.enter_context(database())
        return Side(PostgresMailboxes(db, 100, settle=0), PostgresMoving(db), blobs, PostgresAccounts(db), PostgresDirectory(db), 0)
    shards = 3 if kind == "shards" else 1
    found = Side(SqliteMailboxes(folder, shards, changes=100, synchronous="OFF"), SqliteMoving(folder, shards), blobs,
                 SqliteAccounts(folder / "accounts.db"), SqliteDirectory(folder / "accounts.db"), SMALL)
    for part in (found.store, found.moving, found.accounts, found.directory):
        stack.callback(part.close)
    return found


@pytest.fixture(params=["sqlite-postgres", "postgres-sqlite", "shards-postgres", "postgres-shards", "sqlite-shards"])
def sides(request, tmp_path):
    with ExitStack() as stack:
        yield [side(kind, tmp_path / f"{number}", stack) for number, kind in enumerate(request.param.split("-"))]


@pytest.fixture
def journal(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.db")
    yield journal
    journal.close()


def move(sides, journal, name: str = ALICE) -> Mirror:
    """Move one account."""
    source, target = sides
    freight = Freight(source.blobs, target.blobs, target.small, journal)
    try:
        account = source.moving.account(name)
        mirror = Mirror(account, target.moving.account(name), freight)
        assert mirror.run(image(account))
        return mirror
    finally:
        freight.close()


def letter(side: Side, text: str, mailbox: str = "INBOX", queue_id: str = "", *, size: int = 0, **more) -> Delivery:
    """A message as fm-mailbox brings it in: small contents with their row where the engine has them so."""
    octets = text.encode().ljust(size, b".")
    small = len(octets) <= side.small
    if not small:
        incoming = side.blobs.incoming()
        incoming.write(octets)
        side.blobs.release([incoming.finish().hash])
        side.blobs.sync()
    made = Derived(preview=text, header_text="subject: \0\n", text=text * 2000, subject_key=text)
    return Delivery(mailbox, queue_id, 0, sha256(octets).digest(), len(octets), b"Return-Path: <>\r\n", NOW - 7, derived=made,
                    content=octets if small else None, **more)


def fill(side: Side, name: str = ALICE):
    """Everything that an account can have."""
    account = side.store.account(name)
    for box in ("INBOX", "Sent", "Work", "Work/Old", "Gone"):
        account.create(box, NOW, "\\Sent" if box == "Sent" else "")
    account.deliver([letter(side, f"{name} {number}", queue_id=f"{name} {number}", references=[number, 77], keywords=["$Work"] if number % 2 else [])
                     for number in range(12)], NOW)
    account.deliver([letter(side, f"{name} large", size=SMALL + 100), letter(side, "kept", "Gone", flags=SEEN)], NOW + 1)
    account.set_flags("INBOX", [(2, 4)], SEEN | account.keyword("INBOX", "$Label1"), 0)
    account.copy("INBOX", [(1, 3)], "Work", NOW + 2)
    account.copy("INBOX", [(13, 13)], "Work/Old", NOW + 2)
    account.set_flags("INBOX", [(5, 6)], DELETED, 0)
    account.expunge("INBOX", ALL, NOW + 3, deleted=True)
    account.remove("Gone", NOW + 4)
    account.rename("Work", "Arbeit")
    account.subscribe("Sent", False)
    account.subscribe("nobody has this", True)
    account.set_metadata(None, {"/private/comment": b"\0\xff"})
    account.set_metadata("Arbeit", {"/shared/comment": b"x"})
    account.grant("Arbeit", BOB, "lrs")
    account.claim_recent("INBOX")
    return account


def known(side: Side, name: str = ALICE) -> dict:
    """All that can be asked of an account."""
    account = side.store.account(name)
    found = {"subscriptions": account.subscriptions(), "metadata": account.metadata(None), "usage": account.usage()}
    for box in account.mailboxes():
        found[box.name] = (box._replace(id=0), account.states(box.name), account.keywords(box.name), account.vanished(box.name, 0),
                           account.changes(box.name, 0), account.acl(box.name), account.metadata(box.name), account.sizes(box.name))
        for message in (*account.messages(box.name, ALL), *account.kept(box.name, ALL)):
            octets = message.content if message.content is not None else b"".join(side.blobs.read(message.blob, message.length))
            found[box.name, message.uid] = message._replace(content=octets)
    return found


def test_all_that_can_be_asked_is_the_same(sides, journal):
    fill(sides[0])
    fill(sides[0], BOB)
    for name in (ALICE, BOB):
        move(sides, journal, name)
        assert known(sides[1], name) == known(sides[0], name)
    assert sides[1].moving.names() == sides[0].moving.names() == [ALICE, BOB]
    assert sides[1].moving.count() == sides[0].moving.count() > 20


def test_small_contents_lie_where_the_other_side_has_them(sides, journal):
    fill(sides[0])
    move(sides, journal)
    kept = [message.content is not None for message in sides[1].store.account(ALICE).messages("INBOX", ALL)]
    assert kept == [sides[1].small > 0] * 10 + [False]


def test_life_goes_on_there(sides, journal):
    """UIDs, UIDVALIDITY, threads, suppressed duplicates and the window of undelete go on where they were."""
    before = fill(sides[0])
    move(sides, journal)
    account, there = sides[1].store.account(ALICE), sides[1]
    again, new = account.deliver([letter(there, "x", queue_id=f"{ALICE} 3"), letter(there, "y", references=[77])], NOW + 9)
    assert (again.duplicate, again.uid, new.uid) == (True, 4, 14)
    assert account.message("INBOX", 14).threadid == before.message("INBOX", 1).threadid
    assert [old for old, _ in account.undelete("INBOX", NOW, NOW + 9)] == [5, 6]
    assert [old for old, _ in account.undelete("Gone", NOW, NOW + 9)] == [1]
    box = account.create("Gone again", NOW)
    assert box.uidvalidity > max(box.uidvalidity for box in before.mailboxes())
    assert box.id not in {box.id for box in account.mailboxes() if box.name != "Gone again"}


def test_the_second_time_only_what_is_new_is_carried(sides, journal):
    account = fill(sides[0])
    assert move(sides, journal).letters == 14
    assert move(sides, journal).letters == 0
    account.deliver([letter(sides[0], "late")], NOW + 20)
    account.set_flags("INBOX", [(1, 1)], DELETED, 0)
    account.expunge("INBOX", [(2, 2)], NOW + 21)
    account.rename("Sent", "Sent.2")
    account.rename("Arbeit", "Sent")            # a name that another mailbox had
    account.subscribe("nobody has this", False)
    account.grant("Sent", BOB, "")
    assert move(sides, journal).letters == 1
    assert known(sides[1]) == known(sides[0])


def test_a_mailbox_that_is_removed_between_two_passes_can_be_brought_back_there(sides, journal):
    account = fill(sides[0])
    move(sides, journal)
    account.remove("INBOX", NOW + 30)
    account.create("INBOX", NOW + 31)
    move(sides, journal)
    assert known(sides[1]) == known(sides[0])
    assert len(sides[1].store.account(ALICE).mailboxes()) == len(account.mailboxes())


def test_an_account_that_was_forgotten_keeps_its_uidvalidity(sides, journal):
    account = fill(sides[0])
    last = max(box.uidvalidity for box in account.mailboxes())
    move(sides, journal)
    account.forget(NOW + 40)
    move(sides, journal)
    assert sides[1].store.account(ALICE).mailboxes() == []
    assert sides[1].store.account(ALICE).create("INBOX", 5).uidvalidity > last


def test_there_and_back_is_where_it_was(sides, journal, tmp_path):
    fill(sides[0])
    fill(sides[0], BOB)
    for name in (BOB, ALICE):
        move(sides, journal, name)
    with ExitStack() as stack:
        home, back = side("sqlite", tmp_path / "home", stack), SqliteJournal(tmp_path / "back.db")
        for name in (ALICE, BOB):
            move((sides[1], home), back, name)
            assert known(home, name) == known(sides[0], name)
        back.close()


def test_what_goes_while_it_is_moved_is_no_failure_and_no_success(sides, journal):
    """Found, and gone before its letters were read: the next pass has the truth."""
    account = fill(sides[0])
    source, target = sides
    before = image(source.moving.account(ALICE))
    account.forget(NOW + 50)
    freight = Freight(source.blobs, target.blobs, target.small, journal)
    mirror = Mirror(source.moving.account(ALICE), target.moving.account(ALICE), freight)
    assert not mirror.run(before)
    freight.close()
    move(sides, journal)
    assert target.store.account(ALICE).mailboxes() == []


def test_a_damaged_content_ends_the_move(sides, journal):
    fill(sides[0])
    large = sides[0].store.account(ALICE).message("INBOX", 13)
    with open(sides[0].blobs.place(large.blob, 0).path, "r+b") as file:
        file.seek(200)
        file.write(b"!")
    with pytest.raises(Differs, match=large.blob.hex()):
        move(sides, journal)


def test_what_is_written_otherwise_is_found_out(sides, journal):
    """An engine that forgets a row, or changes one."""
    fill(sides[0])
    source, target = sides
    account = target.moving.account(ALICE)
    kept = account.replace
    account.replace = lambda table, keys, rows: kept(table, keys, rows[1:] if table.name == "vanished" else rows)
    freight = Freight(source.blobs, target.blobs, target.small, journal)
    with pytest.raises(Differs):
        Mirror(source.moving.account(ALICE), account, freight).run(image(source.moving.account(ALICE)))
    freight.close()


def test_the_digest_tells_any_row(sides):
    account = fill(sides[0])
    moving = sides[0].moving.account(ALICE)
    seen = {digest(image(moving))}
    for change in (lambda: account.set_flags("INBOX", [(1, 1)], SEEN, 0), lambda: account.subscribe("y", True),
                   lambda: account.set_metadata("INBOX", {"/private/comment": b"z"}), lambda: account.grant("INBOX", BOB, "l"),
                   lambda: account.expunge("INBOX", [(1, 1)], NOW), lambda: account.rename("Sent", "Sent.2")):
        change()
        seen.add(digest(image(moving)))
    assert len(seen) == 7


def test_accounts_domains_aliases_and_rights(sides):
    store = sides[0].accounts
    store.add_domain("example.test")
    store.add_domain("other.test")
    for name in ("alice", "bob", "carol"):
        store.add_account(Account(f"{name}@example.test", f"{name}@example.test", "example.test", name, "$6$x", created=1.5, quota=10**12))
    store.change_account(Account("bob@example.test", "Bob@example.test", "example.test", "bob", "$6$y", enabled=False))
    store.set_alias(Alias("*@other.test", "*@other.test", "other.test", (ALICE, BOB), "x", True))
    store.grant(ALICE, "send", BOB)
    assert mirror_tables(DIRECTORY, sides[0].directory, sides[1].directory) == 1 + 2 + 3 + 1 + 1
    store.remove_account("carol@example.test")
    store.grant(ALICE, "act", BOB)
    store.remove_alias("*@other.test")
    store.remove_domain("other.test")
    store.change_account(store.account(BOB))
    assert mirror_tables(DIRECTORY, sides[0].directory, sides[1].directory) == 1 + 1 + 2 + 0 + 2
    rows = [[sorted(side.directory.rows(table)) for table in DIRECTORY] for side in sides]
    assert rows[0] == rows[1]
    there = sides[1].accounts
    assert (there.accounts(), there.aliases(), there.domains()) == (store.accounts(), [], ["example.test"])
    assert there.grants(ALICE) == [("act", BOB), ("send", BOB)]
    assert there.change_account(there.account(BOB)).version == 4


# What a version to come adds

LETTERS = {"msg", "derived"}
ELSEWHERE = {"message"}                         # tests/servers/moving
STAYS = {"migration", "moving", "counter", "account_change", "node", "tally",         # about the database itself, and its nodes
         "garbage", "doomed"}                   # contents that nobody names any more


def test_no_table_of_a_cluster_is_forgotten():
    """Whoever adds a table, or a column to one that moves, has to say in ports/moving.py that it moves, or here why it stays."""
    with database() as db:
        migrate(db)
        columns: dict[str, set[str]] = {}
        for table, column in db.rows("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"):
            columns.setdefault(table, set()).add(column)
    moving = {table.name: set(table.columns) for table in (*DIRECTORY, *ACCOUNT)}
    assert set(columns) == set(moving) | LETTERS | ELSEWHERE | STAYS
    own = {"secret": {"number"}, "owner": {"id", "name", "boxes", "mids"}, "mailbox": {"account", "id"}}
    for table, names in moving.items():
        inside = {{"box": "mailbox", "letter": "mid"}.get(name, name) for name in names if (table, name) != ("mailbox", "box")}
        assert columns[table] - inside <= own.get(table, {"account"} if table != "account" else set()), table
    assert columns["msg"] == {"account", "mid", *Letter._fields[1:-1]}
