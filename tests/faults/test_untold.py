"""fm-smtpin dies with messages that it answered 250 and did not tell fm-queue of: they are found, whoever gave their slots."""

from __future__ import annotations

import json
import smtplib
from contextlib import suppress

from fancymail.ipc.message import IpcError
from fancymail.storage.slots import SlotError, read_slot
from tests.faults.laboratory import LOCAL, SENDER, Laboratory
from tests.suite_kit import wait_for

TELLS_ONCE = "import fancymail.servers.smtpin.outbox as outbox\noutbox.PACE = 3600.0"         # then its next word is due in an hour


def send(laboratory: Laboratory, count: int) -> None:
    """Messages for both mailboxes, each answered 250."""
    with smtplib.SMTP("127.0.0.1", laboratory.suite.ports["smtp"], timeout=20) as client:
        for _ in range(count):
            name, content = laboratory.ledger.compose(list(LOCAL), 500)
            client.sendmail(SENDER, LOCAL, content)
            laboratory.ledger.acked(name)


def swept(laboratory: Laboratory) -> bool:
    """Whether fm-queue has looked through its folders: it counts the slots there that nobody wrote into."""
    with suppress(IpcError), laboratory.suite.operator("queue") as queue:
        return json.loads(queue.call("stats", timeout=5)[0])["orphans"] > 0
    return False


def whole_slots(laboratory: Laboratory) -> int:
    found = 0
    for path in (laboratory.state / "queues/incoming").iterdir():
        try:
            with read_slot(path) as slot:
                found += slot.envelope is not None and slot.envelope.slot == path.name
        except (SlotError, FileNotFoundError):
            continue
    return found


def test_slots_that_a_queue_gave_which_is_dead_too(tmp_path):
    with Laboratory(tmp_path, prelude=TELLS_ONCE) as laboratory:
        send(laboratory, 2)             # of the first it tells, and then of nothing any more
        laboratory.kill("queue")
        wait_for(lambda: swept(laboratory), "the new fm-queue has looked through its folders")
        send(laboratory, 5)
        assert whole_slots(laboratory) >= 5
        laboratory.kill("smtpin")
        wait_for(lambda: whole_slots(laboratory) == 0, "all are delivered")
        assert laboratory.reckon(least=7).delivered == 14
