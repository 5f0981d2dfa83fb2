"""Commands about who may what and how much: quota (RFC 9208), metadata (RFC 5464), access lists (RFC 4314).

Part of servers/imap/session.py. Everything is kept by fm-mailbox; how much an account may hold is fm-auth's, so SETQUOTA is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r
from fancymail.servers.imap.places import ALL, Place, find, split
from fancymail.servers.imap.refusals import Refusal

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession

LARGEST_VALUE = 64 * 1024       # octets of one metadata value
MOST_ENTRIES = 100              # entries of one mailbox
ROOT = "user"                   # the one quota root of an account; of somebody else: user/ADDRESS


# -- quota -----------------------------------------------------------------------------------------------------------

def _root(session: ImapSession, owner: str) -> str:
    return ROOT if owner == session.account else f"{ROOT}/{owner}"


async def _resources(session: ImapSession, owner: str) -> list[tuple[str, int, int]]:
    """STORAGE in units of 1024 octets (RFC 9208 5.1); nothing where there is no limit."""
    usage = await session.store.usage(owner)
    return [("STORAGE", -(-usage.usage.octets // 1024), usage.quota // 1024)] if usage.quota else []


async def get_quota(session: ImapSession, event: c.GetQuota) -> None:
    """GETQUOTA: one's own root only."""
    if event.root != ROOT:
        raise Refusal("there is no such quota root", b"NONEXISTENT")
    session.engine.untagged(r.quota(ROOT, await _resources(session, session.account)))
    session.finish()


async def get_quota_root(session: ImapSession, event: c.GetQuotaRoot) -> None:
    """GETQUOTAROOT; of a mailbox that could be made, too (RFC 9208 4.1.3)."""
    owner = session.account
    if split(session.account, event.mailbox)[0] == session.account:
        root = ROOT
    else:
        place = await find(session, event.mailbox)
        place.need("r")
        owner, root = place.owner, _root(session, place.owner)
    session.engine.untagged(r.quotaroot(event.mailbox, [root], session.engine.utf8), r.quota(root, await _resources(session, owner)))
    session.finish()


async def set_quota(session: ImapSession, event: c.SetQuota) -> None:
    """SETQUOTA: how much somebody may keep is the administrator's to say."""
    raise Refusal("the limits are the administrator's", b"NOPERM")


# -- metadata --------------------------------------------------------------------------------------------------------

async def _metadata_place(session: ImapSession, name: str) -> tuple[str, int, Place | None]:
    """(owner, mailbox or 0 for the server's own entries, place)."""
    if not name:
        return session.account, 0, None
    place = await find(session, name)
    return place.owner, place.mailbox.id, place


async def get_metadata(session: ImapSession, event: c.GetMetadata) -> None:
    """GETMETADATA: entries by name, with what is below them as far as DEPTH says."""
    owner, mailbox, place = await _metadata_place(session, event.mailbox)
    if place is not None:
        place.need("r")
    known = await session.reader.metadata(owner, mailbox)
    if place is not None and owner != session.account:          # RFC 5464 3.2: /private is each user's own
        known = {name: value for name, value in known.items() if name.startswith("/shared/")}
    found, longest = [], 0
    for name, value in known.items():
        if any(_matches(name, entry, event.depth) for entry in event.entries):
            if event.max_size is not None and len(value) > event.max_size:
                longest = max(longest, len(value))
            else:
                found.append((name, value))
    if event.depth == 0:                                        # RFC 5464 4.2: NIL for what is not there
        found += [(entry, None) for entry in event.entries if entry not in known]
    if found:
        session.engine.untagged(r.metadata(event.mailbox, found, session.engine.utf8))
    session.finish(code=b"METADATA LONGENTRIES %d" % longest if longest else b"")


def _matches(name: str, entry: str, depth: int) -> bool:
    if name == entry:
        return True
    below = name.startswith(entry.rstrip("/") + "/")
    return below and (depth < 0 or name[len(entry.rstrip("/")) + 1:].count("/") < depth)


async def set_metadata(session: ImapSession, event: c.SetMetadata) -> None:
    """SETMETADATA: all entries or none."""
    owner, mailbox, place = await _metadata_place(session, event.mailbox)
    if place is not None:
        place.need("r")
        if not place.allows("lswipkxtea"):
            raise Refusal("entries of this mailbox cannot be changed", b"NOPERM")
    for name, value in event.entries:
        if not name.startswith(("/private/", "/shared/")) or name.endswith("/") or "//" in name:
            raise Refusal("entries are /private/... and /shared/...", b"CANNOT")
        if owner != session.account and name.startswith("/private/"):
            raise Refusal("private entries of somebody else's mailbox are not kept", b"METADATA NOPRIVATE")
        if value is not None and len(value) > LARGEST_VALUE:
            raise Refusal("a value is too long", b"METADATA MAXSIZE %d" % LARGEST_VALUE)
    known = await session.reader.metadata(owner, mailbox)
    if len({*known, *(name for name, value in event.entries if value is not None)}) > MOST_ENTRIES:
        raise Refusal("there are too many entries", b"METADATA TOOMANY")
    await session.store.set_metadata(owner, mailbox, dict(event.entries))
    session.finish()


# -- access lists ----------------------------------------------------------------------------------------------------

async def set_acl(session: ImapSession, event: c.SetAcl) -> None:
    """SETACL (RFC 4314 3.1)."""
    place = await find(session, event.mailbox)
    place.need("a")
    rights = _letters(event.rights)
    identifier = event.identifier
    if identifier.removeprefix("-") == place.owner:
        raise Refusal("the owner has all rights", b"CANNOT")
    granted = (await session.reader.acl(place.owner, place.mailbox.id)).get(identifier, "")
    if event.change == "+":
        rights = "".join(sorted({*granted, *rights}))
    elif event.change == "-":
        rights = "".join(sorted(set(granted) - set(rights)))
    await session.store.set_acl(place.owner, place.mailbox.id, identifier, rights)
    session.finish()


def _letters(text: str) -> str:
    """Rights as RFC 4314 has them; c and d of RFC 2086 stand for several (2.1.1)."""
    text = text.replace("c", "kx").replace("d", "et")
    if unknown := [letter for letter in text if letter not in ALL]:
        raise Refusal(f"there is no right {unknown[0]}", b"CANNOT")
    return "".join(sorted(set(text)))


async def delete_acl(session: ImapSession, event: c.DeleteAcl) -> None:
    """DELETEACL."""
    place = await find(session, event.mailbox)
    place.need("a")
    await session.store.set_acl(place.owner, place.mailbox.id, event.identifier, "")
    session.finish()


async def get_acl(session: ImapSession, event: c.GetAcl) -> None:
    """GETACL: the owner first."""
    place = await find(session, event.mailbox)
    place.need("a")
    granted = await session.reader.acl(place.owner, place.mailbox.id)
    session.engine.untagged(r.acl(event.mailbox, [(place.owner, ALL), *granted.items()], session.engine.utf8))
    session.finish()


async def list_rights(session: ImapSession, event: c.ListRights) -> None:
    """LISTRIGHTS: every right can be given by itself."""
    place = await find(session, event.mailbox)
    place.need("a")
    owner = event.identifier == place.owner
    session.engine.untagged(r.listrights(event.mailbox, event.identifier, ALL if owner else "", () if owner else ALL, session.engine.utf8))
    session.finish()


async def my_rights(session: ImapSession, event: c.MyRights) -> None:
    """MYRIGHTS."""
    place = await find(session, event.mailbox)
    session.engine.untagged(r.myrights(event.mailbox, place.rights, session.engine.utf8))
    session.finish()


HANDLERS = {c.GetQuota: get_quota, c.GetQuotaRoot: get_quota_root, c.SetQuota: set_quota, c.GetMetadata: get_metadata, c.SetMetadata: set_metadata,
            c.SetAcl: set_acl, c.DeleteAcl: delete_acl, c.GetAcl: get_acl, c.ListRights: list_rights, c.MyRights: my_rights}
