"""NOTIFY's event groups and ESEARCH's sources, read from a cursor (RFC 5465 5 and 8, RFC 7377 2.2).

Called by messages.py and mailboxes.py. What cannot be watched is refused with BADEVENT and the list of what can.
"""

from __future__ import annotations

from fancymail.mail.imap.filters import EventGroup, Mailboxes

from . import commands as c
from .cursor import BadSyntax, Cursor, Refused
from .fetch import read_items

WATCHING = ("selected", "selected-delayed", "inboxes", "personal", "subscribed", "subtree", "mailboxes")
SEARCHING = ("selected", "inboxes", "personal", "subscribed", "subtree", "subtree-one", "mailboxes")
_NAMED = ("subtree", "subtree-one", "mailboxes")
_MESSAGES = frozenset(("messagenew", "messageexpunge", "flagchange"))
_SPELLED = {name.lower(): name for name in (
    "MessageNew", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange", "MailboxMetadataChange", "ServerMetadataChange")}
_NEEDS = {"mailboxmetadatachange": "METADATA", "servermetadatachange": "METADATA-SERVER"}
_KNOWN_BUT_NOT_HERE = "annotationchange"        # RFC 5257


def read_filter(cursor: Cursor, kinds: tuple[str, ...]) -> Mailboxes:
    """`personal`, `subtree Work`, `mailboxes (a b)` ..."""
    kind = cursor.word().lower()
    if kind not in kinds:
        raise BadSyntax("there is no such kind of mailboxes")
    if kind not in _NAMED:
        return Mailboxes(kind)
    cursor.space()
    if not cursor.next_is(b"("):
        return Mailboxes(kind, (cursor.mailbox(),))
    return Mailboxes(kind, tuple(dict.fromkeys(cursor.listed(cursor.mailbox, cursor.limits.items))))


def read_sources(cursor: Cursor) -> tuple[Mailboxes, ...]:
    """ESEARCH's `IN (...)` and the space behind it; () when it is not there."""
    if cursor.text[cursor.at:cursor.at + 3].upper() != b"IN ":
        return ()
    cursor.at += 3
    sources = tuple(cursor.listed(lambda: read_filter(cursor, SEARCHING), cursor.limits.items))
    cursor.space()
    return sources


def notify(cursor: Cursor) -> c.Notify:
    """`NONE` or `SET [STATUS] (group) (group)`."""
    word = cursor.word()
    if word == "NONE":
        cursor.end()
        return c.Notify()
    if word != "SET":
        raise BadSyntax("SET or NONE is missing")
    cursor.space()
    status = cursor.text[cursor.at:cursor.at + 7].upper() == b"STATUS "
    cursor.at += 7 if status else 0
    groups = [_group(cursor)]
    while cursor.text[cursor.at:].strip(b" "):
        cursor.space()
        groups.append(_group(cursor))
        if len(groups) > cursor.limits.items:
            raise Refused("too many groups", b"NOTIFICATIONOVERFLOW")
    selected = [group for group in groups if group.mailboxes.kind.startswith("selected")]
    if len(selected) > 1:                       # RFC 5465 6.1 and 6.2: one of the two, once
        raise BadSyntax("selected stands twice")
    return c.Notify(tuple(groups), status)


def _group(cursor: Cursor) -> EventGroup:
    cursor.expect(b"(")
    mailboxes = read_filter(cursor, WATCHING)
    cursor.space()
    fetch: list = []
    if cursor.next_is(b"("):
        events = tuple(dict.fromkeys(cursor.listed(lambda: _event(cursor, fetch), 16)))
    elif cursor.word() == "NONE":
        events = ()
    else:
        raise BadSyntax("events are missing")
    cursor.expect(b")")
    return _checked(EventGroup(mailboxes, events, fetch[0] if fetch else ()))


def _event(cursor: Cursor, fetch: list) -> str:
    name = cursor.word().lower()
    if name == _KNOWN_BUT_NOT_HERE or name in _NEEDS and not cursor.options.extension(_NEEDS[name]):
        known = [spelled for event, spelled in _SPELLED.items() if event not in _NEEDS or cursor.options.extension(_NEEDS[event])]
        raise Refused("this cannot be watched", f"BADEVENT ({' '.join(known)})".encode())
    if name not in _SPELLED:
        raise BadSyntax("there is no such event")
    if name == "messagenew" and cursor.next_is(b" ("):      # RFC 5465 5.1: what to show of a new message
        cursor.at += 1
        fetch.append(read_items(cursor))
    return name


def _checked(group: EventGroup) -> EventGroup:
    """RFC 5465 5: which events cannot be without which."""
    events = set(group.events)
    if "messagenew" in events and "messageexpunge" not in events or "messageexpunge" in events and "messagenew" not in events:
        raise BadSyntax("MessageNew and MessageExpunge go together")
    if "flagchange" in events and "messagenew" not in events:
        raise BadSyntax("FlagChange needs MessageNew and MessageExpunge")
    if group.mailboxes.kind.startswith("selected"):
        if events - _MESSAGES:
            raise BadSyntax("the selected mailbox has events of messages only")
    elif group.fetch:
        raise BadSyntax("only the selected mailbox shows new messages")
    return group
