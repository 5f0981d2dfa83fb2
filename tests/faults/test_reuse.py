"""The file of a message that was settled is used for another one while somebody still reads it: nobody ever gets a mixture of both.

Real daemons, stopped where it hurts: fm-smtpout before it reads the content that it sends, fm-mailbox before it gives a content its name in the
blob store.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fancymail.storage.slots import SlotError, read_slot
from tests.faults.laboratory import Laboratory
from tests.faults.scenario import idle
from tests.faults.test_damage import send
from tests.suite_kit import wait_for

ALICE, FAR = "alice@example.test", "far@example.test"
# The trigger is a file that every daemon takes away, so that none may be shut in.
CONFIG = '\n[smtpin]\nslots-ahead = 1\n[server]\ncontainment = "off"\n'
# A function of os waits when a file says so: until that, which then has another name, is removed.
WAITS = """
import os, time
call = os.{name}
def waits(*given, path={path!r}, **more):
    try:
        os.rename(path, path + ".reached")
    except FileNotFoundError:
        return call(*given, **more)
    while os.path.exists(path + ".reached"):
        time.sleep(0.01)
    return call(*given, **more)
os.{name} = waits
"""


def waiting_at(folder: Path, name: str) -> Laboratory:
    return Laboratory(folder, prelude=WAITS.format(name=name, path=str(folder / "trigger")), config=CONFIG)


def reached(laboratory: Laboratory) -> Path:
    """The file that keeps a daemon waiting; once it does."""
    path = laboratory.trigger.with_name("trigger.reached")
    wait_for(path.exists, "a daemon waits")
    return path


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
def test_while_it_is_sent(tmp_path):
    with waiting_at(tmp_path, "pread") as laboratory:
        laboratory.sink.asked = laboratory.trigger.touch
        send(laboratory, FAR, 400_000)
        stopped = reached(laboratory)
        laboratory.sink.asked = bool
        use_again(laboratory, waiting(laboratory, "outgoing"), FAR, 300_000)
        stopped.unlink()
        wait_for(lambda: idle(laboratory), "all that was begun has come to an end")
        torn = laboratory.sink.torn
        laboratory.reckon(least=1)
        assert torn == 1


@pytest.mark.timeout(300)
def test_while_the_mailbox_takes_it_in(tmp_path):
    with waiting_at(tmp_path, "link") as laboratory:
        laboratory.trigger.touch()
        send(laboratory, ALICE, 100_000)
        stopped = reached(laboratory)
        use_again(laboratory, waiting(laboratory, "incoming"), ALICE, 100_000)
        stopped.unlink()
        laboratory.reckon(least=1)
