"""What a delivery costs: slots are read, derived from and entered in batches, as fm-mailbox does it, without the conversation around it.

    python bench/mailbox.py [FOLDER] [--messages 6400] [--batch 64] [--accounts 10] [--size 1000]

Prints CPU and wall time per message, apart for contents (open, verify, link and sync large ones), for what is derived of them, and for rows (the
rules, SQLite, its sync).
The slots are written before the clock starts; FOLDER should be on the disk that is meant (default: a temporary one).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from fancymail.core.imap.precompute import precompute
from fancymail.core.mailboxes import Arrival, Mailboxes, trace
from fancymail.core.relatives import relatives
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.blobs import FileBlobs
from fancymail.storage.slots import read_slot, write_slot
from fancymail.storage.sqlite.mailboxes import SqliteMailboxes

HEAD = ("Received: from mx.x.test (mx.x.test [192.0.2.1])\r\n\tby mail.example.test with ESMTP id {id}\r\n\tfor <alice@example.test>\r\n"
        "From: Bob <bob@x.test>\r\nTo: Alice <alice@example.test>\r\nSubject: number {number}\r\nMessage-ID: <{number}@x.test>\r\n"
        "References: <1@x.test> <{number}@y.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0000\r\n\r\n")


def write_slots(folder: Path, count: int, accounts: int, size: int) -> list[Path]:
    paths = []
    for number in range(count):
        paths.append(folder / f"{number:026d}")
        content = HEAD.format(id=f"{number:026d}", number=number).encode()
        envelope = Envelope(f"{number:026d}", "bob@x.test", [Recipient(f"user{number % accounts}@example.test")], received=time.time())
        write_slot(paths[-1], envelope, content + (b"An ordinary line of text.\r\n" * (max(size - len(content), 0) // 27)))
    return paths


def deliver(mailboxes: Mailboxes, paths: list[Path]) -> tuple[float, float, float]:
    """One batch; CPU seconds of contents, of what is derived, and of rows."""
    began, arrivals = time.process_time(), []
    for path in paths:
        with read_slot(path) as slot:
            blob, head = mailboxes.stowage.take(slot)
            content = slot.read() if blob.octets is None else blob.octets
            arrivals.append((Arrival(slot.envelope.recipients[0].address, path.name, 0, slot.envelope.sender,
                                     slot.envelope.recipients[0].address, "", blob, slot.envelope.received, relatives(head)), content))
    mailboxes.stowage.sync()
    taken = time.process_time()
    arrivals = [arrival._replace(derived=precompute(trace(arrival.sender, arrival.address), content, int(arrival.received)))
                for arrival, content in arrivals]
    derived = time.process_time()
    mailboxes.deliver(arrivals)
    mailboxes.stowage.release([arrival.blob for arrival in arrivals])
    return taken - began, derived - taken, time.process_time() - derived


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?")
    for name, default in (("messages", 6400), ("batch", 64), ("accounts", 10), ("size", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        slots = Path(folder) / "slots"
        slots.mkdir()
        paths = write_slots(slots, options.messages, options.accounts, options.size)
        mailboxes = Mailboxes(SqliteMailboxes(Path(folder) / "mail"), FileBlobs(Path(folder) / "mail/blobs"))
        with mailboxes.store.transaction():
            for number in range(options.accounts):
                mailboxes.account(f"user{number}@example.test")
        began = time.perf_counter()
        costs = [deliver(mailboxes, paths[start:start + options.batch]) for start in range(0, len(paths), options.batch)]
        wall = time.perf_counter() - began
        contents, derived, rows = (sum(cost[part] for cost in costs) / len(paths) * 1e6 for part in (0, 1, 2))
        print(f"{len(paths)} messages of {options.size} octets, {options.batch} a batch, {options.accounts} accounts: "
              f"CPU {contents + derived + rows:.0f} us/message (contents {contents:.0f}, derived {derived:.0f}, rows {rows:.0f}), "
              f"{len(paths) / wall:.0f} messages/s")


if __name__ == "__main__":
    main()
