"""A maildrop as POP3 sees it: a snapshot of INBOX taken at login, and the messages marked as deleted since.

Made by servers/pop3 from what fm-mailbox answers to `maildrop`, asked by the engine in protocol/pop3/server.py. A `Snapshot`
never changes and renders its listings once; sessions of an unchanged mailbox share it. A `Maildrop` is one session's view.
Deletes nothing: at QUIT the daemon asks for `deleted_uids` and has them expunged.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from itertools import chain, count

RECORD = struct.Struct("<IQ")           # (uid, octets), as fm-mailbox packs them


class Snapshot:
    """The messages of a maildrop, numbered from 1: their UIDs and sizes. `records` are packed; raises ValueError if they are not.

    `modseq`: the state of the mailbox that this is.
    """

    def __init__(self, uidvalidity: int, records: bytes, modseq: int = 0) -> None:
        if len(records) % RECORD.size:
            raise ValueError("half a record")
        self.uidvalidity, self.records, self.modseq = uidvalidity, records, modseq
        self.count = len(records) // RECORD.size

    def message(self, number: int) -> tuple[int, int]:
        """Return (uid, octets) of a message from 1 to `count`."""
        return RECORD.unpack_from(self.records, (number - 1) * RECORD.size)

    def messages(self) -> Iterator[tuple[int, int]]:
        """Yield (uid, octets) of each message."""
        return RECORD.iter_unpack(self.records)

    @cached_property
    def octets(self) -> int:
        """Octets of all messages together."""
        return sum([size for _, size in self.messages()])

    @cached_property
    def scan(self) -> bytes:
        """The lines of LIST for all messages."""
        numbered = zip(count(1), [size for _, size in self.messages()])
        return b"%d %d\r\n" * self.count % tuple(chain.from_iterable(numbered))

    @cached_property
    def unique(self) -> bytes:
        """The lines of UIDL for all messages."""
        numbered = zip(count(1), [uid for uid, _ in self.messages()])
        return b"%%d %d.%%d\r\n" % self.uidvalidity * self.count % tuple(chain.from_iterable(numbered))


class Maildrop:
    """One session's view of a snapshot. Message numbers that do not exist, or are marked, are not found."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._deleted: set[int] = set()
        self.count, self.octets = snapshot.count, snapshot.octets       # without those that are marked

    def find(self, number: int) -> tuple[int, int] | None:
        """Return (uid, octets) of a message, None if there is none of this number."""
        if not 1 <= number <= self._snapshot.count or number in self._deleted:
            return None
        return self._snapshot.message(number)

    def delete(self, number: int) -> bool:
        """Mark a message as deleted; False if there is none of this number."""
        found = self.find(number)
        if found is None:
            return False
        self._deleted.add(number)
        self.count, self.octets = self.count - 1, self.octets - found[1]
        return True

    def reset(self) -> None:
        """Take all marks away."""
        self._deleted.clear()
        self.count, self.octets = self._snapshot.count, self._snapshot.octets

    def unique_id(self, uid: int) -> bytes:
        """Return the unique-id of a message: UIDVALIDITY and UID, so it is the same in every session and after every restart."""
        return b"%d.%d" % (self._snapshot.uidvalidity, uid)         # RFC 1939 7: 1 to 70 printable octets

    def scan_listing(self) -> bytes:
        """Return the lines of LIST: number and octets of each message that is not marked."""
        if not self._deleted:
            return self._snapshot.scan
        return b"".join([b"%d %d\r\n" % (number, size) for number, (_, size) in self._left()])

    def unique_listing(self) -> bytes:
        """Return the lines of UIDL: number and unique-id of each message that is not marked."""
        if not self._deleted:
            return self._snapshot.unique
        validity = self._snapshot.uidvalidity
        return b"".join([b"%d %d.%d\r\n" % (number, validity, uid) for number, (uid, _) in self._left()])

    def deleted_uids(self) -> list[int]:
        """Return the UIDs of the marked messages, in order."""
        return [self._snapshot.message(number)[0] for number in sorted(self._deleted)]

    def _left(self) -> list[tuple[int, tuple[int, int]]]:
        deleted = self._deleted
        return [item for item in enumerate(self._snapshot.messages(), 1) if item[0] not in deleted]


class Snapshots:
    """The last snapshot of each account, as long as they are not too many: most logins find their mailbox unchanged."""

    def __init__(self, most: int) -> None:
        self._most = most               # messages in all
        self._held = 0
        self._known: OrderedDict[str, Snapshot] = OrderedDict()

    def find(self, account: str) -> Snapshot | None:
        """Return the last snapshot of an account, if it is still here."""
        return self._known.get(account)

    def share(self, account: str, uidvalidity: int, records: bytes, modseq: int = 0) -> Snapshot:
        """Return a snapshot of these records, the known one if they are the same. Raises ValueError as Snapshot does."""
        known = self._known.get(account)
        if known is not None and known.uidvalidity == uidvalidity and known.records == records:
            known.modseq = modseq
            self._known.move_to_end(account)
            return known
        snapshot = Snapshot(uidvalidity, records, modseq)
        self._held += snapshot.count - (known.count if known else 0)
        self._known[account] = snapshot
        self._known.move_to_end(account)
        while self._held > self._most and self._known:
            _, oldest = self._known.popitem(last=False)
            self._held -= oldest.count
        return snapshot
