"""Judges a recorded day (tests/faults/crash_states.py): after every promise, whatever a power cut may leave must keep it.

    python -m tests.faults.judge FOLDER PRELUDE         # prints what is broken, line by line; exit code 1

Promises are the ledger's lines: `acked` (the message is in a mailbox, in the queue, or was taken by the other server), `known` (an alias),
`settled` (the queue will not send it again), `held`, `dropped`, `aside` (the operator's word). They must be kept at every other moment, too: such
are looked at when a file has got another folder, and when a database has become durable (then the least that is left is enough to look at).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.faults.crash_states import STATES, Record, materialize
from tests.faults.inventory import Holdings, inventory
from tests.faults.laboratory import ALIASES, SENDER
from tests.faults.ledger import MARK

GONE = list(ALIASES)[1]                 # whose server refuses them
PROMISES = ("acked", "known", "settled", "held", "dropped", "aside")
MOMENTS = {**dict.fromkeys(PROMISES, len(STATES)), "moved": len(STATES), "stored": 1}      # how many of the states are looked at


class Book:
    """The lines of the ledger up to a moment."""

    def __init__(self, lines: list[str]) -> None:
        words = [line.split(" ") for line in lines]
        self.sent = {word[1]: (word[2], word[3:]) for word in words if word[0] == "sent"}
        self.ended = {word[2] for word in words if word[0] == "ending"}         # by the operator: gone at the latest when it is `dropped`
        self.said = {name: [word[1] for word in words if word[0] == name] for name in (*PROMISES, "taken")}

    def broken(self, found: Holdings) -> Iterator[str]:
        """What was promised and is not so."""
        yield from found.wrong
        yield from (f"a row without its slot: {id}" for id in found.torn)
        yield from (f"not known any more: {alias}" for alias in self.said["known"] if alias not in found.aliases)
        names = [(recipient, match[1].decode(), content) for recipient, content in found.messages if (match := MARK.search(content))]
        here = {(recipient, name) for recipient, name, _ in names}
        for name in set(self.said["acked"]) - self.ended:
            for recipient in self.sent[name][1]:
                told = recipient == GONE and (SENDER, name) in here
                if (ALIASES.get(recipient, recipient), name) not in here and not told and not (recipient in ALIASES and name in self.said["taken"]):
                    yield f"lost: {name} for {recipient}"
        for recipient, name, content in names:
            if recipient == SENDER:             # told that it could not be delivered
                continue
            if name not in self.sent or hashlib.sha256(content[content.find(b"Subject: ledger"):]).hexdigest() != self.sent[name][0]:
                yield f"damaged: {name} for {recipient}"
        for name in self.said["settled"]:
            if any(known == name and recipient in ALIASES.values() for recipient, known, _ in names):
                yield f"to be sent again: {name}"
        for id in self.said["held"]:
            if found.queued.get(id, ("", ""))[1] != "held":
                yield f"held no more: {id}"
        for id in self.said["aside"]:
            if found.queued.get(id, ("", ""))[1] != "dead":
                yield f"not aside any more: {id}"
            elif id not in found.aside:
                yield f"said to be aside, and in its queue still: {id}"
        for id in self.said["dropped"]:
            if id in found.queued:
                yield f"dropped, and here again: {id}"


def verdicts(record: Record, seed: int = 1, without: str = "", kinds: tuple[str, ...] = STATES) -> Iterator[tuple[str, list[str]]]:
    """After each promise, and when a file has moved, for each state: (where, what is broken). The last are looked at first: most is at stake then."""
    chance = random.Random(seed)
    states = []
    for lines, model in record.walk(without):
        some = kinds[:MOMENTS.get(lines[-1].split(" ")[0], 0)]
        states += [(list(lines), kind, model.state(kind, chance)) for kind in some]
    root = f"{record.root}/state"
    for lines, kind, left in reversed(states):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            target = Path(folder, "state")
            materialize({path: content for path, content in left.items() if path.startswith(f"{root}/")}, root, target)
            try:
                found = list(Book(lines).broken(asyncio.run(inventory(target))))
            except Exception as error:      # whatever it is: somebody's mail cannot be read
                found = [f"cannot be opened: {type(error).__name__}: {error}"]
            yield f"cut after '{lines[-1]}', {kind}", found


def main(folder: Path, prelude: str, all_of_them: bool = False) -> int:
    """Record a day, and stop at the first broken promise."""
    record = Record(folder, prelude)
    if record.ended:
        print(f"the day did not end well: {record.said}")
        return 1
    count = broken = 0
    for where, found in verdicts(record):
        count += 1
        if found:
            broken += 1
            print(f"{where}: {'; '.join(found[:5])}")
            if not all_of_them:
                return 1
    print(f"{count} states, {broken} of them broken")
    return int(bool(broken))


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main(Path(sys.argv[1]), sys.argv[2], len(sys.argv) > 3))
