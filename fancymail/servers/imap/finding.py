"""SEARCH, SORT, THREAD: what core found, said in the form that the client asked for.

Part of servers/imap/session.py. A long search gives others their turn.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fancymail.core.imap import answers
from fancymail.core.imap.context import MOST, Context
from fancymail.core.imap.limit import highest, scope
from fancymail.core.imap.notify import sources
from fancymail.core.imap.search import Places, relevancy, search, uses_modseq
from fancymail.core.imap.sort import sort
from fancymail.core.imap.thread import thread
from fancymail.core.imap.view import View
from fancymail.mail.imap.search import Key, Return
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r
from fancymail.servers.imap import watching
from fancymail.servers.imap.images import Box
from fancymail.servers.imap.refusals import Refusal
from fancymail.storage.ports.reader import MailboxGone

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession


async def _find(session: ImapSession, key: Key, part: bool = False) -> tuple[Places, int]:
    """The places that match, and 0. Where one command may not look at so many (RFC 9738): those among the highest UIDs, and the lowest UID that
    was looked at, if a part is of use; SORT and THREAD are refused (3.3)."""
    view, box, places, lowest = session.view, session.box, None, 0
    if 0 < session.most < view.count:
        spans, lowest = highest(view, scope(view, key), session.most)
        places = [place for low, high in spans for place in range(low, high)]
    if lowest and not part:
        raise Refusal(f"at most {session.most} messages can be sorted: narrow it down by UIDs", r.messagelimit(session.most))
    return await search(view, box.reader, key, int(time.time()), session.pause, places), lowest


class _Saving:
    """`with _Saving(session, returns):` a search that was to save its result and is answered NO leaves `$` empty (RFC 5182 2.1)."""

    def __init__(self, session: ImapSession, returns: Return | None) -> None:
        self.view = session.view if returns is not None and "SAVE" in returns.options else None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if error is not None and self.view is not None:
            self.view.saved = []


def unsaved(session: ImapSession, event: c.Unsaved) -> None:
    """A search with SAVE that cannot be done."""
    with _Saving(session, Return(frozenset(("SAVE",)))):
        raise Refusal(event.text, event.code)


async def search_(session: ImapSession, event: c.Search) -> None:
    """SEARCH and UID SEARCH."""
    with _Saving(session, event.returns):
        await session.box.current()
        places, lowest = await _find(session, event.key, True)
        scores = await _scores(session, event, places)
    _answer(session, b"SEARCH", places, event, scores, lowest)


async def sort_(session: ImapSession, event: c.Sort) -> None:
    """SORT and UID SORT."""
    view = session.view
    with _Saving(session, event.returns):
        await session.box.current()
        found = (await _find(session, event.key))[0]
        scores = await _scores(session, event, found)
        places = await sort(view, session.box.reader, event.criteria, found, session.pause, scores)
    known = dict(zip(found, scores))
    _answer(session, b"SORT", places, event, [known[place] for place in places] if scores else ())


async def _scores(session: ImapSession, event: c.Search | c.Sort, places: Sequence[int]) -> Sequence[int]:
    """How well each of the messages matches, if the client wants to know or have them sorted by that (RFC 6203)."""
    criteria = event.criteria if isinstance(event, c.Sort) else ()
    if event.returns is not None and "RELEVANCY" in event.returns.options or any(each.name == "RELEVANCY" for each in criteria):
        return await relevancy(session.view, session.box.reader, event.key, places, int(time.time()), session.pause)
    return ()


async def thread_(session: ImapSession, event: c.Thread) -> None:
    """THREAD and UID THREAD."""
    view = session.view
    await session.box.current()
    found = (await _find(session, event.key))[0]
    session.engine.untagged(await thread(view, session.box.reader, event.algorithm, found, event.uid, session.pause))
    session.finish(numbers=not event.uid, uid=event.uid)


async def multi_search(session: ImapSession, event: c.MultiSearch) -> None:
    """ESEARCH: one answer for each mailbox in which something was found (RFC 7377)."""
    with _Saving(session, event.returns):
        await _search_all(session, event)
    if "UPDATE" in event.returns.options:
        _keep(session, event, (), False)
    session.finish()


async def _search_all(session: ImapSession, event: c.MultiSearch) -> None:
    known, chosen = await watching.look_around(session), watching.selected(session)
    for key in sources(event.sources, known, chosen):
        name = known.boxes[key][0]
        if key == chosen:
            await session.box.current()
            await _search_in(session, event, session.view, session.box, name)
            continue
        box = session.daemon.images.enter(*key, session)
        try:
            await box.renew()
            await _search_in(session, event, View(box.image, True), box, name)
        except MailboxGone:
            pass                                # removed just now
        finally:
            session.daemon.images.leave(box, session)


async def _search_in(session: ImapSession, event: c.MultiSearch, view: View, box: Box, name: str) -> None:
    places = await search(view, box.reader, event.key, int(time.time()), session.pause)
    if "SAVE" in event.returns.options:
        answers.save(view, places, event.returns)
    if places:
        where = answers.mailbox_tag(name, view.image.mailbox.uidvalidity, session.engine.utf8)
        session.engine.untagged(answers.esearch(view, places, event.returns, session.engine.tag, True, uses_modseq(event.key), where))


def cancel(session: ImapSession, event: c.CancelUpdate) -> None:
    """CANCELUPDATE (RFC 5267 4.4)."""
    session.contexts = [context for context in session.contexts if context.tag not in event.tags]
    session.finish()


def _answer(session: ImapSession, word: bytes, places: Sequence[int], event: c.Search | c.Sort, scores: Sequence[int],
            lowest: int = 0) -> None:
    view, engine, returns, uid = session.view, session.engine, event.returns, event.uid
    if returns is None and engine.rev2 and word == b"SEARCH":
        returns = Return()                      # RFC 9051 6.4.4
    modseq = uses_modseq(event.key)
    if returns is None:
        engine.untagged(answers.listed(view, word, places, uid, modseq))
    else:
        if "SAVE" in returns.options:
            answers.save(view, places, returns)
        said = answers.esearch(view, places, returns, engine.tag, uid, modseq, scores=scores)
        if said:
            engine.untagged(said)
        if "UPDATE" in returns.options:
            _keep(session, event, places, not lowest)
    session.finish(numbers=not uid, uid=uid, lowest=lowest)


def _keep(session: ImapSession, event: c.Search | c.Sort | c.MultiSearch, places: Sequence[int], whole: bool) -> None:
    """RETURN (UPDATE): tell from now on what comes into the result and leaves it; or say that we don't (RFC 5267 4.3.1)."""
    tag = session.engine.tag
    if not whole or event.returns.partial is not None or len(session.contexts) >= MOST:
        session.engine.untagged(r.ok("this search is not kept up to date", b'NOUPDATE "%b"' % tag))
    else:
        criteria = event.criteria if isinstance(event, c.Sort) else ()
        session.contexts.append(Context(session.view, tag, event.key, places, event.uid, criteria))


HANDLERS = {c.MultiSearch: multi_search, c.CancelUpdate: cancel, c.Search: search_, c.Sort: sort_, c.Thread: thread_,
            c.Unsaved: unsaved}
