"""Every command of IMAP as a value: what the engine hands to its session, parsed, decoded, within limits and right for the state.

Made by protocol/imap, decided by servers/imap. Mailbox names are decoded and normal (mail.mailbox.normal_name), system flags are spelled
as in RFC 9051, keywords as the client wrote them. Every one of these waits for `ok`, `no` or `bad` unless its line says otherwise.
The values inside (sequence sets, fetch items, search keys) are those of mail/imap, which core understands.
"""

from __future__ import annotations

from dataclasses import dataclass

from fancymail.mail.imap.fetch import Items, Section
from fancymail.mail.imap.filters import EventGroup, Mailboxes
from fancymail.mail.imap.search import Criterion, Key, Return
from fancymail.mail.imap.sequence import SequenceSet
from fancymail.mail.imap.strings import quoted

value = dataclass(frozen=True, slots=True)
LONGEST_BADURL = 500
LAST = -1                       # the message of the highest number


# -- any state -------------------------------------------------------------------------------------------------------

@value
class Noop:
    """NOOP, and CHECK (RFC 3501 6.4.1): what happened meanwhile may be told. Only behind a login; before it the engine answers."""

    check: bool = False


@value
class Id:
    """ID (RFC 2971): fields by name, lower case; None for NIL."""

    fields: dict[str, str | None] | None


# -- before a login --------------------------------------------------------------------------------------------------

@value
class Login:
    """LOGIN: answer with logged_in or refused."""

    user: str
    password: bytes

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


@value
class SaslStep:
    """A step of AUTHENTICATE, base64 as on the wire: answer with challenge, logged_in or refused. `response` None: there was none."""

    mechanism: str
    response: bytes | None

    def __repr__(self) -> str:
        return f"SaslStep(mechanism={self.mechanism!r})"


@value
class SaslCancelled:
    """The client gave AUTHENTICATE up; nothing is to be answered."""

    mechanism: str


# -- authenticated ---------------------------------------------------------------------------------------------------

@value
class Enable:
    """ENABLE: these are on now (engine.enabled); answer with responses.enabled(names) and ok."""

    names: tuple[str, ...]


@value
class Qresync:
    """SELECT's QRESYNC (RFC 7162 3.2.5). known: UIDs, None for all. match: (sequence numbers, their UIDs), or None."""

    uidvalidity: int
    modseq: int
    known: SequenceSet | None = None
    match: tuple[SequenceSet, SequenceSet] | None = None


@value
class Select:
    """SELECT and EXAMINE: answer with selected(...) or no(...), behind which no mailbox is selected."""

    mailbox: str
    read_only: bool = False
    condstore: bool = False
    qresync: Qresync | None = None


@value
class Create:
    """CREATE with its USE (RFC 6154 3): "\\Sent" ..."""

    mailbox: str
    special_use: tuple[str, ...] = ()


@value
class Delete:
    """DELETE."""

    mailbox: str


@value
class Rename:
    """RENAME."""

    mailbox: str
    to: str


@value
class Subscribe:
    """SUBSCRIBE and UNSUBSCRIBE."""

    mailbox: str
    subscribed: bool = True


@value
class List:
    """LIST (RFC 9051 6.3.9, 5258, 5819, 6154, 8440, 9590). patterns: decoded, with % and *; "" asks for the delimiter.

    selection: SUBSCRIBED REMOTE RECURSIVEMATCH SPECIAL-USE. returns: SUBSCRIBED CHILDREN SPECIAL-USE MYRIGHTS.
    status: items of STATUS; metadata: entries. extended: the client used the extended form at all."""

    reference: str
    patterns: tuple[str, ...]
    selection: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    extended: bool = False


@value
class Lsub:
    """LSUB (RFC 3501 6.3.9)."""

    reference: str
    pattern: str


@value
class Namespace:
    """NAMESPACE."""


@value
class Status:
    """STATUS. items: MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE RECENT HIGHESTMODSEQ APPENDLIMIT MAILBOXID DELETED-STORAGE."""

    mailbox: str
    items: tuple[str, ...]


@value
class Idle:
    """IDLE: answer with idling() (then say what happens as it happens) or no(...). DONE comes as IdleDone."""


@value
class IdleDone:
    """DONE: say what is left to say, then ok. Without `done` the client said something else: the engine has answered, nothing is to be."""

    done: bool = True


@value
class Compress:
    """COMPRESS DEFLATE (RFC 4978): answer ok, then everything behind the flush of it is deflated; or no(...)."""


@value
class GetQuota:
    """GETQUOTA (RFC 9208 4.1.2)."""

    root: str


@value
class GetQuotaRoot:
    """GETQUOTAROOT."""

    mailbox: str


@value
class SetQuota:
    """SETQUOTA: (resource, limit) pairs."""

    root: str
    limits: tuple[tuple[str, int], ...]


@value
class GetMetadata:
    """GETMETADATA (RFC 5464 4.2). mailbox "" is the server. entries: lower case. depth: 0, 1 or -1 for infinity."""

    mailbox: str
    entries: tuple[str, ...]
    max_size: int | None = None
    depth: int = 0


@value
class SetMetadata:
    """SETMETADATA (RFC 5464 4.3): (entry, value) pairs; None removes."""

    mailbox: str
    entries: tuple[tuple[str, bytes | None], ...]


@value
class SetAcl:
    """SETACL (RFC 4314 3.1). change: "" sets, "+" adds, "-" takes away."""

    mailbox: str
    identifier: str
    change: str
    rights: str


@value
class DeleteAcl:
    """DELETEACL."""

    mailbox: str
    identifier: str


@value
class GetAcl:
    """GETACL."""

    mailbox: str


@value
class ListRights:
    """LISTRIGHTS."""

    mailbox: str
    identifier: str


@value
class MyRights:
    """MYRIGHTS."""

    mailbox: str


@value
class Notify:
    """NOTIFY (RFC 5465): groups () is NONE; status: send STATUS of all that is named at once."""

    groups: tuple[EventGroup, ...] = ()
    status: bool = False


# -- appending: a command that comes in pieces -----------------------------------------------------------------------

@value
class AppendMessage:
    """One message of APPEND, REPLACE or their kin begins: answer with go_ahead() or no(...) (then nothing more comes of it).

    number: 0 for the first of the command. size: octets that come, 0 for what CATENATE puts together. binary: a literal8, which may
    hold NUL. utf8: UTF8 (...) of RFC 6855. internaldate: seconds since the epoch, None for now; offset: minutes east of Greenwich.
    replaces: of REPLACE (RFC 8508), with `uid`; LAST for `*`."""

    mailbox: str
    number: int
    size: int
    flags: tuple[str, ...] = ()
    internaldate: int | None = None
    binary: bool = False
    utf8: bool = False
    catenate: bool = False
    replaces: int = 0
    uid: bool = False


@value
class AppendData:
    """Octets of the message that was begun; nothing is answered."""

    data: bytes


@value
class MessageUrl:
    """What a URL names (RFC 5092). mailbox: "" is the selected one. uidvalidity: 0 when it was not said. user and host: of
    `imap://user@host/`, "" when they were not said."""

    mailbox: str
    uid: int
    uidvalidity: int
    section: Section
    user: str = ""
    host: str = ""


@value
class AppendUrl:
    """A part of CATENATE that is a message's part (RFC 4469): append it and answer go_ahead(), or no(..., event.badurl)."""

    url: str
    message: MessageUrl

    @property
    def badurl(self) -> bytes:
        """The code for when there is no such message (RFC 4469 5)."""
        return badurl(self.url)


@value
class AppendText:
    """A TEXT of CATENATE of this size follows as AppendData: answer go_ahead() or no(...)."""

    size: int


@value
class AppendEnd:
    """All messages of the command are whole: keep all of them or none, and answer ok or no."""

    mailbox: str
    messages: int


@value
class AppendFailed:
    """The command broke off behind AppendMessage, and the engine has answered: forget what came; nothing is to be answered."""


# -- selected --------------------------------------------------------------------------------------------------------

@value
class Close:
    """CLOSE (expunge first, silently) and UNSELECT (`expunge` is False): answer with deselected()."""

    expunge: bool


@value
class Expunge:
    """EXPUNGE, or UID EXPUNGE of these."""

    uids: SequenceSet | None = None


@value
class Search:
    """SEARCH. returns None: the old response (`* SEARCH`), unless IMAP4rev2 is enabled. charset: as the client named it, or ""."""

    key: Key
    uid: bool = False
    returns: Return | None = None
    charset: str = ""


@value
class MultiSearch:
    """ESEARCH (RFC 7377): sources () is the selected mailbox."""

    sources: tuple[Mailboxes, ...]
    key: Key
    returns: Return = Return()


@value
class Unsaved:
    """A search with RETURN (SAVE) that can be read and not be done: `$` is empty now (RFC 5182 2.1); answer no(text, code)."""

    text: str
    code: bytes


@value
class CancelUpdate:
    """CANCELUPDATE (RFC 5267 4.4): tags of searches."""

    tags: tuple[bytes, ...]


@value
class Sort:
    """SORT (RFC 5256, 5267)."""

    criteria: tuple[Criterion, ...]
    key: Key
    uid: bool = False
    returns: Return | None = None


@value
class Thread:
    """THREAD (RFC 5256): algorithm REFERENCES or ORDEREDSUBJECT."""

    algorithm: str
    key: Key
    uid: bool = False


@value
class Fetch:
    """FETCH. items: none twice, UID among them for UID FETCH, MODSEQ with changed_since. vanished: (RFC 7162 3.2.6).
    partial: (first, last), RFC 9394."""

    sequence: SequenceSet
    items: Items
    uid: bool = False
    changed_since: int | None = None
    vanished: bool = False
    partial: tuple[int, int] | None = None


@value
class Store:
    """STORE. action: "set", "add" or "remove". unchanged_since: RFC 7162 3.1.3."""

    sequence: SequenceSet
    action: str
    flags: tuple[str, ...]
    uid: bool = False
    silent: bool = False
    unchanged_since: int | None = None


@value
class Copy:
    """COPY, or MOVE (`move`)."""

    sequence: SequenceSet
    mailbox: str
    uid: bool = False
    move: bool = False


def badurl(url: str) -> bytes:
    """The response code that names a URL of CATENATE which cannot be read or found."""
    return b"BADURL " + quoted(url.encode("ascii", "replace")[:LONGEST_BADURL])


Command = (Noop | Id | Login | SaslStep | SaslCancelled | Enable | Select | Create | Delete | Rename | Subscribe | List | Lsub | Namespace
           | Status | Idle | IdleDone | Compress | GetQuota | GetQuotaRoot | SetQuota | GetMetadata | SetMetadata | SetAcl | DeleteAcl
           | GetAcl | ListRights | MyRights | Notify | AppendMessage | AppendData | AppendUrl | AppendText | AppendEnd | AppendFailed
           | Close | Expunge | Search | MultiSearch | Unsaved | CancelUpdate | Sort | Thread | Fetch | Store | Copy)
