"""Commands about the session itself: NOOP, ID, ENABLE, NAMESPACE, IDLE, COMPRESS.

Part of servers/imap/session.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fancymail import __version__
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession


async def noop(session: ImapSession, event: c.Noop) -> None:
    """NOOP and CHECK: what happened, as the store knows it now."""
    if session.box is not None:
        await session.box.renew()
    session.finish()


def id_(session: ImapSession, event: c.Id) -> None:
    """ID (RFC 2971)."""
    told = {f"id_{key}": value[:80] for key, value in (event.fields or {}).items() if key in ("name", "version", "vendor") and value}
    session.daemon.log.info("client", account=session.account, client=session.connection.peer, **told)
    session.engine.untagged(r.id_({"name": "FancyMail", "version": __version__}))
    session.finish()


def enable(session: ImapSession, event: c.Enable) -> None:
    """ENABLE (RFC 5161): the engine has switched it on."""
    if session.view is not None:
        session.tune(session.view)
    session.engine.untagged(r.enabled(event.names))
    session.finish()


async def idle(session: ImapSession, event: c.Idle) -> None:
    """IDLE (RFC 2177): first what is known, then news as they come."""
    if session.box is not None:
        await session.box.renew()
        session.flush()
    session.waiting = True
    session.engine.idling()


def idle_done(session: ImapSession, event: c.IdleDone) -> None:
    """DONE."""
    session.waiting = session.watches
    if event.done:
        session.finish("IDLE terminated")


def compress(session: ImapSession, event: c.Compress) -> None:
    """COMPRESS (RFC 4978): the connection deflates what follows the OK."""
    session.engine.ok("deflate from here on")


HANDLERS = {c.Noop: noop, c.Id: id_, c.Enable: enable, c.Idle: idle, c.IdleDone: idle_done, c.Compress: compress}
