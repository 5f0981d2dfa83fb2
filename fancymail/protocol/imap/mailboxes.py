"""Commands about mailboxes, read from a cursor: SELECT, CREATE, RENAME, LIST, STATUS and their kin (RFC 9051 6.3).

Called through the table of grammar.py with the place behind the command's name. Each returns a value of commands.py; BadSyntax and
Refused are the only ways out.
"""

from __future__ import annotations

from fancymail.mail.imap.sequence import SequenceSet
from fancymail.mail.mailbox import SPECIAL_USES

from . import commands as c
from .cursor import LARGEST_32, LARGEST_63, BadSyntax, Cursor, Refused
from .shapes import read_entry, rest_of_list

_STATUS = {"MESSAGES": "", "UIDNEXT": "", "UIDVALIDITY": "", "UNSEEN": "", "RECENT": "", "DELETED": "", "SIZE": "STATUS=SIZE",
           "HIGHESTMODSEQ": "CONDSTORE", "MAILBOXID": "OBJECTID", "APPENDLIMIT": "", "DELETED-STORAGE": "QUOTA=RES-STORAGE"}
_SELECTION = frozenset(("SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"))
_RETURNS = {"SUBSCRIBED": "LIST-EXTENDED", "CHILDREN": "LIST-EXTENDED", "SPECIAL-USE": "SPECIAL-USE", "MYRIGHTS": "LIST-MYRIGHTS"}
_USES = {use.lower(): use for use in SPECIAL_USES}


def select(cursor: Cursor, read_only: bool = False) -> c.Select:
    """`mailbox [(CONDSTORE QRESYNC (...))]`."""
    mailbox = cursor.mailbox()
    if cursor.at == len(cursor.text):
        return c.Select(mailbox, read_only)
    found: dict[str, object] = {}

    def parameter() -> None:
        word = cursor.word()
        if word in found:
            raise BadSyntax("a parameter stands twice")
        if word == "CONDSTORE" and cursor.options.extension("CONDSTORE"):
            found[word] = True
        elif word == "QRESYNC" and cursor.options.extension("QRESYNC"):
            found[word] = _qresync(cursor)
        else:
            raise BadSyntax("there is no such parameter")
    rest_of_list(cursor, parameter)
    return c.Select(mailbox, read_only, "CONDSTORE" in found, found.get("QRESYNC"))


def _qresync(cursor: Cursor) -> c.Qresync:
    """` (uidvalidity modseq [known] [(numbers uids)])` (RFC 7162 3.2.5)."""
    if "QRESYNC" not in cursor.enabled:
        raise BadSyntax("QRESYNC is not enabled")
    cursor.space()
    cursor.expect(b"(")
    uidvalidity = cursor.number(LARGEST_32, 1)
    cursor.space()
    modseq = cursor.number(LARGEST_63, 1)
    known = match = None
    if cursor.next_is(b" ") and not cursor.next_is(b" ("):
        cursor.space()
        known = _without_star(cursor)
    if cursor.next_is(b" "):
        cursor.space()
        cursor.expect(b"(")
        numbers = _without_star(cursor)
        cursor.space()
        match = numbers, _without_star(cursor)
        cursor.expect(b")")
    cursor.expect(b")")
    return c.Qresync(uidvalidity, modseq, known, match)


def _without_star(cursor: Cursor) -> SequenceSet:
    sequence = cursor.sequence()
    if sequence.star or sequence.saved:         # RFC 7162 3.2.5.1: "*" is not allowed
        raise BadSyntax("* and $ are not allowed here")
    return sequence


def examine(cursor: Cursor) -> c.Select:
    """EXAMINE."""
    return select(cursor, True)


def create(cursor: Cursor) -> c.Create:
    """`mailbox [(USE (\\Sent))]`."""
    mailbox = cursor.mailbox(new=True)
    uses: list[str] = []

    def parameter() -> None:
        if cursor.word() != "USE" or not cursor.options.extension("CREATE-SPECIAL-USE"):
            raise BadSyntax("there is no such parameter")
        cursor.space()
        uses.extend(cursor.listed(lambda: _use(cursor), 8, empty=True))
    rest_of_list(cursor, parameter)
    return c.Create(mailbox, tuple(dict.fromkeys(uses)))


def _use(cursor: Cursor) -> str:
    cursor.expect(b"\\")
    use = _USES.get("\\" + cursor.atom().decode().lower())
    if use is None:
        raise Refused("this special use is not known", b"USEATTR")      # RFC 6154 3
    return use


def rename(cursor: Cursor) -> c.Rename:
    """`mailbox mailbox`."""
    mailbox = cursor.mailbox()
    cursor.space()
    to = cursor.mailbox(new=True)
    cursor.end()
    return c.Rename(mailbox, to)


def status(cursor: Cursor) -> c.Status:
    """`mailbox (items)`."""
    mailbox = cursor.mailbox()
    cursor.space()
    items = read_status_items(cursor)
    cursor.end()
    return c.Status(mailbox, items)


def read_status_items(cursor: Cursor) -> tuple[str, ...]:
    """`(MESSAGES UNSEEN)`, none twice."""
    return tuple(dict.fromkeys(cursor.listed(lambda: _status_item(cursor), len(_STATUS) * 4)))


def _status_item(cursor: Cursor) -> str:
    item = cursor.word()
    needed = _STATUS.get(item)
    if needed is None or needed and not (cursor.options.extension(needed) or item == "SIZE" and cursor.options.revision_2):
        raise BadSyntax("there is no such status item")
    return item


def list_(cursor: Cursor) -> c.List:
    """`[(selection)] reference patterns [RETURN (...)]`."""
    selection: frozenset[str] = frozenset()
    extended = cursor.next_is(b"(")
    if extended:
        selection = frozenset(cursor.listed(lambda: _selection(cursor), 8, empty=True))
        if selection & {"RECURSIVEMATCH"} and not selection & {"SUBSCRIBED", "SPECIAL-USE"}:      # RFC 5258 3.1
            raise BadSyntax("RECURSIVEMATCH is not said alone")
        cursor.space()
    reference = cursor.name(cursor.astring())
    cursor.space()
    if cursor.next_is(b"("):
        extended = True
        patterns = tuple(cursor.listed(cursor.pattern, cursor.limits.items))
    else:
        patterns = (cursor.pattern(),)
    returns, status_items, entries = _list_returns(cursor)
    extended = extended or returns is not None
    return c.List(reference, patterns, selection, returns or frozenset(), status_items, entries, extended)


def _selection(cursor: Cursor) -> str:
    word = cursor.word()
    if word not in _SELECTION:
        raise BadSyntax("there is no such selection option")
    return word


def _list_returns(cursor: Cursor) -> tuple[frozenset[str] | None, tuple[str, ...], tuple[str, ...]]:
    if not cursor.text[cursor.at:].strip(b" "):
        return None, (), ()
    cursor.space()
    if cursor.word() != "RETURN":
        raise BadSyntax("RETURN or nothing is expected here")
    cursor.space()
    status_items: list[str] = []
    entries: list[str] = []

    def option() -> str:
        word = cursor.word()
        if word == "STATUS" and cursor.options.extension("LIST-STATUS"):
            cursor.space()
            status_items.extend(read_status_items(cursor))
        elif word == "METADATA" and cursor.options.extension("LIST-METADATA"):
            cursor.space()
            entries.extend(cursor.listed(lambda: read_entry(cursor), cursor.limits.items))
        elif word not in _RETURNS or not (cursor.options.extension(_RETURNS[word]) or word == "CHILDREN"):
            raise BadSyntax("there is no such return option")
        return word
    found = cursor.listed(option, 16, empty=True)
    cursor.end()
    return frozenset(_RETURNS.keys() & found), tuple(dict.fromkeys(status_items)), tuple(dict.fromkeys(entries))


def lsub(cursor: Cursor) -> c.Lsub:
    """`reference pattern`."""
    reference = cursor.name(cursor.astring())
    cursor.space()
    pattern = cursor.pattern()
    cursor.end()
    return c.Lsub(reference, pattern)
