"""The port of the queue's index: which messages wait, in which state, with what behind them.

Asked by core/queue.py only, inside the one process that writes, from one thread (but for `copy_back`). One suite
(tests/contracts/test_queue_index.py) holds all engines to it. What a call wrote survives the death of the process; it survives
a power cut once the caller has synced the filesystem (the queue syncs slots and index with one call). It holds no content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol


class State(IntEnum):
    """Where a message stands. The numbers are kept on disk."""

    READY = 0           # waits for whoever takes it
    LEASED = 1          # somebody works on it; who and until when is known in memory only
    DEFERRED = 2        # not before `due`
    HELD = 3            # not before an operator releases it
    DEAD = 4            # three workers died of it, or an operator's decision is needed; its file is in dead/
    CORRUPT = 5         # its content is not what was pushed; its file is in corrupt/


@dataclass(slots=True)
class Entry:
    """One pushed message. From `state` on the fields change; the others are what was pushed."""

    id: str
    queue: str
    pushed: float               # seconds since the epoch
    size: int                   # octets of content
    sha256: bytes               # of the content, kept here too: the slot's writer may still hold the file open
    bare: bool                  # no header: all of the file is content
    sender: str
    recipients: str             # addresses, separated by spaces, the first thousand characters: for an operator's filters
    count: int                  # how many recipients; 0 for a bare slot
    state: State = State.READY
    due: float = 0.0            # DEFERRED: seconds since the epoch; 0 otherwise
    attempts: int = 0           # how often it was handed out
    deaths: int = 0             # leases in a row that ended without a word
    results: str = ""           # JSON list of the recipients' last results (mail.results)
    reason: str = ""            # why it is deferred, held, dead or corrupt
    message: str = ""           # Envelope.id: the id under which the log speaks of it; a message may have a slot in several queues
    seq: int = 0                # order of pushing, given by `add`


class Total(NamedTuple):
    """Messages and octets of content of one queue in one state."""

    messages: int
    octets: int


ACCEPTED = "accepted"           # the word of the tally for what was added

Position = tuple[float, int]    # where a scan stands: (due, seq) of the last entry seen
BEGIN: Position = (-1.0, 0)


class IndexFailed(Exception):
    """The index could not be read or written (a full or broken disk); the message says why. Nothing of the call counts."""


class Fenced(IndexFailed):
    """In a cluster: another process has our node's name, or took this node for dead. Begin anew."""


class QueueIndex(Protocol):
    """All pushed messages of all queues. Every call is one transaction. Raises IndexFailed when the disk refuses."""

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep new messages and set their `seq`: rising in the order given, above all earlier ones."""

    def find(self, id: str) -> Entry | None: """The message of that id."""

    def known(self, ids: Iterable[str]) -> set[str]: """Those of the ids that are in the index."""

    def claim_ready(self, queue: str, count: int, before: int) -> list[Entry]:
        """Take up to `count` READY messages, oldest first, with seq under `before`: they become LEASED, attempts + 1."""

    def claim_due(self, queue: str, count: int, now: float) -> list[Entry]:
        """Take up to `count` DEFERRED messages that are due at `now`, longest due first: LEASED, attempts + 1, due 0."""

    def save(self, entries: Iterable[Entry]) -> None:
        """Write state, due, attempts, deaths, results and reason of messages; one that isn't there is passed over."""

    def remove(self, ids: Iterable[str], ended: Callable[[Entry], str] | None = None) -> list[Entry]:
        """Forget messages and return what they were; one that isn't there is passed over. `ended` gives for each the word under which
        the tally counts its end; without it they are taken back, as if they had never been added."""

    def next_due(self, queue: str) -> float | None: """When the next DEFERRED message is due."""

    def clamp(self, queue: str, latest: float) -> int:
        """Let no DEFERRED message of a queue be due after `latest` (the clock may have been wrong); return how many were."""

    def tally(self) -> dict[tuple[str, str], int]:
        """How many messages of each queue were ever accepted, and how many ended under which word: by (queue, word). Counted in the same
        transaction as what is counted, so accepted less ended is what is here, to the message."""

    def correct(self, changes: Mapping[tuple[str, str], int]) -> None:
        """Add to what the tally says (or take away): for the operator's mending, when it does not add up."""

    def totals(self) -> dict[tuple[str, State], Total]:
        """Count everything. Reads the whole index: for the start only."""

    def scan(self, queue: str, state: State, after: Position, limit: int) -> list[Entry]:
        """Up to `limit` messages of a state behind a position, in order of (due, seq)."""

    def crowded(self) -> bool:
        """Whether enough was written that `copy_back` and `restart_log` are worth their syncs."""

    def copy_back(self) -> None:
        """Move what was written to its lasting place, durably. May run in another thread beside all other calls."""

    def restart_log(self) -> None:
        """After `copy_back`: begin the log anew, durably. Short; called in the thread of all other calls."""

    def close(self) -> None: """Give everything back."""
