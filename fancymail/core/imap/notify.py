"""NOTIFY: what a session asked to be told of mailboxes that it has not selected, and what there is to tell (RFC 5465).

Asked by servers/imap, which looks at the mailboxes of an account when an alert came: two looks are compared, so nothing is lost when alerts are. Also
says which mailboxes the sources of an ESEARCH are (RFC 7377). It reads nothing; messages of the selected mailbox are View's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fancymail.core.imap.listing import listing
from fancymail.mail.imap.filters import EventGroup, Mailboxes
from fancymail.mail.mailbox import DELIMITER
from fancymail.storage.ports.mailboxes import Mailbox

MESSAGES = frozenset(("messagenew", "messageexpunge", "flagchange"))
SELECTED = ("selected", "selected-delayed")
SERVER = "server"                   # the key of the server's own metadata


class Known(NamedTuple):
    """What a session could see of mailboxes at one moment."""

    boxes: Mapping[object, tuple[str, Mailbox]]     # by what never changes: the name that the session says, and its counters
    subscribed: frozenset[str]
    shared: frozenset[str] = frozenset()            # names of those that belong to others
    metadata: Mapping[object, Mapping[str, object]] = {}    # of those whose entries are watched, and of SERVER: entry -> what differs with its value


class Changed(NamedTuple):
    """A `* STATUS` to be said."""

    name: str
    mailbox: Mailbox
    items: tuple[str, ...]


class Renamed(NamedTuple):
    """A `* LIST` to be said: of a mailbox that is new, gone (\\NonExistent), called otherwise now, or subscribed otherwise."""

    name: str
    attributes: tuple[str, ...]
    old_name: str = ""


class Annotated(NamedTuple):
    """A `* METADATA` to be said: these entries have another value, or none any more. `name` is "" for the server's own."""

    name: str
    entries: tuple[str, ...]


Notice = Changed | Renamed | Annotated


class Watch:
    """What NOTIFY SET asked for. `selected`: its group for the selected mailbox, None where it has none."""

    def __init__(self, groups: Iterable[EventGroup], condstore: bool = False) -> None:
        groups = tuple(groups)
        self.selected = next((group for group in groups if group.mailboxes.kind in SELECTED), None)
        self.condstore = condstore
        self._groups = [group for group in groups if group.mailboxes.kind not in SELECTED]

    @property
    def at_once(self) -> bool:
        """May news of the selected mailbox be pushed between commands? SELECTED-DELAYED waits with expunges (RFC 5465 6.1)."""
        return self.selected is not None and bool(self.selected.events)

    @property
    def expunges(self) -> bool:
        """May EXPUNGE be pushed too?"""
        return self.at_once and self.selected.mailboxes.kind == "selected" and "messageexpunge" in self.selected.events

    def events(self, name: str, known: Known) -> frozenset[str]:
        """What is wanted of a mailbox: the first group that names it counts (RFC 5465 6)."""
        for group in self._groups:
            if covers(group.mailboxes, name, known):
                return frozenset(group.events)
        return frozenset()

    def first(self, known: Known, selected: object = None) -> list[Changed]:
        """What NOTIFY SET STATUS says at once: every mailbox whose messages are watched, but the selected one."""
        return [Changed(name, box, self._items(frozenset(MESSAGES))) for key, (name, box) in known.boxes.items()
                if key != selected and self.events(name, known) & MESSAGES]

    def annotated(self, known: Known) -> list[object]:
        """Whose metadata is wanted: keys of mailboxes, and SERVER (RFC 5465 5.6 and 5.7)."""
        keys = [key for key, (name, _) in known.boxes.items() if "mailboxmetadatachange" in self.events(name, known)]
        return [*keys, SERVER] if any("servermetadatachange" in group.events for group in self._groups) else keys

    def differences(self, before: Known, after: Known, selected: object = None) -> list[Notice]:
        """What became of mailboxes between two looks, as far as it is wanted: names first, then counters, then metadata."""
        notices: list[Notice] = []
        for key, (name, _) in before.boxes.items():
            if key not in after.boxes and "mailboxname" in self.events(name, before):
                notices.append(Renamed(name, ("\\NonExistent",)))
        for key, (name, _) in after.boxes.items():
            old = before.boxes[key][0] if key in before.boxes else ""
            if old != name and "mailboxname" in self.events(name, after) | (self.events(old, before) if old else frozenset()):
                notices.append(Renamed(name, _attributes(name, after), old))
        for name in sorted(before.subscribed ^ after.subscribed):
            if "subscriptionchange" in self.events(name, after):
                notices.append(Renamed(name, _attributes(name, after)))
        for key, (name, box) in after.boxes.items():
            happened = _happened(before.boxes.get(key, (name, None))[1], box) & self.events(name, after)
            if happened and key != selected:
                notices.append(Changed(name, box, self._items(happened)))
        return notices + _annotations(before, after)

    def _items(self, events: frozenset[str]) -> tuple[str, ...]:
        """RFC 5465 5.1 to 5.3: what the client needs to know what it misses."""
        items = ["MESSAGES", "UIDNEXT", "UIDVALIDITY"] if events & {"messagenew", "messageexpunge"} else ["UIDVALIDITY"]
        if "flagchange" in events or not self.condstore:
            items.append("UNSEEN")
        return (*items, "HIGHESTMODSEQ") if self.condstore else tuple(items)


def _happened(before: Mailbox | None, after: Mailbox) -> frozenset[str]:
    """Which events made the one out of the other."""
    if before is None:
        return frozenset(("messagenew",)) if after.messages else frozenset()
    if before.highestmodseq == after.highestmodseq and before.uidvalidity == after.uidvalidity:
        return frozenset()
    added = after.uidnext - before.uidnext
    gone = before.messages + added - after.messages
    events = {"messagenew"} if added else set()
    if gone or before.uidvalidity != after.uidvalidity:
        events.add("messageexpunge")
    return frozenset(events or {"flagchange"}) | (frozenset({"flagchange"}) if before.unseen + added != after.unseen and not gone else frozenset())


def _annotations(before: Known, after: Known) -> list[Notice]:
    """Entries that differ; of a mailbox that was not there before nothing is news."""
    notices: list[Notice] = []
    for key, entries in after.metadata.items():
        old = before.metadata.get(key, entries)
        changed = sorted(entry for entry in {*entries, *old} if entries.get(entry) != old.get(entry))
        if changed:
            notices.append(Annotated("" if key == SERVER else after.boxes[key][0], tuple(changed)))
    return notices


def _attributes(name: str, known: Known) -> tuple[str, ...]:
    uses = {shown: box.special_use for shown, box in known.boxes.values()}
    found = listing(uses, known.subscribed, "", [name], returns=("SUBSCRIBED",), extended=True)
    if found:
        return found[0].attributes
    return ("\\NonExistent", "\\Subscribed") if name in known.subscribed else ("\\NonExistent",)


def covers(mailboxes: Mailboxes, name: str, known: Known) -> bool:
    """Does a filter of RFC 5465 6 or RFC 7377 2.2 name this mailbox?"""
    if mailboxes.kind in ("personal", "inboxes"):           # RFC 5465 6.2: mail is delivered into folders, too, by tags of addresses
        return name not in known.shared
    if mailboxes.kind == "subscribed":
        return name in known.subscribed
    if mailboxes.kind == "mailboxes":
        return name in mailboxes.names
    for top in mailboxes.names:
        if name == top:
            return True
        if name.startswith(top + DELIMITER) and (mailboxes.kind == "subtree" or DELIMITER not in name[len(top) + 1:]):
            return True
    return False


def sources(filters: Sequence[Mailboxes], known: Known, selected: object = None) -> list[object]:
    """The keys of the mailboxes that an ESEARCH looks into, each once, by name; without a filter the selected one."""
    wanted = []
    for key, (name, _) in sorted(known.boxes.items(), key=lambda item: item[1][0]):
        inside = [key == selected if each.kind in SELECTED else covers(each, name, known) for each in filters]
        if any(inside) or not filters and key == selected:
            wanted.append(key)
    return wanted
