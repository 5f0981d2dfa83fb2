"""Making one installation's rows out of another's: what differs is carried over, what is equal stays, and what was carried is compared.

Used by servers/moving over the ports of storage/ports/moving.py. Nothing is noted of what is under way: each run finds out what the
other side lacks, so a run that was killed anywhere is gone on with by the next, and one that finds all equal changes nothing. It knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice

from fancymail.base.crash import crash_point
from fancymail.storage.ports.blobs import BadContent, BlobStore
from fancymail.storage.ports.moving import (
    ACCOUNT, MAILBOX, REMOVED, STATE, TOMB, Journal, Letter, MovingAccount, Row, Rows, Table)

BATCH = 200                     # letters of one transaction
CARRIED = 16 << 20              # octets of contents from which a batch is full
BOXES = (MAILBOX, REMOVED)
READERS = 8                     # contents read back at the same time

Image = dict[Table, list[Row]]  # all rows of an account


class Differs(Exception):
    """What was written is not what is read back, or a content is damaged; the message says which."""


def image(rows: MovingAccount) -> Image:
    """All of an account at one moment. What belongs to mailboxes that are gone for good is left out: nobody can reach it."""
    with rows.moment():
        found = {table: rows.rows(table) for table in ACCOUNT}
    boxes = {row[0] for table in (MAILBOX, REMOVED) for row in found[table]} | {0}
    return {table: sorted(row for row in each if table.columns[0] != "box" or row[0] in boxes) for table, each in found.items()}


def digest(found: Image) -> bytes:
    """One hash of all rows."""
    running = sha256()
    for table, rows in found.items():
        running.update(f"{table.name} {len(rows)}\n".encode())
        for row in rows:
            running.update(repr(row).encode("utf-8", "surrogatepass"))
    return running.digest()


def differences(table: Table, wanted: Iterable[Row], there: Iterable[Row]) -> tuple[list[tuple], list[Row]]:
    """What makes `there` like `wanted`: keys of rows to drop, and rows to add then."""
    wanted, there = set(wanted), set(there)
    new = wanted - there
    if not table.key:
        return [], sorted(new)
    return sorted(row[:table.key] for row in there - wanted), sorted(new)


def mirror_tables(tables: Sequence[Table], source: Rows, target: Rows) -> int:
    """Make small tables equal, and compare; how many rows they have. Raises Differs."""
    with source.moment():
        wanted = {table: source.rows(table) for table in tables}
    with target.change():
        steps = {table: differences(table, wanted[table], target.rows(table)) for table in tables}
        for table in reversed(tables):
            if steps[table][0]:
                target.replace(table, steps[table][0], ())
        for table in tables:
            if steps[table][1]:
                target.replace(table, (), steps[table][1])
    for table in tables:
        if sorted(target.rows(table)) != sorted(wanted[table]):
            raise Differs(f"{table.name}: what is read back is not what was written")
    return sum(map(len, wanted.values()))


class Freight:
    """Contents on their way from one blob store to another: each once, and read back before anything names it."""

    def __init__(self, source: BlobStore, target: BlobStore, small: int, journal: Journal) -> None:
        """small: octets up to which a content is kept with its row on the other side."""
        self.source, self.target, self.small, self.journal = source, target, small, journal
        self._readers = ThreadPoolExecutor(READERS, "verify")
        self.contents = self.octets = 0

    def carry(self, letters: Sequence[Letter]) -> list[Letter]:
        """Bring the contents of letters over; the letters as they are kept there. Raises Differs, OSError."""
        here = self.journal.contents({letter.blob for letter in letters if letter.length > self.small})
        large = {letter.blob: letter for letter in letters if letter.length > self.small and letter.blob not in here}
        self.bring((letter.blob, self._pieces(letter)) for letter in large.values())
        return [self._kept(letter) for letter in letters]

    def bring(self, contents: Iterable[tuple[bytes, Iterable[bytes]]]) -> None:
        """Write contents, given by hash and pieces, and read them back. Raises Differs, OSError."""
        pinned = []
        try:
            for blob, pieces in contents:
                self._write(blob, pieces, pinned)
            self.target.sync()
            crash_point("migrate.contents")
            for blob, whole in zip(pinned, self._readers.map(self.target.verify, pinned)):
                if not whole:
                    raise Differs(f"content {blob.hex()}: what is read back is not what was written")
        finally:
            self.target.release(pinned)
        self.journal.carried(pinned)
        self.contents += len(pinned)

    def close(self) -> None:
        self._readers.shutdown()

    def _write(self, blob: bytes, pieces: Iterable[bytes], pinned: list[bytes]) -> None:
        incoming = self.target.incoming()
        try:
            for piece in pieces:
                self.octets += len(piece)
                incoming.write(piece)
            found = incoming.finish()
            pinned.append(found.hash)
        finally:
            incoming.abort()
        if found.hash != blob:
            raise Differs(f"content {blob.hex()} is damaged where it comes from")

    def _pieces(self, letter: Letter) -> Iterable[bytes]:
        if letter.octets is not None:
            return (letter.octets,)
        return self._read(letter)

    def _read(self, letter: Letter) -> Iterable[bytes]:
        try:
            yield from self.source.read(letter.blob, letter.length)
        except (KeyError, BadContent) as error:
            raise Differs(f"content {letter.blob.hex()} is missing or damaged where it comes from: {error}") from error

    def _kept(self, letter: Letter) -> Letter:
        if letter.length > self.small:
            return letter._replace(octets=None)
        octets = letter.octets if letter.octets is not None else b"".join(self._read(letter))
        if sha256(octets).digest() != letter.blob:
            raise Differs(f"content {letter.blob.hex()} is damaged where it comes from")
        return letter._replace(octets=octets)


class Mirror:
    """One account on its way; made for one run."""

    def __init__(self, source: MovingAccount, target: MovingAccount, freight: Freight, told: Callable[[int], None] = lambda letters: None) -> None:
        """told: is told how many letters were carried so far."""
        self.source, self.target, self.freight, self.told = source, target, freight, told
        self.letters = 0                        # carried by this run
        self.dropped = False                    # something of the other side is in fewer places now
        self.absent: set[int] = set()           # letters that were gone before they could be carried: the source is in use

    def run(self, found: Image) -> bool:
        """Make the other side as `found`; whether it is, to the row. Raises Differs when it is not and nobody changed anything meanwhile."""
        before = image(self.target)
        self.boxes = self._boxes(found, before)
        self.places = self._places(found, before)
        self._make_boxes(found, before)
        self._carry(found)
        self._exchange(found)
        after = image(self.target)
        back = self._translated(after, {there: here for here, there in self.boxes.items()}, self._returning(found, after))
        if not self.absent and digest(back) != digest(found):
            raise Differs("what is read back of an account is not what was written")
        return not self.absent

    # -- numbers ---------------------------------------------------------------------------------------------------------------

    def _boxes(self, found: Image, before: Image) -> dict[int, int]:
        """Mailboxes here -> there. A mailbox is known by what it has for ever, and one that was removed by all that is known of it."""
        there, here = _identities(before), _identities(found)
        new = [identity for identity in here if identity not in there]
        if new:
            with self.target.change():
                there |= dict(zip(new, self.target.boxes(len(new))))
        return {0: 0} | {number: there[identity] for identity, number in here.items()}

    def _places(self, found: Image, before: Image) -> dict[int, int]:
        """Letters here -> there, of those that are there: a UID means the same message for ever."""
        known = _by_place(before)
        return {letter: known[place] for box, uid, letter in _lying(found) if (place := (self.boxes[box], uid)) in known}

    def _returning(self, found: Image, after: Image) -> dict[int, int]:
        """Letters there -> here."""
        back = {there: here for here, there in self.boxes.items()}
        known = _by_place(found)
        return {letter: known.get((back.get(box), uid), 0) for box, uid, letter in _lying(after)}

    @staticmethod
    def _translated(found: Image, boxes: dict[int, int], letters: dict[int, int]) -> Image:
        """Rows in the other side's numbers."""
        translated = {}
        for table, rows in found.items():
            if table in (STATE, TOMB):
                place = table.columns.index("letter")
                rows = [(boxes[row[0]], *row[1:place], letters[row[place]], *row[place + 1:]) for row in rows if row[place] in letters]
            elif table.columns[0] == "box":
                rows = [(boxes[row[0]], *row[1:]) for row in rows]
            translated[table] = sorted(rows)
        return translated

    # -- rows ------------------------------------------------------------------------------------------------------------------

    def _make_boxes(self, found: Image, before: Image) -> None:
        """Mailboxes first, as they will be: by them the next run knows what this one brought. Those that are gone take all with them."""
        wanted = self._translated({table: found[table] for table in BOXES}, self.boxes, {})
        gone = {row[0] for table in BOXES for row in before[table]} - set(self.boxes.values())
        with self.target.change():
            for table in ACCOUNT:
                if table in BOXES:
                    self._replace(table, *differences(table, wanted[table], before[table]))
                elif table.columns[0] == "box":
                    self._replace(table, [row[:table.key] for row in before[table] if row[0] in gone], [])

    def _carry(self, found: Image) -> None:
        """Letters, with the places where they lie, oldest first: what is committed is whole."""
        waiting: dict[int, list[tuple[Table, Row]]] = {}
        for table in (STATE, TOMB):
            place = table.columns.index("letter")
            for row in found[table]:
                if row[place] not in self.places:
                    waiting.setdefault(row[place], []).append((table, row))
        numbers = iter(sorted(waiting))
        while batch := list(islice(numbers, BATCH)):
            letters = self.source.letters(batch)
            self.absent |= set(batch) - {letter.number for letter in letters}
            for piece in _pieces(letters):
                self._add(self.freight.carry(piece), waiting)

    def _add(self, letters: list[Letter], waiting: dict[int, list[tuple[Table, Row]]]) -> None:
        with self.target.change():
            numbers = self.target.add(letters)
            self.places |= {letter.number: number for letter, number in zip(letters, numbers)}
            for kept, letter in zip(sorted(self.target.letters(numbers)), letters, strict=True):
                if _plain(kept) != _plain(letter):
                    raise Differs(f"message {letter.emailid}: what is read back is not what was written")
            rows: dict[Table, list[Row]] = {STATE: [], TOMB: []}
            for letter in letters:
                for table, row in waiting[letter.number]:
                    rows[table].append(row)
            for table, each in self._translated(rows, self.boxes, self.places).items():
                self.target.replace(table, [row[:table.key] for row in each], each)
        crash_point("migrate.letters")
        self.letters += len(letters)
        self.told(self.letters)

    def _exchange(self, found: Image) -> None:
        """All other rows, at once."""
        wanted, there = self._translated(found, self.boxes, self.places), image(self.target)
        with self.target.change():
            for table in ACCOUNT:
                self._replace(table, *differences(table, wanted[table], there[table]))
            if self.dropped:
                self.target.tidy()

    def _replace(self, table: Table, keys: list[tuple], rows: list[Row]) -> None:
        self.dropped = self.dropped or bool(keys) and table in (STATE, TOMB)
        if keys or rows:
            self.target.replace(table, keys, rows)


def _identities(found: Image) -> dict[tuple, int]:
    """What a mailbox is -> its number."""
    place, known = MAILBOX.columns.index("objectid"), {}
    for row in found[MAILBOX]:
        known["mailbox", row[place]] = row[0]
    for row in found[REMOVED]:
        same = 0
        while ("removed", *row[1:], same) in known:
            same += 1
        known["removed", *row[1:], same] = row[0]
    return known


def _lying(found: Image) -> Iterable[tuple[int, int, int]]:
    """(box, uid, letter) of all that lies anywhere."""
    for table in (STATE, TOMB):
        place = table.columns.index("letter")
        for row in found[table]:
            yield row[0], row[1], row[place]


def _by_place(found: Image) -> dict[tuple[int, int], int]:
    return {(box, uid): letter for box, uid, letter in _lying(found)}


def _pieces(letters: list[Letter]) -> Iterable[list[Letter]]:
    """Letters in portions of CARRIED octets at most, or one."""
    piece, octets = [], 0
    for letter in letters:
        if piece and octets + letter.length > CARRIED:
            yield piece
            piece, octets = [], 0
        piece.append(letter)
        octets += letter.length
    if piece:
        yield piece


def _plain(letter: Letter) -> tuple:
    """A letter without its number. Texts made from it are compared as PostgreSQL can hold them."""
    made = letter.derived and tuple(
        value.replace("\0", "\ufffd").encode("utf-8", "replace") if isinstance(value, str) else value for value in letter.derived)
    return (*letter[1:-1], made)
