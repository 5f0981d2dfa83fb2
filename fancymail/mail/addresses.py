"""Address lists of header fields: From, To, Cc, Reply-To (RFC 5322 3.4, with the obsolete forms of 4.4).

Called for checks of From, ENVELOPE and search keys. One pass over tokens, no recursion: comments count their depth, groups
and routes are states. An element that is no address is given as such, never as some part of it that happens to be one
("alice@example.org)bob@example.com" is neither). Stops after `limit` mailboxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .address import Address, AddressError, parse_mailbox, quote
from .charset import guess
from .words import decode_words

LIMIT = 10_000                       # mailboxes of one field
SIZE_LIMIT = 1_048_576               # octets of a field that are looked at

_TOKEN = re.compile(r'''[ \t\r\n]*+(?:
    (?P<word> =\?[!->@-~]{1,40}\?[BbQq]\?[^?\s<>"]*+\?= )
  | (?P<quoted> "(?:[^"\\]|\\.)*+"? )
  | (?P<literal> \[[^\[\]\\]*+\] )
  | (?P<atom> [^\s"(),.:;<>@\[\]\\]++ )
  | (?P<special> . ) )''', re.VERBOSE | re.DOTALL)
_PARENTHESIS = re.compile(r"[()\\]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One element of an address list. `local` and `domain` are "" where the element is no address."""

    name: str                        # the display name, unquoted, encoded words as they stand
    local: str                       # unquoted
    domain: str                      # as it stands
    group: str = ""                  # the group that it is in

    @property
    def display(self) -> str:
        """The display name with encoded words decoded."""
        return decode_words(self.name)

    @property
    def address(self) -> Address | None:
        """The address, None if it is none that mail can go to."""
        if not self.domain:
            return None
        try:
            return parse_mailbox(f"{quote(self.local)}@{self.domain}")
        except AddressError:
            return None


@dataclass(frozen=True, slots=True)
class Group:
    """The beginning or the end of a group, where the order matters (ENVELOPE)."""

    name: str
    begins: bool


Token = tuple[str, str]              # kind ("word", "quoted", "literal", or the special character), text


def addresses(value: bytes | str, limit: int = LIMIT) -> list[Mailbox]:
    """Return the mailboxes of a field's value, those of groups too. A list of `limit` elements may be cut."""
    return [entry for entry in entries(value, limit) if isinstance(entry, Mailbox)]


def entries(value: bytes | str, limit: int = LIMIT) -> Iterator[Mailbox | Group]:
    """Yield mailboxes and the marks of groups around them, in order; stop after `limit` of both."""
    text = guess(value[:SIZE_LIMIT]) if isinstance(value, bytes) else value[:SIZE_LIMIT]
    element = _Element()
    group, in_group, count = "", False, 0
    for kind, token in _tokens(text, limit):
        if kind in ",;" and not element.holds(kind):
            if mailbox := element.take(group):
                count += 1
                yield mailbox
            if kind == ";" and in_group:
                yield Group(group, False)
                group, in_group = "", False
        elif kind == ":" and not in_group and element.opens_group():
            group, in_group = element.phrase(), True
            element.clear()
            count += 1
            yield Group(group, True)
        else:
            element.add(kind, token)
        if count >= limit:
            return
    if mailbox := element.take(group):
        yield mailbox
    if in_group:
        yield Group(group, False)


def _tokens(text: str, limit: int) -> Iterator[Token]:
    """Cut the text into tokens; a comment is one, however deep it nests."""
    position, end = 0, len(text)
    budget = 64 * limit + 1024                            # tokens, so that a field of dots ends too
    while position < end and budget > 0:
        budget -= 1
        match = _TOKEN.match(text, position)
        if match is None:                                 # only white space is left
            return
        position, kind = match.end(), match.lastgroup
        token = match[kind]
        if token == "(":
            start, position = position, _comment_end(text, position)
            yield "comment", text[start:position - 1]
        elif kind == "quoted":
            closed = len(token) > 1 and token.endswith('"')
            yield "quoted", _ESCAPED.sub(r"\1", token[1:-1] if closed else token[1:])
        else:
            yield (token, token) if kind == "special" else ("word" if kind == "atom" else kind, token)


def _comment_end(text: str, position: int) -> int:
    """The offset behind the comment that was opened before `position`; an unclosed one goes to the end."""
    depth = 1
    while match := _PARENTHESIS.search(text, position):
        position = match.end()
        if match[0] == "\\":
            position += 1
            continue
        depth += 1 if match[0] == "(" else -1
        if not depth:
            return position
    return len(text) + 1


class _Element:
    """What stands between two commas, as it is read."""

    __slots__ = ("outer", "inner", "angle", "broken", "comment", "at")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin the next one."""
        self.outer: list[Token] = []
        self.inner: list[Token] = []
        self.angle = ""                                   # "", "open" or "closed"
        self.broken = False
        self.comment = ""
        self.at = False                                   # an "@" stands outside the brackets

    def holds(self, kind: str) -> bool:
        """Is this comma inside a route (RFC 5322 4.4 obs-route)?"""
        return kind == "," and self.angle == "open" and bool(self.inner) and self.inner[0][0] in "@,"

    def opens_group(self) -> bool:
        """Is what was read so far the name of a group?"""
        return bool(self.outer) and not self.angle and not self.at

    def add(self, kind: str, token: str) -> None:
        """Take one more token."""
        if kind == "comment":
            self.comment = token[:256]
        elif kind == "<":
            self.broken |= self.angle != ""
            self.angle = "open"
        elif kind == ">":
            self.broken |= self.angle != "open"
            self.angle = "closed"
        elif self.angle == "open":
            self.inner.append((kind, token))
        elif self.angle == "closed":
            self.broken = True
        else:
            self.at |= kind == "@"
            self.outer.append((kind, token))

    def phrase(self) -> str:
        """The tokens outside the brackets as a display name."""
        return "".join(token if kind == "." else f" {token}" for kind, token in self.outer).strip()

    def take(self, group: str) -> Mailbox | None:
        """Make the mailbox of what was read, None of nothing, and begin anew."""
        if not (self.outer or self.inner or self.angle):
            self.comment = ""
            return None
        parts = None if self.broken else self._spec()
        if parts is None:
            mailbox = Mailbox(self._text(), "", "", group)
        else:
            name = self.phrase() if self.angle else ""
            mailbox = Mailbox(name or self.comment.strip(), *parts, group)
        self.clear()
        return mailbox

    def _text(self) -> str:
        inner = "".join(token for _, token in self.inner)
        return f"{self.phrase()} {inner}".strip()

    def _spec(self) -> tuple[str, str] | None:
        """The addr-spec as (local, domain); None if there is none."""
        tokens = self.inner if self.angle else self.outer
        if self.angle and tokens and tokens[0][0] in "@,":        # obs-route: dropped, never followed
            colons = [index for index, (kind, _) in enumerate(tokens) if kind == ":"]
            tokens = tokens[colons[-1] + 1:] if colons else []
        at = [index for index, (kind, _) in enumerate(tokens) if kind == "@"]
        if not at:
            local = _dotted(tokens, ("word", "quoted"))
            return None if local is None else (local, "")
        if len(at) > 1:
            return None
        local, rest = _dotted(tokens[:at[0]], ("word", "quoted")), tokens[at[0] + 1:]
        domain = rest[0][1] if len(rest) == 1 and rest[0][0] == "literal" else _dotted(rest, ("word",))
        return None if local is None or not domain else (local, domain)


def _dotted(tokens: list[Token], kinds: tuple[str, ...]) -> str | None:
    """Join words with dots between them; None if they stand otherwise."""
    if len(tokens) % 2 == 0:
        return None
    for index, (kind, _) in enumerate(tokens):
        if (kind != ".") if index % 2 else (kind not in kinds):
            return None
    return "".join(token for _, token in tokens)
