"""Search keys as a tree, what SEARCH gives back, sort criteria (RFC 9051 6.4.4, 5032, 5256, 7162, 8474, 8514, 6203).

Parsed by protocol/imap/search.py, answered by core/imap. Every node is one value; strings are decoded text (the charset is gone).
Depth is bounded by the parser (32), so a plain recursion over a tree is safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from .sequence import SequenceSet


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class And:
    """All of these; there are at least two."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of these two."""

    left: Key
    right: Key


@dataclass(frozen=True, slots=True)
class Not:
    """What does not match."""

    key: Key


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """FUZZY (RFC 6203): the server may match as it sees fit."""

    key: Key


@dataclass(frozen=True, slots=True)
class Flag:
    """SEEN, UNSEEN, KEYWORD x ...: `name` is "\\Seen" or a keyword as the client wrote it (keywords have no case)."""

    name: str
    present: bool = True


@dataclass(frozen=True, slots=True)
class Recent:
    """RECENT and OLD; NEW comes as And((Recent(), Flag("\\Seen", False)))."""

    present: bool = True


@dataclass(frozen=True, slots=True)
class Numbers:
    """A sequence set; `uid`: its numbers are UIDs."""

    sequence: SequenceSet
    uid: bool = False


@dataclass(frozen=True, slots=True)
class Dated:
    """kind: "internal", "sent" or "saved"; relation: "before", "on" or "since"; time of day and zone are disregarded."""

    kind: str
    relation: str
    day: date


@dataclass(frozen=True, slots=True)
class Within:
    """OLDER and YOUNGER (RFC 5032): internal date against now."""

    relation: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Size:
    """LARGER and SMALLER: relation "larger" or "smaller"."""

    relation: str
    octets: int


@dataclass(frozen=True, slots=True)
class Header:
    """HEADER name text: a substring of the field, "" for any. `name` is in lower case."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A substring. where: "from", "to", "cc", "bcc", "subject", "body" or "text" (header and body)."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Modseq:
    """MODSEQ n (RFC 7162 3.1.5): changed in or after n. `entry`: the metadata item that was named, or ""; it may be disregarded."""

    modseq: int
    entry: str = ""


@dataclass(frozen=True, slots=True)
class ObjectId:
    """EMAILID and THREADID (RFC 8474 5.4): kind "email" or "thread"."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class SaveDateSupported:
    """SAVEDATESUPPORTED (RFC 8514 4.1): the mailbox knows when messages came into it."""


Key = (All | And | Or | Not | Fuzzy | Flag | Recent | Numbers | Dated | Within | Size | Header | Text | Modseq | ObjectId
       | SaveDateSupported)


@dataclass(frozen=True, slots=True)
class Return:
    """RETURN (...) of SEARCH, SORT and ESEARCH (RFC 9051 6.4.4, 5267, 9394). `RETURN ()` comes as ALL.

    partial: (first, last) as the client wrote it, negative from the end; None when not asked."""

    options: frozenset[str] = frozenset(("ALL",))       # MIN MAX ALL COUNT SAVE UPDATE CONTEXT RELEVANCY
    partial: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Criterion:
    """One of a SORT: name is ARRIVAL CC DATE FROM SIZE SUBJECT TO DISPLAYFROM DISPLAYTO or RELEVANCY (RFC 5256, 5957, 6203)."""

    name: str
    reverse: bool = False
