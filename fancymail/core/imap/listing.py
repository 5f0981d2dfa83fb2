"""LIST and LSUB: which names match a pattern, and what is said of each (RFC 9051 6.3.9, RFC 3501 6.3.9, RFC 5258, 6154).

Called by servers/imap with all names that a session may see. A pattern is matched by sets of places in it, all at once: linear in the name, however
many wildcards there are. Levels without a mailbox of their own are shown where they match. It reads nothing and renders nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from fancymail.mail.mailbox import DELIMITER, INBOX

_RUNS = re.compile(r"[*%]{2,}")


class Listed(NamedTuple):
    """One line of an answer. `childinfo`: selection options that something below meets, for RECURSIVEMATCH (RFC 5258 3.5)."""

    name: str
    attributes: tuple[str, ...]
    childinfo: tuple[str, ...] = ()
    exists: bool = True             # STATUS, MYRIGHTS and METADATA make sense of it


def listing(mailboxes: Mapping[str, str], subscribed: Collection[str], reference: str, patterns: Sequence[str], *,
            selection: Collection[str] = (), returns: Collection[str] = (), extended: bool = False) -> list[Listed]:
    """What LIST says. mailboxes: name -> special use, of all that the session may look up; the rest as in the command."""
    if not extended and list(patterns) == [""]:
        return [Listed("", ("\\Noselect",), (), False)]                 # RFC 9051 6.3.9.2: the delimiter is asked for
    matches = _any([reference + pattern for pattern in patterns])
    criteria = [option for option in ("SUBSCRIBED", "SPECIAL-USE") if option in selection]
    meeting = {"SUBSCRIBED": set(subscribed), "SPECIAL-USE": {name for name, use in mailboxes.items() if use}}
    names = {*mailboxes, *(subscribed if "SUBSCRIBED" in criteria else ())}
    above = _above(names)
    parents = _above(mailboxes)
    below = {option: _above(meeting[option]) for option in criteria} if "RECURSIVEMATCH" in selection else {}
    found = []
    for name in sorted(filter(matches, {*names, *above}), key=_order):
        childinfo = tuple([option for option in below if name in below[option]]) if below else ()
        if not criteria or all([name in meeting[option] for option in criteria]) or childinfo:
            attributes = _attributes(name, mailboxes, parents, extended)
            if name in subscribed and ("SUBSCRIBED" in returns or "SUBSCRIBED" in selection):
                attributes += ("\\Subscribed",)
            found.append(Listed(name, attributes, childinfo, name in mailboxes))
    return found


def lsub(mailboxes: Mapping[str, str], subscribed: Collection[str], reference: str, pattern: str) -> list[Listed]:
    """What LSUB says: with a % at the end also levels above a name that does not match itself, as \\Noselect (RFC 3501 6.3.9)."""
    if not pattern:
        return [Listed("", ("\\Noselect",), (), False)]
    matches, parents = _any([reference + pattern]), _above(mailboxes)
    found = {name: Listed(name, _attributes(name, mailboxes, parents, False), (), name in mailboxes) for name in subscribed if matches(name)}
    if pattern.endswith("%"):
        for name in _above(subscribed):
            if name not in found and matches(name):
                found[name] = Listed(name, ("\\Noselect", "\\HasChildren"), (), False)
    return sorted(found.values(), key=lambda listed: _order(listed.name))


def _attributes(name: str, mailboxes: Mapping[str, str], parents: Collection[str], extended: bool) -> tuple[str, ...]:
    """Children are always told, special uses too: macOS looks for them in a plain LIST."""
    children = "\\HasChildren" if name in parents else "\\HasNoChildren"
    if name not in mailboxes:
        return ("\\NonExistent" if extended else "\\Noselect", children)
    return (children, mailboxes[name]) if mailboxes[name] else (children,)


def _above(names: Iterable[str]) -> set[str]:
    """All levels above names."""
    levels: set[str] = set()
    for name in names:
        while DELIMITER in name:
            name = name.rpartition(DELIMITER)[0]
            if name in levels:
                break
            levels.add(name)
    return levels


def _order(name: str) -> tuple[bool, list[str]]:
    """INBOX first, then level by level."""
    levels = name.split(DELIMITER)
    return levels[0] != INBOX, levels


def _any(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A name that any of the patterns matches."""
    matchers = [matcher(pattern) for pattern in patterns]
    return matchers[0] if len(matchers) == 1 else lambda name: any([matches(name) for matches in matchers])


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a name matches: * is anything, % anything within a level; INBOX has no case."""
    pattern = _RUNS.sub(lambda run: "*" if "*" in run[0] else "%", pattern)
    first, slash, rest = pattern.partition(DELIMITER)
    plain, inbox = _matcher(pattern), _matcher(first.upper() + slash + rest)

    def matches(name: str) -> bool:
        return inbox(name) if name.startswith(INBOX) and (name == INBOX or name[len(INBOX)] == DELIMITER) else plain(name)
    return matches


def _matcher(pattern: str) -> Callable[[str], bool]:
    start = pattern[:-1]
    if pattern.endswith("*") and not _wild(start):
        return lambda name: name.startswith(start)
    if pattern.endswith("%") and not _wild(start):
        return lambda name: name.startswith(start) and DELIMITER not in name[len(start):]
    if not _wild(pattern):
        return lambda name: name == pattern
    return _Places(pattern).match


def _wild(pattern: str) -> bool:
    return "*" in pattern or "%" in pattern


class _Places:
    """A pattern as numbers whose bit i says something of its place i; a set of places is a number too."""

    def __init__(self, pattern: str) -> None:
        self.literals: dict[str, int] = {}
        self.star = self.level = 0
        for place, char in enumerate(pattern):
            if char == "*":
                self.star |= 1 << place
            elif char == "%":
                self.level |= 1 << place
            else:
                self.literals[char] = self.literals.get(char, 0) | 1 << place
        self.wild, self.end = self.star | self.level, 1 << len(pattern)

    def match(self, name: str) -> bool:
        """Go through a name with all the places at which the pattern may be."""
        places = 1 | (1 & self.wild) << 1
        for char in name:
            stay = places & (self.star if char == DELIMITER else self.wild)
            places = stay | (places & self.literals.get(char, 0)) << 1
            places |= (places & self.wild) << 1         # a wildcard may stand for nothing
            if not places:
                return False
        return bool(places & self.end)
