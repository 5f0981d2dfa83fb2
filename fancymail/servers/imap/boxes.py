"""Commands about mailboxes as wholes: CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, NAMESPACE.

Part of servers/imap/session.py. Each change is one verb of fm-mailbox; counters come from the store, so STATUS costs the same whatever the size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fancymail.mail.mailbox import DELIMITER, INBOX, parent
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r
from fancymail.servers.imap.places import OTHERS, find, look, shown, split
from fancymail.servers.imap.refusals import Refusal

if TYPE_CHECKING:
    from fancymail.storage.ports.mailboxes import Mailbox
    from fancymail.servers.imap.session import ImapSession


async def create(session: ImapSession, event: c.Create) -> None:
    """CREATE (RFC 9051 6.3.4, RFC 6154 3)."""
    owner, name = split(session.account, event.mailbox)
    await _may_create(session, owner, name)
    if await session.reader.mailbox(owner, name) is not None:
        raise Refusal("there is such a mailbox already", b"ALREADYEXISTS")
    if len(event.special_use) > 1:
        raise Refusal("a mailbox has one special use", b"USEATTR")
    if event.special_use and any(box.special_use == event.special_use[0] for box in await session.reader.mailboxes(owner)):
        raise Refusal(f"another mailbox is for {event.special_use[0]}", b"USEATTR")
    await session.store.create(owner, name, event.special_use[0] if event.special_use else "")
    made = await session.reader.mailbox(owner, name)
    session.finish(code=r.mailboxid(made.objectid) if made is not None else b"")


async def _may_create(session: ImapSession, owner: str, name: str) -> None:
    """A mailbox of somebody else may be made where the one above it has the right k (RFC 4314 4)."""
    if owner == session.account and name:
        return
    above = await look(session, shown(session.account, owner, parent(name))) if parent(name) else None
    if above is None or not above.allows("k"):
        raise Refusal("no mailbox can be made there", b"NOPERM")


async def delete(session: ImapSession, event: c.Delete) -> None:
    """DELETE (RFC 9051 6.3.5)."""
    place = await find(session, event.mailbox)
    place.need("x")
    if place.mailbox.name == INBOX:
        raise Refusal("INBOX cannot be deleted", b"CANNOT")
    await session.store.remove(place.owner, place.mailbox.name)
    if session.box is not None and session.box.mailbox == place.mailbox.id:
        session.box.gone = True
        session.lost()
    else:
        session.finish()


async def rename(session: ImapSession, event: c.Rename) -> None:
    """RENAME (RFC 9051 6.3.6): with all that is below; the messages of INBOX move, INBOX stays."""
    place = await find(session, event.mailbox)
    place.need("x")
    owner, to = split(session.account, event.to)
    if owner != place.owner:
        raise Refusal("a mailbox stays with its owner", b"CANNOT")
    await _may_create(session, owner, to)
    await session.store.rename(owner, place.mailbox.name, to)
    session.finish()


async def subscribe(session: ImapSession, event: c.Subscribe) -> None:
    """SUBSCRIBE and UNSUBSCRIBE; a name needs no mailbox (RFC 9051 6.3.7)."""
    await session.store.subscribe(session.account, event.mailbox, event.subscribed)
    session.finish()


async def status_(session: ImapSession, event: c.Status) -> None:
    """STATUS."""
    place = await find(session, event.mailbox)
    place.need("r")
    session.engine.untagged(r.status(event.mailbox, counters(session, place.mailbox, event.items), session.engine.utf8))
    session.finish()


def counters(session: ImapSession, box: Mailbox, items: tuple[str, ...]) -> list[tuple[str, int | str | None]]:
    """The items of STATUS."""
    known = {"MESSAGES": box.messages, "UIDNEXT": box.uidnext, "UIDVALIDITY": box.uidvalidity, "UNSEEN": box.unseen, "DELETED": box.deleted,
             "SIZE": box.octets, "RECENT": max(0, box.uidnext - box.recent_floor) if box.messages else 0, "HIGHESTMODSEQ": max(1, box.highestmodseq),
             "APPENDLIMIT": session.daemon.settings.imap.append_limit, "MAILBOXID": box.objectid, "DELETED-STORAGE": None}
    return [(item, known[item]) for item in items]


def namespace(session: ImapSession, event: c.Namespace) -> None:
    """NAMESPACE (RFC 2342): one's own, and what others share."""
    session.engine.untagged(r.namespace([("", DELIMITER)], [(OTHERS + DELIMITER, DELIMITER)], utf8=session.engine.utf8))
    session.finish()


HANDLERS = {c.Create: create, c.Delete: delete, c.Rename: rename, c.Subscribe: subscribe, c.Status: status_, c.Namespace: namespace}
