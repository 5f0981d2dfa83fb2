"""CATENATE: a message put together out of what the client sends and parts of messages that are here already (RFC 4469).

Part of servers/imap/session.py, beside append.py. A URL names a message of this server; whoever may not read it is told that it names nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fancymail.core.imap.extract import extract
from fancymail.protocol.imap import commands as c
from fancymail.servers.imap.places import look
from fancymail.servers.imap.refusals import Refusal
from fancymail.storage.ports.reader import BoxReader, MailboxGone

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession


async def url(session: ImapSession, event: c.AppendUrl) -> None:
    """Add a part of a message."""
    upload, named = session.upload, event.message
    try:
        reader = await _reader(session, named)
        async for octets in extract(reader, named.uid, named.section):
            _room(session, upload.size + len(octets))
            upload.add(octets)
    except (KeyError, MailboxGone):
        raise Refusal("this URL names nothing here", event.badurl) from None
    session.engine.go_ahead()


async def text(session: ImapSession, event: c.AppendText) -> None:
    """Octets of the client follow."""
    _room(session, session.upload.size + event.size)
    session.engine.go_ahead()


def _room(session: ImapSession, size: int) -> None:
    limit = session.daemon.settings.imap.append_limit
    if size > limit:                            # RFC 4469 5: the parts may be small and the whole too big
        raise Refusal(f"a message has at most {limit} octets", b"TOOBIG")


async def _reader(session: ImapSession, named: c.MessageUrl) -> BoxReader:
    """The mailbox of a URL. Raises KeyError."""
    if named.host.lower() not in ("", session.daemon.settings.server.hostname.lower()):
        raise KeyError(named.host)
    if named.user.lower() not in ("", session.account, session.account.partition("@")[0]):
        raise KeyError(named.user)
    if not named.mailbox:
        if session.box is None or not session.place.allows("r"):
            raise KeyError(named.uid)
        return session.box.reader
    place = await look(session, named.mailbox)
    if place is None or not place.allows("r") or named.uidvalidity not in (0, place.mailbox.uidvalidity):
        raise KeyError(named.mailbox)
    return session.reader.open(place.owner, place.mailbox.id)


HANDLERS = {c.AppendUrl: url, c.AppendText: text}
