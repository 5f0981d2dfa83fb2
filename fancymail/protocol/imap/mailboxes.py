"""Commands about mailboxes and the session, read from a cursor: SELECT, LIST, STATUS, METADATA, ACL, QUOTA ... (RFC 9051 6.3).

Called through the table of grammar.py with the place behind the command's name. Each returns a value of commands.py; BadSyntax and
Refused are the only ways out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fancymail.mail.mailbox import SPECIAL_USES

from . import commands as c
from .cursor import LARGEST_32, LARGEST_63, BadSyntax, Cursor, Refused

LONGEST_USER = 320
_STATUS = {"MESSAGES": "", "UIDNEXT": "", "UIDVALIDITY": "", "UNSEEN": "", "RECENT": "", "DELETED": "", "SIZE": "STATUS=SIZE",
           "HIGHESTMODSEQ": "CONDSTORE", "MAILBOXID": "OBJECTID", "APPENDLIMIT": "", "DELETED-STORAGE": "QUOTA=RES-STORAGE"}
_SELECTION = frozenset(("SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"))
_RETURNS = {"SUBSCRIBED": "LIST-EXTENDED", "CHILDREN": "LIST-EXTENDED", "SPECIAL-USE": "SPECIAL-USE", "MYRIGHTS": "LIST-MYRIGHTS"}
_USES = {use.lower(): use for use in SPECIAL_USES}
_ENTRY = re.compile(r"/(?:private|shared)(?:/[^/\x00-\x19*%\x7f-\U0010ffff]+)+")
_RIGHTS = re.compile(r"[0-9a-z]*")
_KNOWN_RIGHTS = frozenset("lrswipkxtecda")
_RESOURCES = frozenset(("STORAGE", "MESSAGE", "MAILBOX", "ANNOTATION-STORAGE"))
_ENABLE = {"CONDSTORE": "CONDSTORE", "QRESYNC": "QRESYNC", "UTF8=ACCEPT": "UTF8=ACCEPT", "UIDONLY": "UIDONLY"}


def nothing(make: Callable[[], object]) -> Callable[[Cursor], object]:
    """A reader of a command that has no arguments."""
    def read(cursor: Cursor) -> object:
        cursor.end()
        return make()
    return read


def one_mailbox(make: Callable[[str], object], new: bool = False) -> Callable[[Cursor], object]:
    """A reader of a command whose one argument is a mailbox."""
    def read(cursor: Cursor) -> object:
        mailbox = cursor.mailbox(new)
        cursor.end()
        return make(mailbox)
    return read


def rest_of_list(cursor: Cursor, read: Callable[[], None], most: int = 8) -> None:
    """Read ` (...)` to the end of the command, if it is there."""
    if cursor.text[cursor.at:].strip(b" "):
        cursor.space()
        cursor.listed(read, most, empty=True)
        cursor.end()


# -- the session -----------------------------------------------------------------------------------------------------

def login(cursor: Cursor) -> c.Login:
    """`user password`."""
    user = cursor.astring()
    cursor.space()
    password = cursor.astring()
    cursor.end()
    name = cursor.text_of(user)
    if not name.isprintable() or not 0 < len(name) <= LONGEST_USER:
        raise Refused("this cannot be a user name", b"AUTHENTICATIONFAILED")
    return c.Login(name, password)


def id_(cursor: Cursor) -> c.Id:
    """`NIL` or `("name" "x" ...)` (RFC 2971 3.3)."""
    if cursor.text[cursor.at:cursor.at + 3].upper() == b"NIL":
        cursor.at += 3
        cursor.end()
        return c.Id(None)
    fields: dict[str, str | None] = {}

    def pair() -> None:
        key = cursor.text_of(cursor.string()).lower()
        cursor.space()
        value = cursor.nstring()
        if len(key) > 30 or value is not None and len(value) > 1024 or key in fields:
            raise BadSyntax("a field of ID is too long or stands twice")
        fields[key] = None if value is None else value.decode("utf-8", "replace")
    cursor.listed(pair, 30, empty=True)
    cursor.end()
    return c.Id(fields)


def enable(cursor: Cursor) -> c.Enable:
    """The words that are known here and not enabled yet; others are passed over (RFC 5161 3.1)."""
    names = [cursor.atom().decode().upper()]
    while cursor.text[cursor.at:].strip(b" "):
        cursor.space()
        names.append(cursor.atom().decode().upper())
    options = cursor.options
    known = [name for name in dict.fromkeys(names) if name in _ENABLE and options.extension(_ENABLE[name])
             or name == "IMAP4REV2" and options.revision_2]
    return c.Enable(tuple(name for name in known if name not in cursor.enabled))


def compress(cursor: Cursor) -> c.Compress:
    """`DEFLATE`."""
    algorithm = cursor.word()
    cursor.end()
    if algorithm != "DEFLATE":
        raise BadSyntax("only DEFLATE is known")
    return c.Compress()


# -- mailboxes -------------------------------------------------------------------------------------------------------

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


def _without_star(cursor: Cursor):
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


# -- quota, metadata, rights -----------------------------------------------------------------------------------------

def get_quota(cursor: Cursor) -> c.GetQuota:
    """`root`."""
    root = cursor.text_of(cursor.astring())
    cursor.end()
    return c.GetQuota(root)


def set_quota(cursor: Cursor) -> c.SetQuota:
    """`root (STORAGE 512)`."""
    root = cursor.text_of(cursor.astring())
    cursor.space()

    def pair() -> tuple[str, int]:
        name = cursor.word()
        if name not in _RESOURCES:
            raise Refused("this resource has no quota here")
        cursor.space()
        return name, cursor.number(LARGEST_63)
    limits = tuple(cursor.listed(pair, 8, empty=True))
    cursor.end()
    return c.SetQuota(root, limits)


def read_entry(cursor: Cursor) -> str:
    """The name of a metadata entry, lower case (RFC 5464 3.1)."""
    name = cursor.text_of(cursor.astring()).lower()
    if not _ENTRY.fullmatch(name) or len(name) > 1000:
        raise BadSyntax("an entry is /private/... or /shared/...")
    return name


def get_metadata(cursor: Cursor) -> c.GetMetadata:
    """`[(options)] mailbox entries`; the options may also stand behind the mailbox, as in the RFC's own examples."""
    options: dict[str, int] = {}
    if cursor.next_is(b"("):
        cursor.listed(lambda: _metadata_option(cursor, options), 4)
        cursor.space()
    mailbox = cursor.mailbox_or_server()
    cursor.space()
    if not options and cursor.text[cursor.at:cursor.at + 6].upper() in (b"(MAXSI", b"(DEPTH"):
        cursor.listed(lambda: _metadata_option(cursor, options), 4)
        cursor.space()
    if cursor.next_is(b"("):
        entries = tuple(dict.fromkeys(cursor.listed(lambda: read_entry(cursor), cursor.limits.items)))
    else:
        entries = (read_entry(cursor),)
    cursor.end()
    return c.GetMetadata(mailbox, entries, options.get("MAXSIZE"), options.get("DEPTH", 0))


def _metadata_option(cursor: Cursor, options: dict[str, int]) -> None:
    word = cursor.word()
    cursor.space()
    if word == "MAXSIZE":
        options[word] = cursor.number(LARGEST_32)
    elif word == "DEPTH":
        depth = cursor.astring().lower()
        if depth not in (b"0", b"1", b"infinity"):
            raise BadSyntax("the depth is 0, 1 or infinity")
        options[word] = -1 if depth == b"infinity" else int(depth)
    else:
        raise BadSyntax("there is no such option")


def set_metadata(cursor: Cursor) -> c.SetMetadata:
    """`mailbox (entry value ...)`."""
    mailbox = cursor.mailbox_or_server()
    cursor.space()

    def pair() -> tuple[str, bytes | None]:
        entry = read_entry(cursor)
        cursor.space()
        return entry, cursor.binary_nstring()
    entries = tuple(dict(cursor.listed(pair, cursor.limits.items)).items())
    cursor.end()
    return c.SetMetadata(mailbox, entries)


def set_acl(cursor: Cursor) -> c.SetAcl:
    """`mailbox identifier [+-]rights` (RFC 4314 3.1)."""
    mailbox, identifier = _mailbox_and_identifier(cursor)
    cursor.space()
    rights = cursor.text_of(cursor.astring())
    cursor.end()
    change = rights[:1] if rights[:1] in ("+", "-") else ""
    letters = rights.removeprefix(change)
    if not _RIGHTS.fullmatch(letters) or not set(letters) <= _KNOWN_RIGHTS:
        raise BadSyntax("there is no such right")
    return c.SetAcl(mailbox, identifier, change, letters)


def _mailbox_and_identifier(cursor: Cursor) -> tuple[str, str]:
    mailbox = cursor.mailbox()
    cursor.space()
    identifier = cursor.text_of(cursor.astring())
    if not identifier or not identifier.isprintable() or len(identifier) > LONGEST_USER:
        raise BadSyntax("this is nobody's name")
    return mailbox, identifier


def delete_acl(cursor: Cursor) -> c.DeleteAcl:
    """`mailbox identifier`."""
    mailbox, identifier = _mailbox_and_identifier(cursor)
    cursor.end()
    return c.DeleteAcl(mailbox, identifier)


def list_rights(cursor: Cursor) -> c.ListRights:
    """`mailbox identifier`."""
    mailbox, identifier = _mailbox_and_identifier(cursor)
    cursor.end()
    return c.ListRights(mailbox, identifier)
