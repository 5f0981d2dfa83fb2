"""NOTIFY and searches that go on: what a session hears beyond the changes of its selected mailbox (RFC 5465, RFC 5267).

Part of servers/imap/session.py. An alert of fm-mailbox makes a session look around; what differs from its last look and was asked for is said when no
command is under way, else with the next flush. What is wanted and what differs say core/imap/notify.py and core/imap/context.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fancymail.core.imap.fetch import fetch
from fancymail.core.imap.notify import SERVER, Annotated, Changed, Known, Notice, Watch
from fancymail.core.imap.view import News
from fancymail.ipc.message import IpcError
from fancymail.mail.imap.fetch import UID, Items
from fancymail.mail.uidset import compress
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r
from fancymail.servers.imap.boxes import counters, visible
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.ports.reader import MailboxGone

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession


class Notified:
    """What NOTIFY SET asked for, and what the session saw at its last look."""

    def __init__(self, watch: Watch, known: Known) -> None:
        self.watch, self.known = watch, known
        self.looking = False            # a look is on its way

    def items(self) -> Items:
        """What is shown of messages that arrive in the selected mailbox (RFC 5465 5.2), UID among it."""
        group = self.watch.selected
        if group is None or not group.fetch or "messagenew" not in group.events:
            return ()
        return group.fetch if UID in group.fetch else (UID, *group.fetch)


async def look_around(session: ImapSession, watch: Watch | None = None) -> Known:
    """What the session may see of mailboxes now: those whose messages it may read (RFC 5465 8, RFC 7377 2.2). `watch`: with the metadata that
    it wants."""
    places = {name: place for name, place in (await visible(session, True)).items() if place.allows("r")}
    subscribed = frozenset(await session.reader.subscriptions(session.account))
    boxes = {(place.owner, place.mailbox.id): (name, place.mailbox) for name, place in places.items()}
    known = Known(boxes, subscribed, frozenset(name for name, place in places.items() if place.owner != session.account))
    if watch is not None:
        known = known._replace(metadata={key: await _entries(session, key) for key in watch.annotated(known)})
    return known


async def _entries(session: ImapSession, key: object) -> dict[str, int]:
    """Metadata that the session may see, by what differs with each value: the values themselves are not kept."""
    owner, mailbox = (session.account, 0) if key == SERVER else key
    known = await session.reader.metadata(owner, mailbox)
    return {name: hash(value) for name, value in known.items() if owner == session.account or name.startswith("/shared/")}


def selected(session: ImapSession) -> object:
    """The key of the selected mailbox in Known."""
    return (session.box.account, session.box.mailbox) if session.box is not None else None


async def notify(session: ImapSession, event: c.Notify) -> None:
    """NOTIFY SET and NOTIFY NONE."""
    session.notified = None
    if event.groups:
        watch = Watch(event.groups, "CONDSTORE" in session.engine.enabled)
        notified = session.notified = Notified(watch, await look_around(session, watch))
        for owner in {owner for owner, _ in notified.known.boxes}:
            session.daemon.listen(owner, session)
        if event.status:
            session.engine.untagged(*[said(session, notice) for notice in notified.watch.first(notified.known, selected(session))])
    session.watches = session.waiting = session.notified is not None and session.notified.watch.at_once
    session.finish()


def said(session: ImapSession, notice: Notice) -> bytes:
    """A notice as octets."""
    engine = session.engine
    if isinstance(notice, Changed):
        return r.status(notice.name, counters(session, notice.mailbox, notice.items), engine.utf8)
    if isinstance(notice, Annotated):
        return r.metadata_changed(notice.name, notice.entries, engine.utf8)         # RFC 5464 4.4.2
    return r.list_(notice.attributes, notice.name, engine.utf8, old_name=notice.old_name)


def changed(session: ImapSession) -> None:
    """Something became of mailboxes that the session may see."""
    notified = session.notified
    if notified is not None and not notified.looking:
        notified.looking = True
        session.daemon.spawn(_compare(session, notified), "notify")


async def _compare(session: ImapSession, notified: Notified) -> None:
    """Look around again and say what differs."""
    await session.pause()               # what comes at the same time is one look
    notified.looking = False
    try:
        after = await look_around(session, notified.watch)
    except (IpcError, StoreFailed):
        return                          # the next alert looks again
    if session.notified is notified:
        before, notified.known = notified.known, after
        say(session, [said(session, notice) for notice in notified.watch.differences(before, after, selected(session))])


def say(session: ImapSession, lines: list[bytes]) -> None:
    """Say lines between two commands: in the middle of one they could stand inside of a literal."""
    if session.connection.closed or not lines:
        return
    session.notices += lines
    if not session.engine.busy:
        session.tell_notices()


def holds_expunges(session: ImapSession) -> bool:
    """Whether EXPUNGE has to wait for a command: outside of IDLE it is said only where NOTIFY asked for it."""
    return not session.engine.idle and session.notified is not None and not session.notified.watch.expunges


def flush(session: ImapSession, may_expunge: bool, uid: bool) -> None:
    """Bring the view up to date, with what leaves the results of searches before it; what comes into them is found behind it."""
    view = session.view
    for context in session.contexts:
        session.engine.untagged(*context.before(view, may_expunge))
    session.engine.untagged(*view.flush(may_expunge, uid))
    if view.news.added or view.news.changed:
        session.daemon.spawn(_follow(session, view.news), "contexts")


async def _follow(session: ImapSession, news: News) -> None:
    """Show what arrived to a client that asked to see it, and say what comes into the results of searches."""
    view, box = session.view, session.box
    if view is None:
        return
    lines: list[bytes] = []
    try:
        items = session.notified.items() if session.notified is not None and news.added else ()
        if items:
            lines.append(await fetch(view, box.reader, items, view.places(compress(sorted(news.added)))).whole())
        for context in list(session.contexts):
            lines += await context.behind(view, box.reader, int(time.time()), news)
    except (IpcError, StoreFailed, MailboxGone):
        return                          # the mailbox is gone, or cannot be read: the next command says so
    if session.view is view:
        say(session, lines)


HANDLERS = {c.Notify: notify}
