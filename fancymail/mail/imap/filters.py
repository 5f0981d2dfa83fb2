"""Which mailboxes a command of RFC 5465 or RFC 7377 speaks of, and what NOTIFY wants to hear of them.

Parsed by protocol/imap, answered by core/imap. Names are decoded and normal.
"""

from __future__ import annotations

from dataclasses import dataclass

from .fetch import Items


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """kind: "selected", "selected-delayed", "inboxes", "personal", "subscribed", "subtree", "subtree-one" or "mailboxes"; names for
    the last three."""

    kind: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventGroup:
    """events: "messagenew", "messageexpunge", "flagchange", "mailboxname", "subscriptionchange", "mailboxmetadatachange",
    "servermetadatachange"; () is NONE."""

    mailboxes: Mailboxes
    events: tuple[str, ...] = ()
    fetch: Items = ()                   # what MessageNew shows of each message in the selected mailbox
