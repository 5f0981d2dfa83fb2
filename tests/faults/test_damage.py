"""A bit flips, a file is cut off, a name is stolen: what is not what was accepted is never delivered, and set aside instead."""

from __future__ import annotations

import os
import signal
import smtplib
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from fancymail.ipc.message import IpcError
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.queue.daemon import QueueServer
from fancymail.storage.migrations import DatabaseError
from fancymail.storage.slots import CONTENT_OFFSET, EMPTIED, END_SIZE, write_slot
from tests.faults.laboratory import SENDER, Laboratory
from tests.servers_kit import operator, running
from tests.suite_kit import wait_for

CONTENT = b"Subject: whole\r\n\r\nEvery octet of it.\r\n"


def flip(path, place: int, bit: int = 1) -> None:
    """One bit."""
    with open(path, "r+b") as file:
        file.seek(place, os.SEEK_SET if place >= 0 else os.SEEK_END)
        octet = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([octet[0] ^ bit]))


def send(laboratory: Laboratory, recipient: str, size: int) -> str:
    """One message, answered 250."""
    name, content = laboratory.ledger.compose([recipient], size)
    with smtplib.SMTP("127.0.0.1", laboratory.suite.ports["smtp"], timeout=30) as client:
        client.sendmail(SENDER, [recipient], content)
    return name


HARMS = {
    "cut off": lambda path: os.truncate(path, os.path.getsize(path) - 1),
    "cut off in the content": lambda path: os.truncate(path, CONTENT_OFFSET + 5),
    "no END": lambda path: flip(path, -END_SIZE),
    "another envelope": lambda path: flip(path, CONTENT_OFFSET + len(CONTENT) + 12),
    "another length": lambda path: flip(path, 8),
    "a length beyond all files": lambda path: flip(path, 15, 0x80),
    "another hash": lambda path: flip(path, 40),
    "emptied": lambda path: path.write_bytes(EMPTIED + path.read_bytes()[len(EMPTIED):]),
    "two names": lambda path: os.link(path, path.parent / "another"),
    "a link": lambda path: (path.rename(path.parent / "another"), os.symlink(path.parent / "another", path)),
}


@pytest.mark.parametrize("harm", HARMS)
async def test_what_is_no_whole_slot_gets_no_ok(tmp_path, harm):
    async with running(QueueServer, tmp_path):
        with operator(tmp_path, "queue") as queue:
            name = (await queue.call("slot", "incoming"))[0].decode()
            path = tmp_path / "queues" / "incoming" / os.path.basename(name)
            write_slot(path, Envelope("a" * 26, "a@example.test", [Recipient("b@example.test")]), CONTENT)
            HARMS[harm](path)
            with pytest.raises(IpcError) as refused:
                await queue.call("push", "incoming", name)
            assert refused.value.status == "5.6.0"
            assert (await queue.rows("queues"))[1][0].params[1:7] == (b"0",) * 6


@pytest.mark.parametrize("daemon, database", [(AuthServer, "accounts.db"), (QueueServer, "queues/index.db"), (MailboxServer, "mail/shard-0.db")])
async def test_no_daemon_begins_with_a_database_of_another_past(tmp_path, daemon, database):
    async with running(daemon, tmp_path):
        """It makes what it needs."""
    with closing(apsw.Connection(str(tmp_path / database))) as connection:
        connection.execute("UPDATE migration SET checksum = 'of another text' WHERE number = 1")
    with pytest.raises((DatabaseError, OSError), match="applied with another text"):
        async with running(daemon, tmp_path):
            """It must not come here."""


# The blob store is on another filesystem: contents are copied there.
ELSEWHERE = """
import errno, os
def refuse(*given, **more):
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
os.link = refuse
"""


@pytest.mark.parametrize("size, prelude", [(300, ""), (100_000, ""), (100_000, ELSEWHERE)], ids=["300", "100000", "elsewhere"])
@pytest.mark.timeout(300)
def test_changed_content_reaches_nobody(tmp_path, size, prelude):
    with Laboratory(tmp_path, prelude=prelude) as laboratory:
        for name in ("mailbox", "smtpout"):
            laboratory.suite.signal(name, signal.SIGSTOP)
        for recipient in ("alice@example.test", "far@example.test"):
            send(laboratory, recipient, size)
        waiting = wait_for(lambda: len(found := laboratory.suite.ask("queue", "list")) == 2 and found, "both wait")
        for message in waiting:
            flip(laboratory.state / "queues" / message["queue"] / message["id"], CONTENT_OFFSET + 250)
        for name in ("mailbox", "smtpout"):
            laboratory.suite.signal(name, signal.SIGCONT)
        wait_for(lambda: all(message["state"] == "corrupt" for message in laboratory.suite.ask("queue", "list")), "both are set aside")
        for name in ("mailbox", "smtpout"):         # they would set them aside again
            laboratory.suite.signal(name, signal.SIGSTOP)
        laboratory.suite.fmctl("queue", "retry", "--state", "corrupt")
        assert [message["state"] for message in laboratory.suite.ask("queue", "list")] == ["corrupt", "corrupt"]
        for name in ("mailbox", "smtpout"):
            laboratory.suite.signal(name, signal.SIGCONT)
        assert not laboratory.sink.taken and laboratory.suite.listed("alice@example.test") == 0
        assert laboratory.audit()["queues"]["incoming"]["corrupt"] == 1


def spoil(index: Path) -> None:
    """Garbage in the place of a database's first pages; its log is gone."""
    index.with_name("index.db-wal").unlink(missing_ok=True)
    index.write_bytes(os.urandom(8192))


def lose(index: Path) -> None:
    """No index at all."""
    for path in index.parent.glob("index.db*"):
        path.unlink()


@pytest.mark.parametrize("harm", [spoil, lose])
def test_an_index_is_made_anew_of_whole_slots_only(tmp_path, harm):
    with Laboratory(tmp_path) as laboratory:
        supervisor, queue = laboratory.suite.supervisor, laboratory.suite.pid("queue")
        laboratory.suite.signal("mailbox", signal.SIGSTOP)
        for _ in range(3):
            laboratory.ledger.acked(send(laboratory, "alice@example.test", 300))
        damaged = send(laboratory, "alice@example.test", 300)
        wait_for(lambda: laboratory.suite.waiting() == 4, "all are entered")
        path = next(path for path in (laboratory.state / "queues/incoming").iterdir() if damaged.encode() in path.read_bytes())
        os.kill(supervisor, signal.SIGSTOP)
        os.kill(queue, signal.SIGKILL)
        flip(path, CONTENT_OFFSET + 250)
        harm(laboratory.state / "queues" / "index.db")
        os.kill(supervisor, signal.SIGCONT)
        laboratory.suite.signal("mailbox", signal.SIGCONT)
        wait_for(lambda: laboratory.suite.listed("alice@example.test") >= 3, "whole ones are delivered")
        laboratory.suite.wait_answers()
        verdict = laboratory.reckon(least=3)
        assert verdict.delivered == 3 and path.exists()
        assert (laboratory.state / "queues" / "index.db.damaged").exists() == (harm is spoil)         # for whoever wants to look
