"""SORT: places in the order that a client asks for, by keys that were computed at delivery (RFC 5256, RFC 5957).

Called by servers/imap with what search found. One reading of the columns, then one stable sort per criterion, the last one first; what is alike
stays in the order of the mailbox. It searches nothing and says nothing: that is answers.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fancymail.core.imap.fetch import read_columns
from fancymail.core.imap.search import SLICE, Places, no_turn
from fancymail.core.imap.view import View
from fancymail.mail.imap.search import Criterion
from fancymail.storage.ports.reader import BoxReader

COLUMNS = {"ARRIVAL": "internaldate", "CC": "cc_key", "DATE": "sent", "FROM": "from_key", "SIZE": "size", "SUBJECT": "subject_key", "TO": "to_key",
           "DISPLAYFROM": "display_from", "DISPLAYTO": "display_to"}
# What stands for a message that cannot be read any more.
_NOTHING = {**dict.fromkeys(COLUMNS.values(), ""), "internaldate": 0, "sent": 0, "size": 0, "references": bytes(8), "reply": 0}


async def sort(view: View, box: BoxReader, criteria: Sequence[Criterion], places: Places,
               turn: Callable[[], Awaitable[None]] = no_turn, scores: Sequence[int] = ()) -> list[int]:
    """Return the places in order; messages that cannot be read any more come first. `scores`: of search.relevancy, for RELEVANCY, the
    highest first (RFC 6203 5). Raises MailboxGone."""
    wanted = tuple(dict.fromkeys(COLUMNS[each.name] for each in criteria if each.name in COLUMNS))
    values = await columns_of(view, box, wanted, places, turn)
    order = list(places)
    for criterion in reversed(criteria):
        if criterion.name == "RELEVANCY":
            order.sort(key=dict(zip(places, scores)).get if scores else lambda place: 0, reverse=not criterion.reverse)
        else:
            order.sort(key=values[COLUMNS[criterion.name]].__getitem__, reverse=criterion.reverse)       # stable in both directions
    return order


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
