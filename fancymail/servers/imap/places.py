"""From the name that a client says to the mailbox that it means: one's own, or one of somebody who gave rights to it.

Used by the handlers beside this file. A mailbox of somebody else is `Other Users/OWNER/NAME`. Whoever may not even look up a mailbox is told what one
is told of a mailbox that does not exist (RFC 4314 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fancymail.mail.mailbox import DELIMITER
from fancymail.servers.imap.refusals import Refusal
from fancymail.storage.ports.mailboxes import Mailbox, effective_rights

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession

OTHERS = "Other Users"
ALL = "lrswipkxtea"             # RFC 4314 2.1


class Place(NamedTuple):
    """A mailbox, whose it is, and what the session may do there."""

    owner: str
    mailbox: Mailbox
    rights: str

    def allows(self, rights: str) -> bool:
        """Whether any of these rights is there."""
        return self.rights is ALL or any([right in self.rights for right in rights])

    def need(self, *rights: str) -> None:
        """Raise Refusal unless all of these rights are there."""
        if self.rights is not ALL and (missing := [right for right in rights if right not in self.rights]):
            raise Refusal(f"this needs the right{'s' * (len(missing) > 1)} {' '.join(sorted(missing))}", b"NOPERM")


def split(account: str, name: str) -> tuple[str, str]:
    """Whose mailbox a name means, and what it is called there; the name is empty for the folder above all of somebody's."""
    if name != OTHERS and not name.startswith(OTHERS + DELIMITER):
        return account, name
    owner, _, inner = name[len(OTHERS) + 1:].partition(DELIMITER)
    return owner, inner


def shown(account: str, owner: str, name: str) -> str:
    """What a session of `account` calls a mailbox of `owner`."""
    return name if owner == account else DELIMITER.join((OTHERS, owner, name))


async def look(session: ImapSession, name: str) -> Place | None:
    """Return a mailbox with all that the session may do there, or None where it may not know of it."""
    owner, inner = split(session.account, name)
    mailbox = await session.reader.mailbox(owner, inner) if owner and inner else None
    if mailbox is None:
        return None
    if owner == session.account:
        return Place(owner, mailbox, ALL)
    rights = effective_rights(await session.reader.acl(owner, mailbox.id), session.account)
    return Place(owner, mailbox, rights) if rights else None


async def find(session: ImapSession, name: str) -> Place:
    """Return a mailbox. Raises Refusal."""
    place = await look(session, name)
    if place is None:
        raise Refusal("there is no such mailbox", b"NONEXISTENT")
    return place


async def target(session: ImapSession, name: str) -> Place:
    """Return a mailbox into which messages go. Raises Refusal, TRYCREATE where it could be made (RFC 9051 7.1)."""
    place = await look(session, name)
    if place is None:
        raise Refusal("there is no such mailbox", b"TRYCREATE" if split(session.account, name)[0] == session.account else b"NONEXISTENT")
    place.need("i")
    return place
