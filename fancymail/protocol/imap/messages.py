"""Commands about messages, read from a cursor: FETCH, STORE, SEARCH and their kin (RFC 9051 6.4).

Called through the table of grammar.py with the place behind the command's name. Each returns a value of commands.py; BadSyntax and
Refused are the only ways out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from fancymail.mail.imap.fetch import MODSEQ, UID, Binary
from fancymail.mail.imap.search import Return

from . import commands as c
from .cursor import LARGEST_63, BadSyntax, Cursor, Refused
from .fetch import read_items
from .filters import read_sources
from .search import Searcher, read_criteria, read_partial, read_returns

T = TypeVar("T")

_STORE = re.compile(rb"([+-]?)FLAGS(\.SILENT)? ", re.IGNORECASE)
_ACTIONS = {b"": "set", b"+": "add", b"-": "remove"}
_ITEM_NEEDS = {"MODSEQ": "CONDSTORE", "EMAILID": "OBJECTID", "THREADID": "OBJECTID", "SAVEDATE": "SAVEDATE", "PREVIEW": "PREVIEW",
               "PREVIEW (LAZY)": "PREVIEW", Binary: "BINARY"}
_CHARSET = re.compile(rb"CHARSET ", re.IGNORECASE)


def only_uids(cursor: Cursor, uid: bool) -> None:
    """RFC 9586 3: once UIDONLY is enabled, commands with message numbers are BAD."""
    if cursor.uidonly and not uid:
        raise BadSyntax("message numbers are off: only UIDs", b"UIDREQUIRED")


def fetch(cursor: Cursor, uid: bool = False) -> c.Fetch:
    """`set items [(modifiers)]`."""
    only_uids(cursor, uid)
    sequence = cursor.sequence()
    cursor.space()
    items = read_items(cursor)
    _offered(cursor, items)
    if uid and UID not in items:                # RFC 9051 6.4.9: UID FETCH always tells the UID
        items = _with(items, UID)
    if cursor.at == len(cursor.text):
        return c.Fetch(sequence, items, uid)
    return _fetch_modified(cursor, sequence, items, uid)


def _offered(cursor: Cursor, items: tuple) -> None:
    """What is not offered is unknown."""
    for item in items:
        needed = _ITEM_NEEDS.get(item if type(item) is str else type(item))
        if needed and not cursor.options.extension(needed) and not (type(item) is Binary and cursor.options.revision_2):
            raise BadSyntax("there is no such item to fetch")


def _fetch_modified(cursor: Cursor, sequence, items, uid: bool) -> c.Fetch:
    modifiers: dict[str, object] = {}
    if not _at_end(cursor):
        cursor.space()
        cursor.listed(lambda: _fetch_modifier(cursor, modifiers), 4)
        cursor.end()
    changed_since = modifiers.get("CHANGEDSINCE")
    vanished = "VANISHED" in modifiers
    if vanished and (not uid or changed_since is None or "QRESYNC" not in cursor.enabled):      # RFC 7162 3.2.6
        raise BadSyntax("VANISHED goes with UID FETCH and CHANGEDSINCE, when QRESYNC is enabled")
    if changed_since is not None:
        items = _with(items, MODSEQ)            # RFC 7162 3.1.4.1
    return c.Fetch(sequence, items, uid, changed_since, vanished, modifiers.get("PARTIAL"))


def _at_end(cursor: Cursor) -> bool:
    return not cursor.text[cursor.at:].strip(b" ")


_WITH: dict[tuple, tuple] = {}


def _with(items: tuple, item: str) -> tuple:
    """The items and one more, again the same object for the same list."""
    if item in items:
        return items
    known = _WITH.get((item, id(items)))
    if known is None or known[0] is not items:
        if len(_WITH) >= 1024:
            _WITH.clear()
        known = _WITH[item, id(items)] = (items, (item, *items))
    return known[1]


def _fetch_modifier(cursor: Cursor, modifiers: dict[str, object]) -> None:
    word = cursor.word()
    if word in modifiers:
        raise BadSyntax("a modifier stands twice")
    if word == "CHANGEDSINCE" and cursor.options.extension("CONDSTORE"):
        cursor.space()
        modifiers[word] = cursor.number(LARGEST_63, 0)
    elif word == "VANISHED" and cursor.options.extension("QRESYNC"):
        modifiers[word] = True
    elif word == "PARTIAL" and cursor.options.extension("PARTIAL"):
        cursor.space()
        modifiers[word] = read_partial(cursor)
    else:
        raise BadSyntax("there is no such modifier")


def uid_fetch(cursor: Cursor) -> c.Fetch:
    """UID FETCH."""
    return fetch(cursor, True)


def store(cursor: Cursor, uid: bool = False) -> c.Store:
    """`set [(UNCHANGEDSINCE n)] +FLAGS.SILENT (flags)`."""
    only_uids(cursor, uid)
    sequence = cursor.sequence()
    cursor.space()
    unchanged = None
    if cursor.skip(b"("):
        if cursor.word() != "UNCHANGEDSINCE" or not cursor.options.extension("CONDSTORE"):
            raise BadSyntax("there is no such modifier")
        cursor.space()
        unchanged = cursor.number(LARGEST_63)
        cursor.expect(b")")
        cursor.space()
    match = cursor.take(_STORE)
    if match is None:
        raise BadSyntax("FLAGS, +FLAGS or -FLAGS is missing")
    flags = cursor.flags_loose()
    cursor.end()
    return c.Store(sequence, _ACTIONS[match[1]], flags, uid, match[2] is not None, unchanged)


def uid_store(cursor: Cursor) -> c.Store:
    """UID STORE."""
    return store(cursor, True)


def copy(cursor: Cursor, uid: bool = False, move: bool = False) -> c.Copy:
    """`set mailbox`."""
    only_uids(cursor, uid)
    sequence = cursor.sequence()
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.end()
    return c.Copy(sequence, mailbox, uid, move)


def uid_copy(cursor: Cursor) -> c.Copy:
    """UID COPY."""
    return copy(cursor, True)


def move(cursor: Cursor) -> c.Copy:
    """MOVE (RFC 6851)."""
    return copy(cursor, False, True)


def uid_move(cursor: Cursor) -> c.Copy:
    """UID MOVE."""
    return copy(cursor, True, True)


def uid_expunge(cursor: Cursor) -> c.Expunge:
    """UID EXPUNGE (RFC 4315 2.1)."""
    uids = cursor.sequence()
    cursor.end()
    return c.Expunge(uids)


# -- searching -------------------------------------------------------------------------------------------------------

def search(cursor: Cursor, uid: bool = False) -> c.Search | c.Unsaved:
    """`[RETURN (...)] [CHARSET x] keys`."""
    only_uids(cursor, uid)
    returns, searcher = _returns(cursor, "ESEARCH"), Searcher(cursor)

    def asked() -> c.Search:
        charset = _charset(cursor, searcher)
        return c.Search(searcher.program(), uid, returns, charset)
    return _read(asked, returns)


def _read(asked: Callable[[], T], returns: Return | None) -> T | c.Unsaved:
    """What is asked for; what is refused changes `$` where it was to be saved, so the session has to hear of it."""
    try:
        return asked()
    except Refused as refused:
        if returns is None or "SAVE" not in returns.options:
            raise
        return c.Unsaved(refused.text, refused.code)


def _charset(cursor: Cursor, searcher: Searcher) -> str:
    if not cursor.take(_CHARSET):
        return ""
    if "UTF8=ACCEPT" in cursor.enabled:         # RFC 6855 3: it is UTF-8 then, and that is not said again
        raise BadSyntax("CHARSET is not said once UTF8=ACCEPT is enabled")
    charset = searcher.use(cursor.astring())
    cursor.space()
    return charset


def _returns(cursor: Cursor, extension: str) -> Return | None:
    returns = read_returns(cursor)
    if returns is None:
        return None
    options = cursor.options
    if not (options.extension(extension) or options.revision_2 and extension == "ESEARCH"):
        raise BadSyntax("RETURN is not known here")
    if "SAVE" in returns.options and not options.extension("SEARCHRES") or \
            not returns.options.isdisjoint(("UPDATE", "CONTEXT")) and not options.extension("CONTEXT=SEARCH", "CONTEXT=SORT") or \
            returns.partial and not options.extension("PARTIAL", "CONTEXT=SEARCH", "CONTEXT=SORT"):
        raise BadSyntax("there is no such return option")
    return returns


def uid_search(cursor: Cursor) -> c.Search | c.Unsaved:
    """UID SEARCH."""
    return search(cursor, True)


def multi_search(cursor: Cursor) -> c.MultiSearch | c.Unsaved:
    """ESEARCH of RFC 7377: `[IN (sources)] [RETURN (...)] [CHARSET x] keys`."""
    sources = read_sources(cursor)
    returns, searcher = _returns(cursor, "MULTISEARCH") or Return(), Searcher(cursor, numbers=not sources)
    if "SAVE" in returns.options and any(source.kind != "selected" for source in sources):      # RFC 7377 2.1
        raise BadSyntax("only what is found in the selected mailbox can be saved")

    def asked() -> c.MultiSearch:
        _charset(cursor, searcher)
        return c.MultiSearch(sources, searcher.program(), returns)
    return _read(asked, returns)


def sort(cursor: Cursor, uid: bool = False) -> c.Sort | c.Unsaved:
    """`[RETURN (...)] (criteria) charset keys` (RFC 5256 3)."""
    only_uids(cursor, uid)
    returns = _returns(cursor, "ESORT")
    criteria = read_criteria(cursor)
    if any(criterion.name.startswith("DISPLAY") for criterion in criteria) and not cursor.options.extension("SORT=DISPLAY"):
        raise BadSyntax("there is no such sort key")
    cursor.space()
    return _read(lambda: c.Sort(criteria, _searched(cursor), uid, returns), returns)


def _searched(cursor: Cursor):
    searcher = Searcher(cursor)
    searcher.use(cursor.astring())
    cursor.space()
    return searcher.program()


def uid_sort(cursor: Cursor) -> c.Sort | c.Unsaved:
    """UID SORT."""
    return sort(cursor, True)


def thread(cursor: Cursor, uid: bool = False) -> c.Thread:
    """`algorithm charset keys`."""
    only_uids(cursor, uid)
    algorithm = cursor.word()
    if not cursor.options.extension(f"THREAD={algorithm}"):
        raise BadSyntax("there is no such threading algorithm")
    cursor.space()
    return c.Thread(algorithm, _searched(cursor), uid)


def uid_thread(cursor: Cursor) -> c.Thread:
    """UID THREAD."""
    return thread(cursor, True)


def cancel_update(cursor: Cursor) -> c.CancelUpdate:
    """`"tag" "tag"` (RFC 5267 4.4)."""
    tags = [cursor.string()]
    while not _at_end(cursor):
        cursor.space()
        tags.append(cursor.string())
    if len(tags) > cursor.limits.items:
        raise BadSyntax("too many tags")
    return c.CancelUpdate(tuple(tags))
