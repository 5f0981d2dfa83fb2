"""Orders and answers that are kept: no more octets in a process than were allowed, and what was used last stays."""

from __future__ import annotations

import gc
import weakref
from array import array

from fancymail.core.imap.orders import MOST, Orders, Share

COUNT = 1000
UIDS = array("I", range(1, COUNT + 1))
PLACES = array("I", range(COUNT))
WEIGHT = 8 * COUNT


def test_an_image_keeps_a_few():
    share = Share(100 * WEIGHT)
    orders = Orders(share)
    for number in range(3 * MOST):
        orders.keep(number, UIDS, PLACES)
        orders.keep_answer(number, UIDS, COUNT, b"x" * 4 * COUNT)
    assert [number for number in range(3 * MOST) if orders.recall(number, UIDS)] == list(range(2 * MOST, 3 * MOST))
    assert share.octets == 2 * MOST * WEIGHT


def test_all_images_share_what_there_is():
    share = Share(10 * WEIGHT)
    images = [Orders(share) for _ in range(30)]
    for orders in images:
        orders.keep("SUBJECT", UIDS, PLACES)
        orders.keep_answer("THREAD", UIDS, COUNT, b"x" * 4 * COUNT)
        assert share.octets <= share.most
    assert [bool(orders.recall("SUBJECT", UIDS)) for orders in images] == [False] * 25 + [True] * 5
    assert [orders.answer("THREAD", UIDS, COUNT) is not None for orders in images] == [False] * 25 + [True] * 5


def test_what_is_used_stays():
    share = Share(3 * WEIGHT)
    first, *others = [Orders(share) for _ in range(9)]
    first.keep("DATE", UIDS, PLACES)
    for orders in others:
        orders.keep("DATE", UIDS, PLACES)
        assert first.recall("DATE", UIDS) is PLACES


def test_who_is_gone_takes_no_room():
    share = Share(10 * WEIGHT)
    orders = Orders(share)
    orders.keep("DATE", UIDS, PLACES)
    orders.keep_answer("THREAD", UIDS, COUNT, b"x")
    gone = weakref.ref(orders)
    del orders
    gc.collect()
    assert gone() is None and share.octets == 0


def test_what_is_too_much_for_all_is_not_kept():
    share = Share(WEIGHT - 1)
    orders = Orders(share)
    orders.keep("DATE", UIDS, PLACES)
    assert not orders.recall("DATE", UIDS) and share.octets == 0
