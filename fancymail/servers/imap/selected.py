"""Commands about the selected mailbox: SELECT, FETCH, STORE, COPY, MOVE, EXPUNGE, CLOSE.

Part of servers/imap/session.py. What is read comes from core/imap over the reader, what is changed goes to fm-mailbox as one verb; behind it the
image is renewed, so that the client hears of its own change as of everybody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fancymail.core.imap import opening
from fancymail.core.imap.fetch import Answers, changed_since, fetch, partial
from fancymail.core.imap.limit import count, highest
from fancymail.core.imap.ranges import runs, size, without
from fancymail.core.imap.view import Spans, View
from fancymail.ipc.message import IpcError
from fancymail.mail.mailbox import DELETED, SEEN
from fancymail.mail.uidset import LARGEST, Ranges
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r
from fancymail.servers.imap.places import find, target
from fancymail.servers.imap.refusals import Refusal

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession

FLUSH = 32 * 1024               # octets of answers that are worth a packet of their own
TURN = 0.005                    # seconds of one client's FETCH after which others get their turn


async def select(session: ImapSession, event: c.Select) -> None:
    """SELECT and EXAMINE: a view of the mailbox as it is now."""
    session.leave()
    place = await find(session, event.mailbox)
    place.need("r")
    box = session.daemon.images.enter(place.owner, place.mailbox.id, session)
    try:
        await box.renew(place.mailbox)
        view = View(box.image, event.read_only or not place.allows("stwei"))
        session.tune(view)
        await box.claim(view)
    except BaseException:
        session.daemon.images.leave(box, session)
        raise
    session.look_at(box, view, place)
    session.daemon.listen(place.owner, session)
    session.engine.untagged(*opening.opening(view))
    known = event.qresync
    if known is not None and known.uidvalidity == box.image.mailbox.uidvalidity:        # RFC 7162 3.2.5.1
        changes = await box.reader.changes(known.modseq, 1)
        session.engine.untagged(*opening.resync(view, known.modseq, changes.vanished, known.known, known.match))
    session.engine.selected(view.read_only)


async def close(session: ImapSession, event: c.Close) -> None:
    """CLOSE and UNSELECT."""
    if event.expunge and not session.view.read_only and session.place.allows("e"):
        await session.store.expunge(session.box.account, session.box.mailbox, [(1, LARGEST)])
    session.leave()
    session.engine.deselected()


# -- FETCH -----------------------------------------------------------------------------------------------------------

async def fetch_(session: ImapSession, event: c.Fetch) -> None:
    """FETCH and UID FETCH."""
    view, box = session.view, session.box
    if box.stale:
        await box.renew()
    spans = view.resolve(event.sequence, event.uid)
    if event.changed_since is not None:
        if event.vanished:
            await _vanished(session, event, view)
        spans = changed_since(view, spans, event.changed_since)
    if event.partial is not None:
        _may_ask(session, abs(event.partial[1] - event.partial[0]) + 1)
        spans = partial(spans, *event.partial)
    spans, lowest = highest(view, spans, session.most)
    answers = fetch(view, box.reader, event.items, spans, session.pause)
    if answers.plan.seen:
        await _mark_seen(session, view, spans)
    session.engine.untagged(await answers.next())
    if answers.more:
        await _say_on(session, answers)
    if not (answers.missing or answers.unknown_encoding):
        remark = r.downgraded(answers.downgraded) if answers.downgraded else b""
        return session.finish(numbers=not event.uid, uid=event.uid, lowest=lowest, remark=remark)
    session.flush(numbers=not event.uid, uid=event.uid)
    if answers.unknown_encoding:
        session.engine.no("the encoding of a part is not known", b"UNKNOWN-CTE")
    else:
        session.engine.no("some of the messages cannot be read any more", b"EXPUNGEISSUED" if view.held else b"")


async def _say_on(session: ImapSession, answers: Answers) -> None:
    """Say all the answers of a FETCH, as fast as the client reads them; the last ones go out together with their OK."""
    engine, connection, loop = session.engine, session.connection, session.daemon.loop
    turn, size = loop.time() + TURN, FLUSH
    while answers.more:
        if size >= FLUSH:
            size = 0
            connection.flush()
            await connection.drained()
            if loop.time() > turn:
                await session.pause()
                turn = loop.time() + TURN
        engine.untagged(piece := await answers.next())
        size += len(piece)


def _may_ask(session: ImapSession, count: int) -> None:
    """RFC 9738 3.1: who asks for so many at once as PARTIAL is told before anything is done."""
    if 0 < session.most < count:
        raise Refusal(f"one command shows at most {session.most} messages", r.messagelimit(session.most))


async def _vanished(session: ImapSession, event: c.Fetch, view: View) -> None:
    """UID FETCH ... (CHANGEDSINCE n VANISHED), RFC 7162 3.2.6."""
    changes = await session.box.reader.changes(event.changed_since, 1)
    asked = view.saved if event.sequence.saved else event.sequence.resolve(max(view.last, view.image.mailbox.uidnext - 1))
    session.engine.untagged(*opening.vanished_earlier(view, asked, changes.vanished))


async def _mark_seen(session: ImapSession, view: View, spans: Spans) -> None:
    """Reading a message marks it as seen; that it cannot be marked keeps nobody from reading."""
    if view.read_only or not session.place.allows("s"):
        return
    unseen = runs([low + place for low, high in spans for place, flags in enumerate(view.state(low, high)[1]) if not flags & SEEN])
    if unseen:
        try:
            stored = await session.store.flags(session.box.account, session.box.mailbox, view.ranges(unseen), "add", ["\\Seen"])
        except IpcError as error:
            session.daemon.log.warning("not marked as seen", account=session.account, status=error.status, reason=error.text)
            return
        await session.box.learn(stored, "add", ["\\Seen"])


# -- STORE -----------------------------------------------------------------------------------------------------------

async def store(session: ImapSession, event: c.Store) -> None:
    """STORE and UID STORE."""
    view, box = session.view, session.box
    _writable(view)
    _may_flag(session, event)
    spans, lowest = highest(view, view.resolve(event.sequence, event.uid), session.most)
    uids, gone = view.ranges(spans), view.gone(spans)
    code = b"EXPUNGEISSUED" if gone else b""
    if spans:
        stored = await session.store.flags(box.account, box.mailbox, uids, event.action, list(event.flags), event.unchanged_since)
        await box.learn(stored, event.action, event.flags)
        if event.silent:
            view.silence(stored.changed, stored.modseq, event.action, view.image.bits(event.flags)[0])
        else:
            view.mention(without(uids, stored.refused))
        if stored.refused:
            code = r.modified(stored.refused if event.uid else _numbers(view, stored.refused))
    session.finish(code=code, numbers=not event.uid, uid=event.uid, lowest=lowest)


def _may_flag(session: ImapSession, event: c.Store) -> None:
    """RFC 4314 4: s for \\Seen, t for \\Deleted, w for all else."""
    names = {"\\Seen": "s", "\\Deleted": "t"}
    needed = {names.get(flag, "w") for flag in event.flags} or set("w")
    session.place.need(*(needed if event.action != "set" else needed | {"w"}))


def _numbers(view: View, uids: Ranges) -> Ranges:
    """UIDs as sequence numbers."""
    return [(low + 1, high) for low, high in view.places(uids)]


def _writable(view: View) -> None:
    if view.read_only:
        raise Refusal("the mailbox was opened for reading only", b"READ-ONLY")


# -- COPY, MOVE, EXPUNGE ---------------------------------------------------------------------------------------------

async def copy(session: ImapSession, event: c.Copy) -> None:
    """COPY, MOVE and their UID forms (RFC 4315, 6851)."""
    view, box = session.view, session.box
    if event.move:
        _writable(view)
        session.place.need("e", "t")
    place = await target(session, event.mailbox)
    spans = view.resolve(event.sequence, event.uid)
    spans, lowest = highest(view, spans, session.most) if event.move else (_all_or_none(session, spans), 0)
    if view.gone(spans):                        # all or nothing (RFC 9051 6.4.7)
        session.flush(numbers=not event.uid, uid=event.uid)
        raise Refusal("some of these messages are gone", b"EXPUNGEISSUED")
    if not spans:
        session.finish("no message is named", uid=event.uid)
        return
    copied = await session.store.copy(box.account, box.mailbox, view.ranges(spans), place.owner, place.mailbox.name, event.move)
    how_many = size(copied.source)
    code = r.copyuid(copied.uidvalidity, copied.source, [(copied.first, copied.first + how_many - 1)]) if how_many else b""
    if place.mailbox.id == box.mailbox or event.move:
        await box.renew()
    if not event.move:
        session.finish(code=code, uid=event.uid)
        return
    if code:
        session.engine.untagged(r.ok("moved", code))            # RFC 6851 4.3: before the EXPUNGEs
    session.flush(uid=event.uid, own=True)
    session.finish(code=_modseq(session), uid=event.uid, lowest=lowest)


def _all_or_none(session: ImapSession, spans: Spans) -> Spans:
    """COPY copies all or nothing: what is more than one command may is refused (RFC 9738 3.1)."""
    options = session.engine.options
    limit = options.message_limit or options.save_limit
    lowest = highest(session.view, spans, limit)[1]
    if lowest:
        raise Refusal(f"one command copies at most {limit} messages", r.messagelimit(limit, lowest))
    return spans


async def expunge(session: ImapSession, event: c.Expunge) -> None:
    """EXPUNGE, which knows no limit (RFC 9738 3.1), and UID EXPUNGE."""
    view, box = session.view, session.box
    _writable(view)
    session.place.need("e")
    uids, lowest = ([(1, LARGEST)], 0) if event.uids is None else _deleted(session, view.resolve(event.uids, True))
    if uids:
        await session.store.expunge(box.account, box.mailbox, uids)
        await box.renew()
    session.flush(uid=event.uids is not None, own=True)
    session.finish(code=_modseq(session), lowest=lowest)


def _deleted(session: ImapSession, spans: Spans) -> tuple[Ranges, int]:
    """What UID EXPUNGE may take away of those it names, and the lowest UID of it where that is not all."""
    view = session.view
    if 0 < session.most < count(spans):
        spans = runs([low + place for low, high in spans for place, flags in enumerate(view.state(low, high)[1]) if flags & DELETED])
    spans, lowest = highest(view, spans, session.most)
    return view.ranges(spans), lowest


def _modseq(session: ImapSession) -> bytes:
    """What MOVE and EXPUNGE end with for a client of QRESYNC (RFC 7162 3.2.7)."""
    return r.highestmodseq(session.view.image.modseq) if session.view.qresync else b""


HANDLERS = {c.Select: select, c.Close: close, c.Fetch: fetch_, c.Store: store, c.Copy: copy, c.Expunge: expunge}
