"""What is kept of a mailbox between two SORTs and THREADs: its messages in the orders that clients asked for, and whole answers.

One per image (image.py), used by sort.py and thread.py. What a message is sorted by never changes and UIDs are never used again, so an order stays
right whatever happens to flags; of what was removed it is thinned out, what is new is put in by whoever asks. It holds four octets a message for
each of a few orders, and a few answers. It reads nothing.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

MOST = 6                            # orders, and answers


class Order(NamedTuple):
    """The places of the first `len(places)` messages of `uids`, in an order."""

    uids: array
    places: array


class Orders:
    """The orders and answers of one image."""

    def __init__(self) -> None:
        self._orders: OrderedDict[Hashable, Order] = OrderedDict()
        self._answers: OrderedDict[Hashable, tuple[array, int, bytes]] = OrderedDict()

    def recall(self, key: Hashable, uids: array) -> array:
        """Places in the image that has these UIDs now, in order: of its first messages, all of them or none or some."""
        order = self._orders.get(key)
        if order is None:
            return array("I")
        if order.uids is not uids:
            order = _thinned(order, uids)
        self.keep(key, *order)
        return order.places

    def keep(self, key: Hashable, uids: array, places: array) -> None:
        """Keep an order of the first messages of an image."""
        _put(self._orders, key, Order(uids, places))

    def answer(self, key: Hashable, uids: array, count: int) -> bytes | None:
        """An answer about exactly these messages, the first `count` of the image that has these UIDs."""
        known = self._answers.get(key)
        return known[2] if known is not None and known[0] is uids and known[1] == count else None

    def keep_answer(self, key: Hashable, uids: array, count: int, answer: bytes) -> None:
        """Keep an answer."""
        _put(self._answers, key, (uids, count, answer))


def _thinned(order: Order, uids: array) -> Order:
    """An order of what is left, after removals: what is left comes first in the new array, as new UIDs are higher ones."""
    count = len(order.places)
    last = order.uids[count - 1] if count else 0
    there = {uid: place for place, uid in enumerate(uids) if uid <= last}
    known = order.uids
    return Order(uids, array("I", [there[known[place]] for place in order.places if known[place] in there]))


def _put(table: OrderedDict, key: Hashable, value: object) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > MOST:
        table.popitem(last=False)
