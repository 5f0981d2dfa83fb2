"""SEARCH: which messages of a view match a tree of keys, asked of the cheapest source that knows (RFC 9051 6.4.4).

Called by servers/imap, and by sort and thread. Flags, numbers and modseqs are in the arrays; dates, sizes, addresses and subjects are columns, read
once for all keys that want them; only BODY, TEXT and odd header fields look into texts, through the reader's index. Each step looks at what is left
of the one before. Text is compared folded, as substrings. It changes nothing; `turn` is awaited between slices, so a long search lets others in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cached_property

from fancymail.core.imap.dates import DAY, day_of
from fancymail.core.imap.columns import read_columns
from fancymail.core.imap.folding import fold, fold_key
from fancymail.core.imap.view import Spans, View
from fancymail.mail.imap import search as keys
from fancymail.mail.imap.search import Key
from fancymail.mail.uidset import compress, contains
from fancymail.storage.ports.reader import BoxReader

SLICE = 1_000                       # messages whose columns or texts are looked at between two turns

Places = Sequence[int]              # of messages in a view, ascending, from 0
Test = Callable[[int, tuple], bool]         # place, row: the UID and columns behind it

ARRAYS, COLUMNS, TEXTS = 0, 1, 2    # where a key is answered, cheapest first

_COLUMN_KEYS = {"from": "from_text", "to": "to_text", "cc": "cc_text", "bcc": "bcc_text", "subject": "subject_text"}
_DATES = {"internal": ("internaldate", DAY), "sent": ("date_only", 1), "saved": ("savedate", DAY)}


async def no_turn() -> None:
    """Nobody waits."""


async def search(view: View, box: BoxReader, key: Key, now: int, turn: Callable[[], Awaitable[None]] = no_turn,
                 places: Places | None = None) -> Places:
    """Return the places of the messages that match, of all or of `places`. `now`: seconds since the epoch, for WITHIN. Raises MailboxGone."""
    return await _Search(view, box, now, turn).start(key, range(view.count) if places is None else places)


async def relevancy(view: View, box: BoxReader, key: Key, places: Places, now: int, turn: Callable[[], Awaitable[None]] = no_turn) -> list[int]:
    """Return a score of 1 to 100 for each of the places that a search with FUZZY keys found (RFC 6203 4): those count more that also have
    the words as one phrase, and those of them whose subject has it."""
    exact = await search(view, box, _without_fuzzy(key), now, turn, places)
    texts = tuple(dict.fromkeys(_texts(key)))
    titled: set[int] = set()
    for text in texts:
        titled.update(await search(view, box, keys.Text("subject", text), now, turn, exact))
    phrase = set(exact)
    return [100 if place in titled else 75 if place in phrase else 50 for place in places]


def _without_fuzzy(key: Key) -> Key:
    if isinstance(key, keys.And):
        return keys.And(tuple(map(_without_fuzzy, key.keys)))
    if isinstance(key, keys.Or):
        return keys.Or(_without_fuzzy(key.left), _without_fuzzy(key.right))
    if isinstance(key, keys.Not):
        return keys.Not(_without_fuzzy(key.key))
    return _without_fuzzy(key.key) if isinstance(key, keys.Fuzzy) else key


def _texts(key: Key, fuzzy: bool = False) -> Iterator[str]:
    """What is searched for below FUZZY."""
    if isinstance(key, keys.And):
        for each in key.keys:
            yield from _texts(each, fuzzy)
    elif isinstance(key, keys.Or):
        yield from _texts(key.left, fuzzy)
        yield from _texts(key.right, fuzzy)
    elif isinstance(key, keys.Fuzzy):
        yield from _texts(key.key, True)
    elif fuzzy and isinstance(key, (keys.Text, keys.Header)) and key.text:
        yield key.text


def uses_modseq(key: Key) -> bool:
    """Does it ask for MODSEQ? Then the answer has one (RFC 7162 3.1.5)."""
    if isinstance(key, keys.And):
        return any(map(uses_modseq, key.keys))
    if isinstance(key, keys.Or):
        return uses_modseq(key.left) or uses_modseq(key.right)
    if isinstance(key, (keys.Not, keys.Fuzzy)):
        return uses_modseq(key.key)
    return isinstance(key, keys.Modseq)


def _tier(key: Key) -> int:
    """Where a key is answered."""
    if isinstance(key, keys.And):
        return max(map(_tier, key.keys))
    if isinstance(key, keys.Or):
        return max(_tier(key.left), _tier(key.right))
    if isinstance(key, (keys.Not, keys.Fuzzy)):
        return _tier(key.key)
    if isinstance(key, keys.Text):
        return COLUMNS if key.where in _COLUMN_KEYS else TEXTS
    if isinstance(key, keys.Header):
        return COLUMNS if key.name in _COLUMN_KEYS and key.text else TEXTS
    return COLUMNS if isinstance(key, (keys.Dated, keys.Within, keys.Size, keys.ObjectId)) else ARRAYS


class _Search:
    """One search over one view."""

    def __init__(self, view: View, box: BoxReader, now: int, turn: Callable[[], Awaitable[None]]) -> None:
        self.view, self.box, self.now, self.turn = view, box, now, turn
        self.uids, self.flags, self.modseqs = view.whole()

    async def start(self, key: Key, places: Places) -> Places:
        """Begin: what will wait for columns or texts needs a state that stays, and not of what the numbers in the key leave out."""
        if _tier(key) != ARRAYS:
            self.uids, self.flags, self.modseqs = self.view.state(0, self.view.count)
        return await self.match(key, places)

    async def match(self, key: Key, places: Places, fuzzy: bool = False) -> Places:
        """Those of the places whose message matches."""
        if not places:
            return places
        tier = _tier(key)
        if tier == ARRAYS:
            return self._in_arrays(key, places)
        if tier == COLUMNS:
            return await self._in_columns((key,), places, fuzzy)
        if isinstance(key, keys.And):
            return await self._all(key, places, fuzzy)
        if isinstance(key, keys.Or):
            left = await self.match(key.left, places, fuzzy)
            taken = set(left)
            right = await self.match(key.right, [place for place in places if place not in taken], fuzzy)
            return sorted([*left, *right])
        if isinstance(key, keys.Not):
            taken = set(await self.match(key.key, places, fuzzy))
            return [place for place in places if place not in taken]
        if isinstance(key, keys.Fuzzy):
            return await self.match(key.key, places, True)
        if isinstance(key, keys.Header):
            return await self._in_header(key, places, fuzzy)
        return await self._in_texts(key.text, key.where, places, fuzzy)

    async def _all(self, key: keys.And, places: Places, fuzzy: bool) -> Places:
        """Cheap keys first; those that want columns share one reading."""
        columns = tuple(each for each in key.keys if _tier(each) == COLUMNS)
        for each in _numbers_first(key.keys):
            if _tier(each) == ARRAYS:
                places = self._in_arrays(each, places)
        if columns and places:
            places = await self._in_columns(columns, places, fuzzy)
        for each in key.keys:
            if _tier(each) == TEXTS:
                places = await self.match(each, places, fuzzy)
        return places

    # Arrays

    def _in_arrays(self, key: Key, places: Places) -> Places:
        if isinstance(key, keys.Flag):          # the usual ones, without a call per message
            bits, unknown = self.view.image.bits([key.name])
            flags = self.flags
            if unknown:
                return () if key.present else places
            if key.present:
                return [place for place in places if flags[place] & bits]
            return [place for place in places if not flags[place] & bits]
        if isinstance(key, keys.All):
            return places
        if isinstance(key, keys.Numbers):
            return _common(_of_spans(named(self.view, key)), places)
        if isinstance(key, keys.And):
            for each in _numbers_first(key.keys):
                places = self._in_arrays(each, places)
            return places
        test = self._test(key, {}, False)
        return [place for place in places if test(place, ())]

    def _test(self, key: Key, columns: dict[str, int], fuzzy: bool) -> Test:
        """A function that tells of one message whether it matches, for keys that need no texts. Adds the columns that it reads."""
        if isinstance(key, keys.And):
            tests = [self._test(each, columns, fuzzy) for each in key.keys]
            return lambda place, row: all([test(place, row) for test in tests])
        if isinstance(key, keys.Or):
            left, right = self._test(key.left, columns, fuzzy), self._test(key.right, columns, fuzzy)
            return lambda place, row: left(place, row) or right(place, row)
        if isinstance(key, keys.Not):
            inner = self._test(key.key, columns, fuzzy)
            return lambda place, row: not inner(place, row)
        if isinstance(key, keys.Fuzzy):
            return self._test(key.key, columns, True)
        return self._test_array(key) or self._test_column(key, columns, fuzzy)

    def _test_array(self, key: Key) -> Test | None:
        uids, flags, modseqs = self.uids, self.flags, self.modseqs
        if isinstance(key, (keys.All, keys.SaveDateSupported)):
            return lambda place, row: True
        if isinstance(key, keys.Flag):
            bits, unknown = self.view.image.bits([key.name])
            present = key.present
            return (lambda place, row: not present) if unknown else (lambda place, row: bool(flags[place] & bits) is present)
        if isinstance(key, keys.Recent):
            recent, wanted = self.view.recent, key.present
            return lambda place, row: contains(recent, uids[place]) is wanted
        if isinstance(key, keys.Modseq):
            least = key.modseq
            return lambda place, row: modseqs[place] >= least
        if isinstance(key, keys.Numbers):
            places = _of_spans(named(self.view, key))
            return lambda place, row: place in places
        return None

    # Columns

    def _test_column(self, key: Key, columns: dict[str, int], fuzzy: bool) -> Test:
        def at(name: str) -> int:
            return columns.setdefault(name, len(columns) + 1)
        if isinstance(key, keys.Size):
            column, octets = at("size"), key.octets
            return (lambda place, row: row[column] > octets) if key.relation == "larger" else (lambda place, row: row[column] < octets)
        if isinstance(key, keys.Dated):
            return self._test_date(key, at)
        if isinstance(key, keys.Within):        # RFC 5032 3
            column, edge = at("internaldate"), self.now - key.seconds
            return (lambda place, row: row[column] <= edge) if key.relation == "older" else (lambda place, row: row[column] >= edge)
        if isinstance(key, keys.ObjectId):
            column, wanted = at("emailid" if key.kind == "email" else "threadid"), key.id
            return lambda place, row: row[column] == wanted
        column = at(_COLUMN_KEYS[key.name if isinstance(key, keys.Header) else key.where])
        words = _words(key.text, fuzzy)
        if len(words) == 1:
            word, = words
            return lambda place, row: word in row[column]
        return lambda place, row: all([word in row[column] for word in words])

    @staticmethod
    def _test_date(key: keys.Dated, at: Callable[[str], int]) -> Test:
        name, unit = _DATES[key.kind]
        column, day = at(name), day_of(key.day)
        if key.relation == "on":
            return lambda place, row: row[column] // unit == day
        if key.relation == "before":
            return lambda place, row: row[column] // unit < day
        return lambda place, row: row[column] // unit >= day

    async def _in_columns(self, wanted: Sequence[Key], places: Places, fuzzy: bool) -> Places:
        columns: dict[str, int] = {}
        tests = [self._test(key, columns, fuzzy) for key in wanted]
        test = tests[0] if len(tests) == 1 else lambda place, row: all([each(place, row) for each in tests])
        found: list[int] = []
        for slice_ in _slices(places):
            rows = await read_columns(self.box, tuple(columns), [self.uids[place] for place in slice_])
            if len(rows) < len(slice_):         # what cannot be read any more matches nothing
                there = {row[0] for row in rows}
                slice_ = [place for place in slice_ if self.uids[place] in there]
            found += [place for place, row in zip(slice_, rows) if test(place, row)]
            await self.turn()
        return found

    # Texts

    async def _in_texts(self, text: str, where: str, places: Places, fuzzy: bool) -> Places:
        words = _words(text, fuzzy)
        if not any(words):
            return places
        found: list[int] = []
        for slice_ in _slices(places):
            found += await self.box.matching(words, where, compress([self.uids[place] for place in slice_]))
            await self.turn()
        return [self._places[uid] for uid in found]

    async def _in_header(self, key: keys.Header, places: Places, fuzzy: bool) -> Places:
        """Find the words anywhere in the header first, then look whether they stand in that field."""
        start, words = f"{key.name.lower()}: ", _words(key.text, fuzzy)
        places = await self._in_texts(max([start.rstrip(), *words], key=len), "header", places, False)
        found: list[int] = []
        for slice_ in _slices(places):
            rows = dict(await read_columns(self.box, ("header_text",), [self.uids[place] for place in slice_]))
            found += [place for place in slice_ if _has_field(rows.get(self.uids[place], ""), start, words)]
            await self.turn()
        return found

    @cached_property
    def _places(self) -> dict[int, int]:
        return {uid: place for place, uid in enumerate(self.uids)}


def named(view: View, key: keys.Numbers) -> Spans:
    """The places of a sequence set; numbers beyond the last message name none here, whatever other commands make of them."""
    if key.uid or key.sequence.saved:
        return view.resolve(key.sequence, True)
    return [(first - 1, min(last, view.count)) for first, last in key.sequence.resolve(view.count) if first <= view.count]


def _of_spans(spans: Spans) -> set[int] | range:
    return range(*spans[0]) if len(spans) == 1 else {place for low, high in spans for place in range(low, high)}


def _numbers_first(parts: Sequence[Key]) -> list[Key]:
    """Numbers leave out messages without a look at them, so that what they leave costs, not what the mailbox holds."""
    return sorted(parts, key=lambda part: not isinstance(part, keys.Numbers))


def _common(named: set[int] | range, places: Places) -> Places:
    """The places that are named."""
    if isinstance(named, range) and isinstance(places, range):
        return range(max(named.start, places.start), min(named.stop, places.stop))
    if len(named) < len(places) and isinstance(places, range):
        return [place for place in sorted(named) if place in places]
    return [place for place in places if place in named]


def _slices(places: Places) -> Iterator[Places]:
    return (places[at:at + SLICE] for at in range(0, len(places), SLICE))


def _words(text: str, fuzzy: bool) -> list[str]:
    """What has to be found: the text, or where the client left it to us (RFC 6203), each of its words."""
    return fold(text).split() or [""] if fuzzy else [fold_key(text)]


def _has_field(header: str, start: str, words: list[str]) -> bool:
    """Is there a line that starts so, with all the words in it? Every line has its end."""
    text, position = "\n" + header, -1
    while (position := text.find("\n" + start, position + 1)) >= 0:
        value = text[position + 1 + len(start):text.find("\n", position + 1)]
        if all([word in value for word in words]):
            return True
    return False
