"""SEARCH, SORT, THREAD: what core found, said in the form that the client asked for.

Part of servers/imap/session.py. A long search gives others their turn, and tells a client that waits that it is still at it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from fancymail.core.imap import answers
from fancymail.core.imap.search import search, uses_modseq
from fancymail.core.imap.sort import sort
from fancymail.core.imap.thread import thread
from fancymail.mail.imap.search import Return
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession

PATIENCE = 5.0                  # seconds after which a client is told that we are still at it, and again


def turns(session: ImapSession) -> Callable[[], Awaitable[None]]:
    """What a long piece of work awaits between two of its steps."""
    told = session.daemon.loop.time() + PATIENCE

    async def turn() -> None:
        nonlocal told
        await session.pause()
        if session.daemon.loop.time() > told:
            told += PATIENCE
            session.engine.untagged(r.inprogress(session.engine.tag))       # RFC 9585 3
            session.connection.flush()
    return turn


async def search_(session: ImapSession, event: c.Search) -> None:
    """SEARCH and UID SEARCH."""
    view = session.view
    await session.box.current()
    places = await search(view, session.box.reader, event.key, int(time.time()), turns(session))
    _answer(session, b"SEARCH", places, event.returns, event.uid, uses_modseq(event.key))


async def sort_(session: ImapSession, event: c.Sort) -> None:
    """SORT and UID SORT."""
    view = session.view
    await session.box.current()
    found = await search(view, session.box.reader, event.key, int(time.time()), turns(session))
    places = await sort(view, session.box.reader, event.criteria, found, turns(session))
    _answer(session, b"SORT", places, event.returns, event.uid, uses_modseq(event.key))


async def thread_(session: ImapSession, event: c.Thread) -> None:
    """THREAD and UID THREAD."""
    view = session.view
    await session.box.current()
    found = await search(view, session.box.reader, event.key, int(time.time()), turns(session))
    session.engine.untagged(await thread(view, session.box.reader, event.algorithm, found, event.uid, turns(session)))
    session.finish(numbers=not event.uid, uid=event.uid)


def _answer(session: ImapSession, word: bytes, places: Sequence[int], returns: Return | None, uid: bool, modseq: bool) -> None:
    view, engine = session.view, session.engine
    if returns is None and engine.rev2 and word == b"SEARCH":
        returns = Return()                      # RFC 9051 6.4.4
    if returns is None:
        engine.untagged(answers.listed(view, word, places, uid, modseq))
    else:
        if "SAVE" in returns.options:
            answers.save(view, places, returns)
        said = answers.esearch(view, places, returns, engine.tag, uid, modseq)
        if said:
            engine.untagged(said)
    session.finish(numbers=not uid, uid=uid)


HANDLERS = {c.Search: search_, c.Sort: sort_, c.Thread: thread_}
