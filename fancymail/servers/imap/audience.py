"""Who wants news of whose mailboxes: one subscription at fm-mailbox for each account, however many sessions listen.

Belongs to servers/imap/daemon.py. Most clients come back soon, so a subscription stays for a while after the last session left: logging in and out
says nothing to fm-mailbox. An alert is a hint, and one that nobody waits for does no harm.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession

MOST = 1000                     # subscriptions that nobody listens to


class Audience:
    """`subscribe(account)` and `unsubscribe(account)` are said to fm-mailbox; `keep`: seconds for which a subscription outlives its last listener."""

    def __init__(self, subscribe: Callable[[str], None], unsubscribe: Callable[[str], None], keep: float) -> None:
        self.keep = keep
        self._subscribe, self._unsubscribe = subscribe, unsubscribe
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[str, set[ImapSession]] = {}
        self._deserted: OrderedDict[str, asyncio.TimerHandle] = OrderedDict()       # accounts whose subscription is going to end

    def of(self, account: str) -> Iterable[ImapSession]:
        """Who listens to an account."""
        return tuple(self._sessions.get(account, ()))

    def add(self, account: str, session: ImapSession) -> None:
        """A session wants news of an account's mailboxes."""
        sessions = self._sessions.get(account)
        if sessions is None:
            sessions = self._sessions[account] = set()
            self._subscribe(account)
        elif (ending := self._deserted.pop(account, None)) is not None:
            ending.cancel()
        sessions.add(session)
        session.hears.add(account)

    def discard(self, session: ImapSession) -> None:
        """A session is over."""
        for account in session.hears:
            sessions = self._sessions[account]
            sessions.discard(session)
            if not sessions:
                self._deserted[account] = self._loop.call_later(self.keep, self._end, account)
        session.hears.clear()
        while len(self._deserted) > MOST:
            self._end(next(iter(self._deserted)))

    def _end(self, account: str) -> None:
        self._deserted.pop(account).cancel()
        del self._sessions[account]
        self._unsubscribe(account)
