"""MESSAGELIMIT: of all the messages that a command names, those that it works on (RFC 9738).

Asked by servers/imap before it fetches, stores, moves, expunges or searches. A client that knows the limit goes on below the lowest UID that
it is told. It reads nothing and says nothing.
"""

from __future__ import annotations

from fancymail.core.imap.fetch import partial
from fancymail.core.imap.ranges import common
from fancymail.core.imap.search import named
from fancymail.core.imap.view import Spans, View
from fancymail.mail.imap import search as keys
from fancymail.mail.imap.search import Key
from fancymail.mail.uidset import LARGEST


def count(spans: Spans) -> int:
    """How many messages are at these places."""
    return sum([high - low for low, high in spans])


def highest(view: View, spans: Spans, most: int) -> tuple[Spans, int]:
    """The `most` messages of the highest UIDs at these places, and the lowest UID of them; 0 where all of them are (or `most` is 0)."""
    if not most or view.count <= most or count(spans) <= most:
        return spans, 0
    kept = partial(spans, -1, -most)
    return kept, view.uids[kept[0][0]]


def scope(view: View, key: Key) -> Spans:
    """Where a search has to look: at the messages that its outermost keys name by number or UID, at all where none does."""
    asked = [(1, LARGEST)]
    for each in key.keys if isinstance(key, keys.And) else (key,):
        if isinstance(each, keys.Numbers):
            asked = common(asked, view.ranges(named(view, each)))
        elif isinstance(each, keys.And):
            asked = common(asked, view.ranges(scope(view, each)))
    return view.places(asked)
