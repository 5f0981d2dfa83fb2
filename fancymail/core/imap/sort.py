"""SORT: places in the order that a client asks for, by keys that were computed at delivery (RFC 5256, RFC 5957).

Called by servers/imap with what search found. The order of a whole mailbox is kept with its image (orders.py), since clients ask for it again and
again: the next time only what is new is read and put in. What is alike stays in the order of the mailbox. It changes nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Sequence

from fancymail.core.imap.columns import read_columns
from fancymail.core.imap.search import SLICE, Places, no_turn
from fancymail.core.imap.view import View
from fancymail.mail.imap.search import Criterion
from fancymail.storage.ports.reader import BoxReader

COLUMNS = {"ARRIVAL": "internaldate", "CC": "cc_key", "DATE": "sent", "FROM": "from_key", "SIZE": "size", "SUBJECT": "subject_key", "TO": "to_key",
           "DISPLAYFROM": "display_from", "DISPLAYTO": "display_to"}
# What stands for a message that cannot be read any more.
_NOTHING = {**dict.fromkeys(COLUMNS.values(), ""), "internaldate": 0, "sent": 0, "size": 0, "references": bytes(8), "reply": 0}
FEW = 50                            # new messages that are put into a known order one by one
PART = 4                            # a fourth of the mailbox is worth an order of all of it


async def sort(view: View, box: BoxReader, criteria: Sequence[Criterion], places: Places,
               turn: Callable[[], Awaitable[None]] = no_turn, scores: Sequence[int] = ()) -> list[int]:
    """Return the places in order; messages that cannot be read any more come first. `scores`: of search.relevancy, for RELEVANCY, the
    highest first (RFC 6203 5). Raises MailboxGone."""
    criteria = tuple(criteria)
    if view.current and len(places) * PART >= view.count and all(each.name in COLUMNS for each in criteria):
        order = await _order(view, box, criteria, turn)
        if len(places) == len(order):
            return list(order)
        wanted = bytearray(max(len(order), view.count))
        for place in places:
            wanted[place] = 1
        return [place for place in order if wanted[place]]
    return await _sorted(view, box, criteria, places, turn, scores)


async def _sorted(view: View, box: BoxReader, criteria: Sequence[Criterion], places: Places, turn: Callable[[], Awaitable[None]],
                  scores: Sequence[int] = ()) -> list[int]:
    """One reading of the columns, then one stable sort per criterion, the last one first."""
    wanted = tuple(dict.fromkeys(COLUMNS[each.name] for each in criteria if each.name in COLUMNS))
    values = await columns_of(view, box, wanted, places, turn)
    order = list(places)
    for criterion in reversed(criteria):
        if criterion.name == "RELEVANCY":
            order.sort(key=dict(zip(places, scores)).get if scores else lambda place: 0, reverse=not criterion.reverse)
        else:
            order.sort(key=values[COLUMNS[criterion.name]].__getitem__, reverse=criterion.reverse)       # stable in both directions
    return order


async def _order(view: View, box: BoxReader, criteria: tuple[Criterion, ...], turn: Callable[[], Awaitable[None]]) -> array:
    """All messages of a view in order: a known order with what is new in it, or a new one."""
    orders, uids, count = view.image.orders, view.uids, view.count
    known = orders.recall(criteria, uids)
    if len(known) < count:
        if known and count - len(known) <= FEW:
            known = await _extended(view, box, criteria, known, count)
        else:
            known = array("I", await _sorted(view, box, criteria, range(count), turn))
        orders.keep(criteria, uids, known)
    return known if len(known) == count else array("I", [place for place in known if place < count])


async def _extended(view: View, box: BoxReader, criteria: tuple[Criterion, ...], known: array, count: int) -> array:
    """A known order with the messages behind it put in, each behind those that are alike: few keys are read to find the place."""
    names = tuple(COLUMNS[each.name] for each in criteria)
    keys: dict[int, list] = {}

    async def key(place: int) -> list:
        if place not in keys:
            values = await columns_of(view, box, names, (place,))
            keys[place] = [values[name][place] for name in names]
        return keys[place]

    order = known[:]
    for place in range(len(known), count):
        own, low, high = await key(place), 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if _before(own, await key(order[middle]), criteria):
                high = middle
            else:
                low = middle + 1
        order.insert(low, place)
    return order


def _before(one: list, other: list, criteria: Sequence[Criterion]) -> bool:
    """Does one message come before another?"""
    for left, right, criterion in zip(one, other, criteria):
        if left != right:
            return (left < right) is not criterion.reverse
    return False


async def columns_of(view: View, box: BoxReader, names: tuple[str, ...], places: Places,
                     turn: Callable[[], Awaitable[None]] = no_turn) -> dict[str, dict[int, object]]:
    """Columns of the messages at these places: name -> place -> value."""
    values: dict[str, dict[int, object]] = {name: {} for name in names}
    for at in range(0, len(places) if names else 0, SLICE):
        slice_ = places[at:at + SLICE]
        rows = await read_columns(box, names, [view.uids[place] for place in slice_])
        if len(rows) < len(slice_):
            found = {row[0]: row for row in rows}
            rows = [found.get(view.uids[place], (0, *map(_NOTHING.__getitem__, names))) for place in slice_]
        for name, column in zip(names, list(zip(*rows))[1:]):
            values[name].update(zip(slice_, column))
        await turn()
    return values
