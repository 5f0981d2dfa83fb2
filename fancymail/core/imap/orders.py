"""What is kept of a mailbox between two SORTs and THREADs: its messages in the orders that clients asked for, and whole answers.

One per image (image.py), used by sort.py and thread.py. What a message is sorted by changes only where it is derived anew, and then the image has
new Orders; UIDs are never used again. So an order stays right whatever happens to flags; of what was removed it is thinned out, what is new is put
in by whoever asks. All images of a process together keep no more than `SHARE` allows: what nobody asked for longest goes first. It reads nothing.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable
from itertools import count as numbers
from typing import NamedTuple
from weakref import WeakValueDictionary, finalize

MOST = 6                            # orders, and answers, of an image
OCTETS = 32 << 20                   # of all of them in a process


class Order(NamedTuple):
    """The places of the first `len(places)` messages of `uids`, in an order."""

    uids: array
    places: array


class Share:
    """What all Orders of a process may hold together. `octets`: what they hold now."""

    def __init__(self, most: int) -> None:
        self.most, self.octets = most, 0
        self._weights: OrderedDict[tuple[int, Hashable], int] = OrderedDict()       # (whose, which) -> octets, the one used last is the last
        self._owners: WeakValueDictionary[int, Orders] = WeakValueDictionary()
        self._numbers = numbers()

    def join(self, orders: Orders) -> int:
        """The number of one more."""
        number = next(self._numbers)
        self._owners[number] = orders
        return number

    def take(self, whose: int, which: Hashable, octets: int) -> None:
        """Something is kept, or used again: others go, if that is too much."""
        self.free(whose, which)
        self._weights[whose, which] = octets
        self.octets += octets
        while self.octets > self.most:
            (owner, oldest), weight = next(iter(self._weights.items()))
            self.free(owner, oldest)
            if (orders := self._owners.get(owner)) is not None:
                orders.drop(oldest)

    def free(self, whose: int, which: Hashable) -> None:
        """It is kept no more."""
        self.octets -= self._weights.pop((whose, which), 0)

    def leave(self, whose: int) -> None:
        """An image is gone, with all that was kept of it."""
        for key in [key for key in self._weights if key[0] == whose]:
            self.free(*key)


SHARE = Share(OCTETS)


class Orders:
    """The orders and answers of one image."""

    def __init__(self, share: Share = SHARE) -> None:
        self._share, self._number = share, share.join(self)
        finalize(self, share.leave, self._number)
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
        self._put(self._orders, key, Order(uids, places), len(uids) * uids.itemsize + len(places) * places.itemsize)

    def answer(self, key: Hashable, uids: array, count: int) -> bytes | None:
        """An answer about exactly these messages, the first `count` of the image that has these UIDs."""
        known = self._answers.get(("answer", key))
        return known[2] if known is not None and known[0] is uids and known[1] == count else None

    def keep_answer(self, key: Hashable, uids: array, count: int, answer: bytes) -> None:
        """Keep an answer."""
        self._put(self._answers, ("answer", key), (uids, count, answer), len(uids) * uids.itemsize + len(answer))

    def drop(self, key: Hashable) -> None:
        """Keep it no more: others need the room."""
        self._orders.pop(key, None)
        self._answers.pop(key, None)

    def _put(self, table: OrderedDict, key: Hashable, value: object, octets: int) -> None:
        table[key] = value
        table.move_to_end(key)
        if len(table) > MOST:
            self._share.free(self._number, table.popitem(last=False)[0])
        self._share.take(self._number, key, octets)


def _thinned(order: Order, uids: array) -> Order:
    """An order of what is left, after removals: what is left comes first in the new array, as new UIDs are higher ones."""
    count = len(order.places)
    last = order.uids[count - 1] if count else 0
    there = {uid: place for place, uid in enumerate(uids) if uid <= last}
    known = order.uids
    return Order(uids, array("I", [there[known[place]] for place in order.places if known[place] in there]))
