"""Commands about mailboxes as wholes: LIST, CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, NAMESPACE.

Part of servers/imap/session.py. Each change is one verb of fm-mailbox; counters come from the store, so STATUS costs the same whatever the size.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING

from fancymail.core.imap.listing import listing, lsub
from fancymail.mail import uidset
from fancymail.mail.imap.strings import mailbox_name
from fancymail.mail.kept import kept
from fancymail.mail.mailbox import DELETED, DELIMITER, INBOX, parent
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r
from fancymail.servers.imap.places import ALL, OTHERS, Place, find, look, shown, split
from fancymail.servers.imap.refusals import Refusal
from fancymail.storage.ports.mailboxes import Mailbox

if TYPE_CHECKING:
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
    box = session.box
    if box is not None and (box.account, box.mailbox) == (place.owner, place.mailbox.id):       # numbers are of a shard
        box.gone = True
        session.leave()
        session.engine.deselected("deleted, and no mailbox is selected any more")
    else:
        session.finish()


async def rename(session: ImapSession, event: c.Rename) -> None:
    """RENAME (RFC 9051 6.3.6): with all that is below; the messages of INBOX move, INBOX stays."""
    place = await find(session, event.mailbox)
    place.need("x")
    owner, to = split(session.account, event.to)
    if owner != place.owner:
        raise Refusal("a mailbox stays with its owner", b"CANNOT")
    if place.mailbox.name != INBOX and to.startswith(place.mailbox.name + DELIMITER):
        raise Refusal("a mailbox does not go below itself", b"CANNOT")
    await _may_create(session, owner, to)
    if await session.reader.mailbox(owner, to) is not None:
        raise Refusal("there is such a mailbox already", b"ALREADYEXISTS")
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
    session.engine.untagged(await _said(session, event.mailbox, place, event.items))
    session.finish()


async def _deleted_storage(session: ImapSession, place: Place) -> int:
    """What EXPUNGE would free (RFC 9208 4.1.4), which no counter knows."""
    reader = session.reader.open(place.owner, place.mailbox.id)
    loaded = await reader.load()
    marked = uidset.ranges(uid for uid, flags in zip(loaded.uids, loaded.flags) if flags & DELETED)
    return sum(size for _, size in await reader.columns(("size",), marked))


async def _said(session: ImapSession, name: str, place: Place, items: tuple[str, ...]) -> bytes:
    """The line of STATUS."""
    if (teller := _teller(items)) is not None:
        return teller(mailbox_name(name, session.engine.utf8), place.mailbox)
    told = counters(session, place.mailbox, items)
    if "DELETED-STORAGE" in items and place.mailbox.deleted:
        octets = await _deleted_storage(session, place)
        told = [(item, octets if item == "DELETED-STORAGE" else value) for item, value in told]
    return r.status(name, told, session.engine.utf8)


# Items of STATUS: those that are counters of the mailbox, and those that are made of them.
_COUNTED = {"MESSAGES": "messages", "UIDNEXT": "uidnext", "UIDVALIDITY": "uidvalidity", "UNSEEN": "unseen", "DELETED": "deleted", "SIZE": "octets",
            "MAILBOXID": "objectid"}
_MADE: dict[str, Callable[[ImapSession, Mailbox], int]] = {
    "RECENT": lambda session, box: max(0, box.uidnext - box.recent_floor) if box.messages else 0,
    "HIGHESTMODSEQ": lambda session, box: max(1, box.highestmodseq),
    "APPENDLIMIT": lambda session, box: session.daemon.settings.imap.append_limit,
    "DELETED-STORAGE": lambda session, box: 0,
}


@kept(64 << 10)
def _teller(items: tuple[str, ...]) -> Callable[[bytes, Mailbox], bytes] | None:
    """What says these items by one formatting; None: some are more than numbers that a mailbox has."""
    if not items or any(_COUNTED.get(item, "objectid") == "objectid" for item in items):
        return None
    template, numbers = r.status_template(items), itemgetter(*[Mailbox._fields.index(_COUNTED[item]) for item in (*items, "MESSAGES")])
    return lambda name, box: template % (name, *numbers(box)[:-1])


def counters(session: ImapSession, box: Mailbox, items: tuple[str, ...]) -> list[tuple[str, int | str | None]]:
    """The items of STATUS."""
    return [(item, getattr(box, _COUNTED[item]) if item in _COUNTED else _MADE[item](session, box)) for item in items]


async def list_(session: ImapSession, event: c.List) -> None:
    """LIST, with all that may be returned beside the names (RFC 5258, 5819, 6154, 8440, 9590)."""
    places = await visible(session, any(event.reference + pattern != INBOX for pattern in event.patterns))
    subscribed = await session.reader.subscriptions(session.account)
    uses = {name: place.mailbox.special_use for name, place in places.items()}
    utf8, lines = session.engine.utf8, []
    beside = bool(event.status or event.metadata or "MYRIGHTS" in event.returns)
    teller = _teller(event.status) if event.status and not (event.metadata or "MYRIGHTS" in event.returns) else None
    for name, attributes, childinfo, exists in listing(uses, subscribed, event.reference, event.patterns, selection=event.selection,
                                                       returns=event.returns, extended=event.extended):
        lines.append(r.list_(attributes, name, utf8, childinfo=childinfo))
        if not exists or not beside:
            continue
        if teller is None:
            lines += await _beside(session, event, name, places[name])
        elif (place := places[name]).allows("r"):
            lines.append(teller(mailbox_name(name, utf8), place.mailbox))
    session.engine.untagged(*lines)
    session.finish()


async def visible(session: ImapSession, others: bool) -> dict[str, Place]:
    """All that the session may look up, by the name that it calls them."""
    found = {box.name: Place(session.account, box, ALL) for box in await session.reader.mailboxes(session.account)}
    for shared in await session.reader.shared(session.account) if others else ():
        if "l" in shared.rights:
            box = shared.mailbox._replace(special_use="")       # it is special to its owner
            found[shown(session.account, shared.owner, box.name)] = Place(shared.owner, box, shared.rights)
    return found


async def _beside(session: ImapSession, event: c.List, name: str, place: Place) -> list[bytes]:
    """STATUS, MYRIGHTS and METADATA of one line."""
    lines, utf8 = [], session.engine.utf8
    if event.status and place.allows("r"):
        lines.append(await _said(session, name, place, event.status))
    if "MYRIGHTS" in event.returns:
        lines.append(r.myrights(name, place.rights, utf8))
    if event.metadata and place.allows("r"):
        known = await session.reader.metadata(place.owner, place.mailbox.id)
        told = [(entry, known.get(entry)) for entry in event.metadata if place.owner == session.account or entry.startswith("/shared/")]
        if told:
            lines.append(r.metadata(name, told, utf8))
    return lines


async def lsub_(session: ImapSession, event: c.Lsub) -> None:
    """LSUB."""
    uses = {name: place.mailbox.special_use for name, place in (await visible(session, True)).items()}
    for listed in lsub(uses, await session.reader.subscriptions(session.account), event.reference, event.pattern):
        session.engine.untagged(r.lsub(listed.attributes, listed.name, session.engine.utf8))
    session.finish()


def namespace(session: ImapSession, event: c.Namespace) -> None:
    """NAMESPACE (RFC 2342): one's own, and what others share."""
    session.engine.untagged(r.namespace([("", DELIMITER)], [(OTHERS + DELIMITER, DELIMITER)], utf8=session.engine.utf8))
    session.finish()


HANDLERS = {c.Create: create, c.Delete: delete, c.Rename: rename, c.Subscribe: subscribe, c.Status: status_, c.Namespace: namespace,
            c.List: list_, c.Lsub: lsub_}
