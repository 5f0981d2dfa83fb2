"""What fm-imap decides for one client. Commands come from ImapServer as values; each kind has its handler in a module beside this one.

Made by servers/imap/daemon.py for each connection; driven by servers/doors/connection.py. What waits for nothing is done in the same turn of the
loop. Here are the things that all handlers share: the view, when it may change, how an error is said, and news for a client that waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from fancymail.core.imap.context import Context
from fancymail.core.imap.view import NoSuchNumber, View
from fancymail.ipc.message import IpcError
from fancymail.mail.mailbox import INBOX
from fancymail.protocol.imap import responses as r
from fancymail.protocol.imap.commands import Fetch, Login, SaslCancelled, SaslStep
from fancymail.protocol.imap.server import ImapServer
from fancymail.servers.doors.connection import Connection, Session
from fancymail.servers.doors.eager import begin
from fancymail.servers.imap import append, boxes, catenate, finding, rights, selected, talk, watching
from fancymail.servers.imap.images import Box
from fancymail.servers.imap.login import Entrance
from fancymail.servers.imap.places import Place
from fancymail.servers.imap.refusals import Refusal, code_of
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.ports.reader import MailboxGone

if TYPE_CHECKING:
    from fancymail.servers.imap.daemon import ImapDaemon

PATIENCE = 10.0                 # seconds after which a client is told that its command is still under way, and again (RFC 9585 3)
SLOW = 1.0                      # seconds after which a client that does not read is told its news, at the earliest


class ImapSession(Session):
    """One client. `account` is empty until it is logged in; `box` and `view` are None unless a mailbox is selected."""

    def __init__(self, daemon: ImapDaemon, connection: Connection, engine: ImapServer) -> None:
        self.daemon, self.connection, self.engine = daemon, connection, engine
        self.reader, self.store = daemon.reader, daemon.store       # where mailboxes are read, and where they are changed
        self.most = engine.options.message_limit                    # messages that one command works on, 0 for all (RFC 9738)
        self.account = ""
        self.box: Box | None = None
        self.view: View | None = None
        self.place: Place | None = None
        self.entrance: Entrance | None = Entrance(self)
        self.upload: append.Upload | None = None
        self.waiting = False            # the client listens (IDLE, NOTIFY): news go out as they come
        self.watches = False            # NOTIFY is on
        self.notified: watching.Notified | None = None      # what it asked to be told
        self.contexts: list[Context] = []                   # searches that go on
        self.notices: list[bytes] = []                      # what is to be said behind the command that is under way
        self.hears: set[str] = set()                        # accounts of whose mailboxes it wants news
        self._enabled = 0
        self._ending = ""               # the word with which the session ends once its command is through
        self._timer: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None   # while a command takes its time
        self._waits = False             # a command that was begun goes on later

    def handle(self, event) -> Awaitable | None:
        """Decide about one event; most decisions wait for nothing."""
        if len(self.engine.enabled) != self._enabled:
            self.tune()
        try:
            work = _HANDLERS[type(event)](self, event)
            if work is None or (rest := begin(work)) is None:
                return None
        except _ANSWERED as error:
            return self._fail(error)
        if type(event) is not Fetch:            # FETCH shows by itself how far it is, and may be inside of a literal
            self._patience = self.daemon.loop.call_later(PATIENCE, self._still)
        self._waits = True
        return self._go_on(rest)

    async def _go_on(self, rest: Awaitable) -> None:
        """What is left of a decision that has to wait."""
        try:
            await rest
        except _ANSWERED as error:
            self._fail(error)
        finally:
            self._waits = False
            self._calm()
            if self.connection.closed:
                self._let_go()
        if self._ending:
            self.engine.bye(self._ending)

    def _fail(self, error: Exception) -> None:
        """Say why a command could not be done."""
        if isinstance(error, NoSuchNumber):
            self.engine.bad(str(error))
        elif isinstance(error, Refusal):
            append.forget(self)
            self.engine.no(error.text, error.code)
        elif isinstance(error, IpcError):
            append.forget(self)
            self.refuse(error)
        elif isinstance(error, StoreFailed):
            self.refuse(IpcError("4.3.0", f"the mailboxes cannot be read: {error}"))
        else:
            self.missing()

    def _still(self) -> None:
        """The command takes its time: say so (RFC 9585)."""
        self._patience = self.daemon.loop.call_later(PATIENCE, self._still)
        if self.account and self.engine.busy and not self.connection.stalled:
            self.engine.untagged(r.inprogress(self.engine.tag))
            self.connection.flush()

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def refuse(self, error: IpcError) -> None:
        """Say what a verb refused, in RFC 5530's words."""
        if error.temporary:
            self.daemon.log.warning("cannot do", account=self.account, command=self.engine.command, status=error.status, reason=error.text)
        self.engine.no(error.text, code_of(error))

    def closed(self) -> None:
        """The client is gone; a command that is under way goes on to its end with what it has."""
        if self.entrance is not None:
            self.entrance.forget()
        if self._timer is not None:
            self._timer.cancel()
        self._calm()
        if not self._waits:
            self._let_go()

    def _let_go(self) -> None:
        """Hold nothing any more."""
        if self.upload is not None:
            self.upload.forget()
        self.waiting = False
        self.leave()
        self.daemon.left(self)

    def drain(self) -> None:
        """The daemon goes away: end behind the command that is under way."""
        self.engine.leave()

    def end(self, reason: str) -> None:
        """End the session, after the command that is under way."""
        self._ending = reason
        if not self.engine.busy:
            self.engine.bye(reason)
            self.connection.advance()

    # -- logging in --------------------------------------------------------------------------------------------------

    async def enter(self, account: str, how: str) -> None:
        """The user is who it says."""
        if await self.reader.mailbox(account, INBOX) is None:       # nobody has looked yet: fm-mailbox makes the default folders
            await self.daemon.peer("mailbox").rows("folders", account, timeout=self.daemon.settings.ipc.deadline)
        if self.connection.closed:
            return
        self.account, self.entrance = account, None
        self.daemon.entered(self)
        self.daemon.log.info("login", account=account, client=self.connection.peer, how=how,
                             tls=self.connection.tls.version if self.connection.tls else "no")
        self.engine.logged_in("welcome")

    # -- the selected mailbox ----------------------------------------------------------------------------------------

    def look_at(self, box: Box, view: View, place: Place) -> None:
        """A mailbox is selected."""
        self.box, self.view, self.place = box, view, place

    def tune(self, view: View | None = None) -> None:
        """Have the view say things as the client enabled them."""
        enabled, view = self.engine.enabled, view or self.view
        self._enabled = len(enabled)
        if view is not None:
            view.condstore, view.qresync, view.uidonly = "CONDSTORE" in enabled, "QRESYNC" in enabled, "UIDONLY" in enabled
            view.rev2, view.utf8 = "IMAP4REV2" in enabled, self.engine.utf8

    def leave(self) -> None:
        """No mailbox is selected any more."""
        box, self.box, self.view, self.place, self.contexts = self.box, None, None, None, []
        if box is not None:
            self.daemon.images.leave(box, self)

    def missing(self) -> None:
        """A mailbox went while it was read: the selected one, or another."""
        if self.box is not None and self.box.gone:
            self.lost()
        else:
            self.engine.no("the mailbox was removed meanwhile", b"NONEXISTENT")

    def lost(self) -> None:
        """The selected mailbox was removed by somebody: the numbers that the client knows mean nothing any more."""
        self.leave()
        self.engine.bye("the selected mailbox was removed")

    async def pause(self) -> None:
        """Let others have their turn."""
        await asyncio.sleep(0)

    def finish(self, text: str = "", code: bytes = b"", numbers: bool = False, uid: bool = False, lowest: int = 0, remark: bytes = b"") -> None:
        """Tell what happened meanwhile, as far as it may be told now, and that the command is done.

        numbers: it was a command during which sequence numbers may not move (RFC 9051 7.5.1); uid: its numbers were UIDs; lowest: the lowest
        UID that it worked on, where it named more messages than one command may; remark: a code that yields to all others."""
        self.flush(numbers, uid)
        if numbers and self.view is not None and self.view.held and not code:
            code = b"EXPUNGEISSUED"             # RFC 2180, RFC 5530 3
        code = code or remark
        if lowest and code:                     # RFC 9738 3.1: there is room for one code
            self.engine.untagged(r.no("done for the highest UIDs", r.messagelimit(self.most, lowest)))
        elif lowest:
            text, code = "done for the highest UIDs", r.messagelimit(self.most, lowest)
        self.engine.ok(text, code)

    def flush(self, numbers: bool = False, uid: bool = False, own: bool = False) -> None:
        """Tell what happened; EXPUNGE only where no number can be misunderstood, or where it is what was asked for (`own`)."""
        engine, view = self.engine, self.view
        if self.notices:
            notices, self.notices = self.notices, []
            engine.untagged(*notices)
        if view is not None:
            may_expunge = own or not numbers and not (engine.inbox and engine.numbers_follow())
            if self.contexts or self.watches:
                watching.flush(self, may_expunge, uid)
            elif lines := view.flush(may_expunge, uid):
                engine.untagged(*lines)

    # -- news --------------------------------------------------------------------------------------------------------

    def account_changed(self) -> None:
        """Something became of the account's mailboxes."""
        watching.changed(self)

    def tell_notices(self) -> None:
        """Say what was waiting for the end of a command."""
        notices, self.notices = self.notices, []
        self.engine.untagged(*notices)
        self.connection.advance()

    def news(self) -> None:
        """The image has changed and the client waits: tell it in a moment, with what else comes until then."""
        if self._timer is None:
            self._timer = self.daemon.loop.call_later(self.daemon.settings.imap.push, self._push)

    def _push(self) -> None:
        self._timer = None
        if not self.waiting or self.connection.closed or self.engine.busy:
            return                              # a command that is under way ends with all there is to say
        if self.connection.stalled:             # who does not read hears later, and then only how it is by then
            self._timer = self.daemon.loop.call_later(SLOW, self._push)
            return
        if self.box is not None and self.box.gone:
            self.lost()
        else:
            self.flush(numbers=watching.holds_expunges(self))
        self.connection.advance()


_ANSWERED = (Refusal, NoSuchNumber, IpcError, StoreFailed, MailboxGone)
_HANDLERS = {Login: lambda session, event: session.entrance.login(event), SaslStep: lambda session, event: session.entrance.step(event),
             SaslCancelled: lambda session, event: session.entrance.cancelled(event),
             **talk.HANDLERS, **boxes.HANDLERS, **rights.HANDLERS, **append.HANDLERS, **catenate.HANDLERS,
             **selected.HANDLERS, **finding.HANDLERS, **watching.HANDLERS}
