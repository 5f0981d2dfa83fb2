"""One short day of a suite, run under strace so that every write, name and sync of it is on record (tests/faults/crash_states.py).

    python -m tests.faults.scenario FOLDER PRELUDE        # state in FOLDER/disk/state, the ledger in FOLDER/ledger

What was promised to whom goes into the ledger, and so into the same record, in the order in which it happened: `known` when an alias is, `acked`
after a 250 or an APPEND's OK, `settled` when another server has a message and the queue has let go of it, `held`, `dropped`, `aside` after the
operator's verbs.
"""

from __future__ import annotations

import imaplib
import json
import os
import signal
import smtplib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.ledger import MARK
from tests.faults.laboratory import ALIASES, LOCAL, SENDER, Laboratory
from tests.suite_kit import wait_for

FAR, GONE = ALIASES
DAY = [(["alice@example.test"], 300), (["bob@example.test"], 100_000), ([*LOCAL], 2000), ([FAR], 300), ([*LOCAL, FAR], 60_000),
       (["alice@example.test"], 20), (["bob@example.test"], 500), (["alice@example.test"], 90_000), ([FAR], 20), ([GONE], 300)]

CROWD = 6
DELIVERED = json.dumps([{"recipient": 0, "state": "delivered", "status": "2.0.0", "text": "by hand"}])
BY_HAND = [("result", 1, lambda ids: (*ids, DELIVERED)), ("settle", 2, lambda ids: [word for id in ids for word in (id, DELIVERED)]),
           ("finish", 2, lambda ids: [json.dumps(ids)])]           # verb, of how many messages, what it is told
BURST = [(["alice@example.test"], 300 + number) for number in range(6)] + [([*LOCAL, FAR], 70_000)] * 2       # at the same time: they share syncs


def main(folder: Path, prelude: str) -> None:
    """Live through it, with a suite of its own."""
    (folder / "disk").mkdir(parents=True)
    # Marks (tests/faults/marks.py) are written beside the state, where no daemon that is shut in may write.
    config = '[server]\ncontainment = "off"\n' if "FAULTS_MARKS" in os.environ else ""
    with Laboratory(folder, state=folder / "disk" / "state", prelude=prelude, config=config) as laboratory:
        live(laboratory)


def live(laboratory: Laboratory) -> None:
    """The day: mail of every kind, and the operator's hand at its end."""
    note_what_is_taken(laboratory)
    for alias in ALIASES:
        laboratory.ledger.write("known", alias)
    for recipients, size in DAY:
        send(laboratory, recipients, size)
    with ThreadPoolExecutor(len(BURST)) as crowd:
        list(crowd.map(lambda one: send(laboratory, *one), BURST))
    crowd_in(laboratory)
    append(laboratory, 300), append(laboratory, 100_000)
    store(laboratory, 300), store(laboratory, 100_000)
    wait_for(lambda: waiting(laboratory) == 0, "all is settled")
    name = send(laboratory, [FAR], 300)
    wait_for(lambda: waiting(laboratory) == 0 and idle(laboratory), "the last one is settled")
    laboratory.ledger.write("settled", name)
    operate(laboratory)


def crowd_in(laboratory: Laboratory) -> None:
    """Many large messages that fm-mailbox takes in at once: then they share one sync."""
    laboratory.suite.signal("mailbox", signal.SIGSTOP)
    for _ in range(CROWD):
        send(laboratory, ["alice@example.test"], 60_000)
    laboratory.suite.signal("mailbox", signal.SIGCONT)


def note_what_is_taken(laboratory: Laboratory) -> None:
    """Have the ledger say what the other server has, before it answers."""
    laboratory.sink.note = lambda content: laboratory.ledger.write("taken", MARK.search(content)[1].decode())


def send(laboratory: Laboratory, recipients: list[str], size: int) -> str:
    """One message, by SMTP."""
    name, content = laboratory.ledger.compose(recipients, size)
    with smtplib.SMTP("127.0.0.1", laboratory.suite.ports["smtp"], timeout=30) as client:
        client.sendmail(SENDER, recipients, content)
        laboratory.ledger.acked(name)
    return name


def waiting(laboratory: Laboratory, *states: int) -> int:
    """How many messages the queues hold, in the states of these columns of `queues`, or in any."""
    with laboratory.suite.operator("queue") as queue:
        return sum(int(row.text(place)) for row in queue.rows("queues", timeout=10)[1] for place in states or range(1, 7))


def idle(laboratory: Laboratory) -> bool:
    """Whether fm-smtpout has heard of all its results that they are durable: the queue counts them out a moment earlier."""
    with laboratory.suite.operator("smtpout") as smtpout:
        return json.loads(smtpout.call("stats", timeout=10)[0])["active"] == 0


def append(laboratory: Laboratory, size: int) -> None:
    """One message, by IMAP."""
    name, content = laboratory.ledger.compose(["alice@example.test"], size)
    with imaplib.IMAP4("127.0.0.1", laboratory.suite.ports["imap"]) as client:
        client.login("alice@example.test", laboratory.suite.accounts["alice@example.test"])
        assert client.append("INBOX", "", None, content)[0] == "OK"
        laboratory.ledger.acked(name)


def store(laboratory: Laboratory, size: int) -> None:
    """One message, by the operator's verb, as an import does."""
    name, content = laboratory.ledger.compose(["bob@example.test"], size)
    with laboratory.suite.operator("mailbox") as mailbox:
        mailbox.write_raw("store", "bob@example.test", "", len(content), content=content)
        laboratory.ledger.acked(name)


def operate(laboratory: Laboratory) -> None:
    """What the operator was answered holds, too."""
    laboratory.wire.cut("closed")
    held, dropped = send(laboratory, [FAR], 3000), send(laboratory, [FAR], 300)
    wait_for(lambda: waiting(laboratory, 3) == 2, "both wait")
    with laboratory.suite.operator("queue") as queue:
        ids = [row.text(0) for row in sorted(queue.rows("messages", "outgoing", 9)[1], key=lambda row: -int(row.text(2)))]
        queue.call("hold", "outgoing", ids[0])
        laboratory.ledger.write("held", ids[0], held)
        time.sleep(0.2)
        laboratory.ledger.write("ending", ids[1], dropped)
        queue.call("drop", "outgoing", ids[1])
        laboratory.ledger.write("dropped", ids[1], dropped)
        for size in (300, 100_000):
            name = send(laboratory, [FAR], size)
            id = last_one(queue)
            queue.call("reject", "outgoing", id, "the operator says so")
            laboratory.ledger.write("aside", id, name)
        for verb, count, words in BY_HAND:
            end(laboratory, queue, verb, count, words)
    end_in_order(laboratory)
    laboratory.ledger.write("held", ids[0], held)


def end(laboratory: Laboratory, queue, verb: str, count: int, words) -> None:
    """End messages as fm-smtpout does. By hand, when nothing else is synced: its own words come among many that are."""
    names = {}
    for _ in range(count):
        name = send(laboratory, [FAR], 300)
        names[wait_for(lambda: [id for id in waiting_ids(queue) if id not in names], "it is there")[0]] = name
    for id, name in names.items():
        laboratory.ledger.write("ending", id, name)
    queue.call(verb, "outgoing", *words(list(names)))
    for id, name in names.items():
        laboratory.ledger.write("dropped", id, name)


def end_in_order(laboratory: Laboratory) -> None:
    """Let fm-queue close its books, and begin anew."""
    before = laboratory.suite.pid("queue")
    laboratory.suite.signal("queue", signal.SIGTERM)
    wait_for(lambda: laboratory.suite.pid("queue") not in (0, None, before), "fm-queue has ended and begun anew")
    laboratory.suite.wait_answers()


def last_one(queue) -> str:
    """The id of the only message that the operator has not put anywhere."""
    return wait_for(lambda: waiting_ids(queue), "the last one is there")[0]


def waiting_ids(queue) -> list[str]:
    """The ids of those that the operator has not put anywhere."""
    return [row.text(0) for row in queue.rows("messages", "outgoing", 9)[1] if row.text(1) not in ("held", "dead")]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
