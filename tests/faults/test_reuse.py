"""The file of a message that was settled is used for another one while somebody still reads it: nobody ever gets a mixture of both.

Real daemons, stopped where it hurts: the other server stops reading in the middle of a content; fm-mailbox stops before it gives a content its
name in the blob store, which may be on another filesystem, so that it has to read once more.
"""

from __future__ import annotations

import errno
import socket

import pytest

from fancymail.storage.slots import SlotError, read_slot
from tests.faults import laboratory as kit
from tests.faults.laboratory import Laboratory
from tests.faults.test_damage import send
from tests.suite_kit import wait_for

ALICE, FAR = "alice@example.test", "far@example.test"
FEW_SLOTS = "\n[smtpin]\nslots-ahead = 1\n"
LARGE = 3_900_000           # as large as a file that is used again may be: most of it waits in the daemon, not in sockets
# A link waits when a file says so: it has been `reached` until that is removed, and fails with the error that the file holds, if that is one.
SLOWLY = """
import os, time
link = os.link
def slowly(*given, path=%r, **more):
    try:
        os.rename(path, path + ".reached")
    except FileNotFoundError:
        return link(*given, **more)
    with open(path + ".reached") as file:
        number = int(file.read())
    while os.path.exists(path + ".reached"):
        time.sleep(0.01)
    if number:
        raise OSError(number, os.strerror(number))
    return link(*given, **more)
os.link = slowly
"""


def waiting(laboratory: Laboratory, queue: str):
    """The file of the only message of a queue."""
    with laboratory.suite.operator("queue") as door:
        row, = wait_for(lambda: door.rows("messages", queue)[1], "it waits")
    return laboratory.state / "queues" / queue / row.text(0)


def use_again(laboratory: Laboratory, path, recipient: str, size: int) -> None:
    """Have somebody drop a message, and others sent until one of them is in its file."""
    inode = path.stat().st_ino
    with laboratory.suite.operator("queue") as door:
        door.call("drop", path.parent.name, path.name)

    def written() -> bool:
        laboratory.ledger.acked(send(laboratory, recipient, size))
        return any(is_whole(other) for other in path.parent.iterdir() if other.stat().st_ino == inode)
    wait_for(written, "its file is used again")


def is_whole(path) -> bool:
    try:
        with read_slot(path) as slot:
            return slot.envelope is not None and slot.envelope.slot == path.name
    except SlotError:
        return False


@pytest.mark.timeout(300)
def test_while_the_other_server_does_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(kit, "CONFIG", kit.CONFIG.replace("content-timeout = 5.0", "content-timeout = 120.0"))
    with Laboratory(tmp_path, config=FEW_SLOTS) as laboratory:
        for server in (laboratory.sink, laboratory.wire):
            server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        laboratory.sink.reading.clear()
        first = send(laboratory, FAR, LARGE).encode()
        laboratory.sink.begun.wait(60)
        use_again(laboratory, waiting(laboratory, "outgoing"), FAR, LARGE)
        laboratory.sink.reading.set()
        wait_for(lambda: laboratory.sink.torn or any(first in taken.content for taken in laboratory.sink.taken), "what was begun has come to an end")
        laboratory.reckon(least=1)
        assert laboratory.sink.torn


@pytest.mark.timeout(300)
def test_while_the_mailbox_takes_it_in(tmp_path):
    # The trigger is a file that fm-mailbox reads and removes, so it may not be shut in.
    options = {"prelude": SLOWLY % str(tmp_path / "trigger"), "config": f'{FEW_SLOTS}[server]\ncontainment = "off"\n'}
    with Laboratory(tmp_path, **options) as laboratory:
        for number in (0, errno.EXDEV):
            reached = taken_in(laboratory, number)
            use_again(laboratory, waiting(laboratory, "incoming"), ALICE, 100_000)
            reached.unlink()
            laboratory.settle()
        laboratory.reckon(least=2)


def taken_in(laboratory: Laboratory, number: int):
    """A message whose content has been read, and has no name in the blob store yet; the file that keeps it so."""
    laboratory.trigger.write_text(str(number))
    send(laboratory, ALICE, 100_000)
    reached = laboratory.trigger.with_name("trigger.reached")
    wait_for(reached.exists, "it is taken in")
    return reached
