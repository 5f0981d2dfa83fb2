"""A day on which an installation moves into a folder (`fancymail migrate`), recorded, and cut off at every moment: nothing is lost on the way.

    python -m tests.faults.moving live FOLDER           # the move, into FOLDER/disk/target; the ledger in FOLDER/ledger
    python -m tests.faults.moving FOLDER                # records it, and prints what is broken; exit code 1

Where it comes from lies outside of the record: a database elsewhere keeps what it has. After each step (the named points of servers/moving, and every
rename) each state that POSIX allows is gone on with as the command would: what has to be put into its place is, else it is all run again. Then all
must be there, and what the target's daemons would begin with at no moment anything but all of it. Once the move was over, nothing is run again.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.faults import mutated            # first: what follows may be altered by it
from fancymail.base.settings import Paths, Settings
from fancymail.core import moving as core
from fancymail.core.mailbox_audit import Books, MailboxAudit
from fancymail.core.mailboxes import Mailboxes
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.moving import files, move as order
from fancymail.servers.moving.files import FilesSource, FilesTarget
from fancymail.servers.moving.move import Move
from fancymail.servers.moving.queues import FilesQueue
from fancymail.servers.moving.settled import folder_of, require_settled
from fancymail.storage import spool
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.ports.accounts import Account
from fancymail.storage.slots import write_slot
from fancymail.storage.sqlite.accounts import SqliteAccounts
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes
from fancymail.storage.sqlite.moving import SqliteJournal
from tests.faults.crash_states import STATES, Record, materialize
from tests.faults.ledger import Ledger

VISITED = (core, files, order, spool)           # modules with named points
USERS = ("alice@example.test", "bob@example.test")
SIZES = (300, 100_000)
EACH = [(1, 2**32 - 1)]


@contextmanager
def visited(told: Callable[[str], object]) -> Iterator[None]:
    """Have each named point of a move tell its name as it is passed."""
    before = [module.crash_point for module in VISITED]
    for module in VISITED:
        module.crash_point = told
    try:
        yield
    finally:
        for module, point in zip(VISITED, before):
            module.crash_point = point


def furnish(state: Path) -> None:
    """An installation with mail of both kinds in two mailboxes and in a queue."""
    paths = Paths(state)
    paths.blobs.mkdir(parents=True)
    with closing(SqliteAccounts(paths.accounts)) as accounts:
        accounts.add_domain("example.test")
        for user in USERS:
            accounts.add_account(Account(user, user, "example.test"))
    with closing(SqliteMailboxes(paths.mail)) as store, closing(FileBlobs(paths.blobs)) as blobs:
        mailboxes = Mailboxes(store, blobs)
        for user in USERS:
            for size in SIZES:
                incoming, content = mailboxes.stowage.open(), f"Subject: {user} {size}\r\n\r\n".encode() + b"and so on\r\n" * (size // 11)
                incoming.write(content)
                blob = incoming.finish()
                mailboxes.stowage.sync()
                mailboxes.append(user, user, blob, content[:1000])
    with closing(FilesQueue(paths.queues, Settings().queue)) as queue:
        for name, size in zip("ab", SIZES):
            envelope = Envelope(name * 26, "x@sender.test", [Recipient("far@elsewhere.test")], received=5.0)
            write_slot(queue.spool.path("outgoing", name * 26), envelope, b"Subject: waits\r\n\r\n" + b"and so on\r\n" * (size // 11))


def picture(paths: Paths) -> tuple:
    """All that is in a state folder, by content."""
    with closing(SqliteAccounts(paths.accounts)) as accounts, closing(SqliteMailboxes(paths.mail)) as store, closing(FileBlobs(paths.blobs)) as blobs:
        mailboxes, books = Mailboxes(store, blobs), Books()
        for _ in MailboxAudit(mailboxes).look(books, contents=True):
            """To the end."""
        mail = [(user, box.name, box.uidvalidity, message.uid, b"".join(mailboxes.octets(message)))
                for user in sorted(store.accounts()) for box in store.account(user).mailboxes()
                for message in store.account(user).messages(box.name, EACH)]
        people = sorted(account.address for account in accounts.accounts())
    with closing(FilesQueue(paths.queues, Settings().queue)) as queue:
        waiting = [(message.told(), b"".join(queue.pieces(message.entry))) for message in queue.entries()]
    return people, mail, waiting, books.missing + books.miscounted


def move(source: Path, target: Path, left) -> None:
    """As `fancymail migrate` does it, or goes on with it. left: called when the source is not the mail any more."""
    paths = Paths(target)
    if files.place(paths):
        return
    here, there = FilesSource(Paths(source), Settings()), FilesTarget(paths, Settings())
    here.left = left
    folder_of(target).mkdir(mode=0o700, exist_ok=True)
    with closing(here), closing(there), closing(SqliteJournal(folder_of(target) / "to-files.db")) as journal:
        journal.meet("there")
        with closing(Move(here, there, journal, lambda *told: None)) as under_way:
            under_way.copy()
            under_way.finish()


def live(folder: Path) -> None:
    """One move, with a word in the ledger at each point of it."""
    furnish(folder / "source")
    (folder / "disk" / "target").mkdir(parents=True)
    ledger = Ledger(folder / "ledger")
    with visited(lambda name: ledger.write("at", name)):
        move(folder / "source", folder / "disk" / "target", lambda: ledger.write("left"))
    ledger.write("over")


def broken(lines: list[str], source: Path, target: Path, wanted: tuple) -> str:
    """What is wrong with a state, once it was gone on with; "" when nothing is."""
    over = "over" in lines
    try:
        begins = would_begin(Paths(target))
        if begins and "left" not in lines:
            return "daemons would begin with what has not been moved yet"
        if begins and picture(Paths(target)) != wanted:
            return "daemons would begin with a part of it"
        if not begins:
            if over:
                return "it was over, and daemons do not begin with it"
            move(source, target, lambda: None)
        found = picture(Paths(target))
    except Exception as error:          # whatever it is: the operator's command does not go on
        return f"cannot be gone on with: {type(error).__name__}: {error}"
    return "" if found == wanted else "something is missing, or is not as it was"


def would_begin(paths: Paths) -> bool:
    """Whether daemons take what lies there for the mail."""
    try:
        require_settled(paths, clustered=False)
    except ValueError:
        return False
    return paths.accounts.exists() or paths.mail.exists() or paths.queues.exists()


def verdicts(record: Record, folder: Path) -> Iterator[tuple[str, str]]:
    """After each step, for each state: (where, what is broken). The last first."""
    source = folder / "day" / "source"
    wanted = picture(Paths(source))
    return each_state(record, lambda lines, target: broken(lines, source, target, wanted))


def each_state(record: Record, judge: Callable[[list[str], Path], str], begin: str = "", **walk) -> Iterator[tuple[str, str]]:
    """What a judge says of each, given the ledger's lines and a folder with what is left. begin: a line of the ledger before which nothing counts.
    walk: for Record.walk."""
    chance, states, root = random.Random(1), [], f"{record.root}/target"
    for lines, model in record.walk(**walk):
        if not begin or begin in lines:
            states += [(list(lines), kind, model.state(kind, chance)) for kind in STATES]
    for lines, kind, left in reversed(states):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
            target = Path(place, "target")
            materialize({path: content for path, content in left.items() if path.startswith(f"{root}/")}, root, target)
            yield f"cut after '{lines[-1]}', {kind}", judge(lines, target)


def main(folder: Path, name: str = "moving", verdicts: Callable = verdicts) -> int:
    """Record such a day, and stop at the first state that loses something."""
    record = Record(folder, words=[f"tests.faults.{name}", "live", folder / "day"])
    if record.ended:
        print(f"the day did not end well: {record.said}")
        return 1
    count = 0
    for where, what in verdicts(record, folder):
        count += 1
        if what:
            print(f"{where}: {what}")
            return 1
    print(f"{count} states, none of them broken")
    return 0


if __name__ == "__main__":
    assert mutated
    if sys.argv[1] == "live":
        live(Path(sys.argv[2]))
    else:
        sys.exit(main(Path(sys.argv[1])))
