"""The ledger: what was sent, what was answered 250, what arrived. Its verdict is in five words: lost, unexpected, damaged, duplicated, recovered.

Kept outside of the system under test. `sent` is written before DATA, `acked` after the 250; `found` is called with every
message that any collector sees. Recovered messages (no 250, yet delivered) are allowed and counted. Towards other servers a message
may arrive twice (RFC 1047): that is counted as repeated.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MARK = re.compile(rb"^X-Ledger: ([0-9a-f-]+)\r?$", re.MULTILINE)


@dataclass
class Verdict:
    """What became of all messages; each entry is (message id, recipient)."""

    acked: int = 0
    delivered: int = 0
    recovered: int = 0
    repeated: int = 0
    lost: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)
    damaged: list = field(default_factory=list)
    duplicated: list = field(default_factory=list)

    def clean(self) -> bool:
        """Whether nothing was lost, invented, damaged, or delivered twice."""
        return not (self.lost or self.unexpected or self.damaged or self.duplicated)

    def counts(self) -> dict[str, int]:
        """All of it in numbers."""
        return {name: value if isinstance(value, int) else len(value) for name, value in vars(self).items() if name != "delivered"}

    def __str__(self) -> str:
        counts = {name: len(getattr(self, name)) for name in ("lost", "unexpected", "damaged", "duplicated")}
        return (f"acked {self.acked}, delivered {self.delivered}, recovered {self.recovered}, repeated {self.repeated}, "
                + ", ".join(f"{name} {count}{f': {getattr(self, name)[:5]}' if count else ''}" for name, count in counts.items()))


class Ledger:
    """One run's book, on disk line by line so that a crash of the generator loses nothing. local(recipient): whether once means once."""

    def __init__(self, path: Path, local: Callable[[str], bool] = lambda recipient: True) -> None:
        self.path, self.local = path, local
        self.file = open(path, "ab", buffering=0)
        self.lock = threading.Lock()
        self.witness: Callable[[str], object] = bool        # told of each line
        self.deaf = False               # the power is off: nothing could be answered any more, whatever is
        self.sent_: dict[str, tuple[frozenset[str], str]] = {}
        self.acked_: set[str] = set()
        self.arrived: Counter[tuple[str, str]] = Counter()
        self.damaged: list[tuple[str, str]] = []
        self.strange: list[tuple[str, str]] = []

    @classmethod
    def read(cls, path: Path, local: Callable[[str], bool] = lambda recipient: True) -> "Ledger":
        """The book of a run that is over."""
        ledger = cls(path, local)
        for line in path.read_text().splitlines():
            word, name, *more = line.split(" ")
            if word == "sent":
                ledger.sent_[name] = (frozenset(more[1:]), more[0])
            elif word == "acked":
                ledger.acked_.add(name)
        return ledger

    def compose(self, recipients: list[str], size: int) -> tuple[str, bytes]:
        """Return (id, content) of a new message and note it as sent. The content ends in CRLF and has no line over 78 octets."""
        name = os.urandom(8).hex()
        line = os.urandom(36).hex().encode() + b"\r\n"
        body = (b".dot\r\n..two\r\n" + line * (size // len(line) + 1))[:max(size, 16)].rstrip(b"\r\n") + b"\r\n"
        content = b"Subject: ledger\r\nFrom: generator@sender.test\r\nX-Ledger: " + name.encode() + b"\r\n\r\n" + body
        digest = hashlib.sha256(content).hexdigest()
        with self.lock:
            self.sent_[name] = (frozenset(recipients), digest)
            self._write("sent", name, digest, *recipients)
        return name, content

    def acked(self, name: str) -> None:
        """Note that the server took the message over."""
        with self.lock:
            if not self.deaf:
                self.acked_.add(name)
                self._write("acked", name)

    def found(self, recipient: str, content: bytes) -> None:
        """Note a message that a collector saw in a recipient's mailbox (or on its way out to them); trace fields may stand above ours."""
        name = self._name(recipient, content)
        if name is None:
            return
        start = content.find(b"Subject: ledger\r\n")
        if hashlib.sha256(content[start:]).hexdigest() != self.sent_[name][1]:
            self.damaged.append((name, recipient))
        self.arrived[name, recipient] += 1

    def told(self, recipient: str, content: bytes) -> None:
        """Note a DSN that says of a message that it did not reach the recipient: that is an honest end, too."""
        name = self._name(recipient, content)
        if name is not None:
            self.arrived[name, recipient] += 1

    def write(self, word: str, *more: str) -> None:
        """Note something else that was promised."""
        with self.lock:
            self._write(word, *more)

    def verdict(self) -> Verdict:
        """Compare what was promised with what came."""
        with self.lock:
            wanted = {(name, recipient) for name in self.acked_ for recipient in self.sent_[name][0]}
        here = set(self.arrived)
        twice = sorted(pair for pair, count in self.arrived.items() if count > 1)
        return Verdict(acked=len(self.acked_), delivered=len(here), recovered=len({name for name, _ in here} - self.acked_),
                       repeated=sum(not self.local(recipient) for _, recipient in twice), lost=sorted(wanted - here), unexpected=self.strange,
                       damaged=self.damaged, duplicated=[pair for pair in twice if self.local(pair[1])])

    def _name(self, recipient: str, content: bytes) -> str | None:
        match = MARK.search(content)
        name = match[1].decode() if match else "?"
        if name not in self.sent_ or recipient not in self.sent_[name][0]:
            self.strange.append((name, recipient))
            return None
        return name

    def _write(self, *words: str) -> None:
        line = " ".join(words)
        self.file.write(f"{line}\n".encode())
        self.witness(line)
