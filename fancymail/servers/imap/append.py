"""Messages that clients bring: APPEND, MULTIAPPEND, REPLACE. Small ones are kept in memory, others go to a file as they come.

Part of servers/imap/session.py. Nothing is in a mailbox before all messages of the command are whole; then all are, by one verb. A client that
goes away in the middle leaves nothing behind.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fancymail.mail.envelope import Envelope
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap import responses as r
from fancymail.servers.asking.store import Letter
from fancymail.servers.imap.places import Place, target
from fancymail.servers.imap.refusals import Refusal
from fancymail.storage.slots import SlotWriter

if TYPE_CHECKING:
    from fancymail.servers.imap.session import ImapSession

IN_MEMORY = 64 * 1024           # octets of a message that travel within the verb
ASK = 1024 * 1024               # octets of a message from which on the quota is asked about before it is sent
MOST_IN_MEMORY = 1024 * 1024    # octets of all messages of one command


class Upload:
    """The messages of one command, as far as they came."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self._folder = place, folder
        self.replacing: tuple[str, int, int] | None = None
        self._letters: list[Letter] = []
        self._held = 0                          # octets in memory
        self._message: c.AppendMessage | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: SlotWriter | None = None
        self._broken: OSError | None = None

    @property
    def size(self) -> int:
        """Octets of the message that have come."""
        return self._size

    def begin(self, event: c.AppendMessage) -> None:
        """A message begins."""
        self._message, self._pieces, self._size = event, [], 0

    def add(self, data: bytes) -> None:
        """Some of its octets; those of a message that cannot be kept are read on and forgotten, `end` says why."""
        if self._broken is None:
            try:
                self._keep(data)
            except OSError as error:
                self._broken = error

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._file is None and (self._size > IN_MEMORY or self._held + self._size > MOST_IN_MEMORY):
            self._folder.mkdir(mode=0o770, parents=True, exist_ok=True)
            self._file = SlotWriter(self._folder / f"imap-{secrets.token_hex(12)}")
            for piece in self._pieces:
                self._file.write(piece)
            self._pieces.clear()
        if self._file is not None:
            self._file.write(data)
        else:
            self._pieces.append(data)

    def end(self) -> None:
        """The message is whole. Raises OSError, Refusal."""
        message, self._message = self._message, None
        if message is None:
            return
        if self._broken is not None:
            raise self._broken
        if not self._size:                      # RFC 3502 6.3.11; CATENATE can put one together out of nothing
            raise Refusal("an empty message is not kept")
        content: bytes | Path = b"".join(self._pieces)
        if self._file is not None:
            file, self._file = self._file, None
            content = Path(file.path)
            file.finish(Envelope(id="", sender=""))
        else:
            self._held += len(content)
        when = int(time.time()) if message.internaldate is None else message.internaldate
        self._letters.append(Letter(content, when, list(message.flags)))

    def letters(self) -> list[Letter]:
        """Hand all messages out; their files belong to who takes them."""
        letters, self._letters = self._letters, []
        return letters

    def forget(self) -> None:
        """Remove what came."""
        file, self._file = self._file, None
        paths = [letter.content for letter in self._letters if isinstance(letter.content, Path)]
        if file is not None:
            file.abort()
            paths.append(Path(file.path))
        self._letters.clear()
        for path in paths:
            path.unlink(missing_ok=True)


async def begin(session: ImapSession, event: c.AppendMessage) -> None:
    """May this message come?"""
    limit = session.daemon.settings.imap.append_limit
    if event.size > limit:
        raise Refusal(f"a message has at most {limit} octets", b"TOOBIG")
    if session.upload is None or event.number == 0:
        forget(session)
        place = await target(session, event.mailbox)
        session.upload = Upload(place, session.daemon.incoming)
        if event.replaces:
            session.upload.replacing = _replaced(session, event)
    upload = session.upload
    _end_message(session, upload)
    if event.size > ASK:
        usage = await session.store.usage(upload.place.owner)
        if usage.quota and usage.usage.octets + event.size > usage.quota:
            raise Refusal("the mailbox is full", b"OVERQUOTA")
    upload.begin(event)
    session.engine.go_ahead()


def _replaced(session: ImapSession, event: c.AppendMessage) -> tuple[str, int, int]:
    """The owner, mailbox and UID of the message that REPLACE replaces (RFC 8508 3)."""
    view = session.view
    if view.read_only:
        raise Refusal("the mailbox was opened for reading only", b"READ-ONLY")
    session.place.need("e", "t")
    if event.uid:
        uid = event.replaces if view.sequence(event.replaces) else 0
    else:
        number = view.count if event.replaces == c.LAST else event.replaces
        uid = view.uids[number - 1] if 0 < number <= view.count else 0
    if not uid:
        raise Refusal("there is no such message to replace", b"NONEXISTENT")
    return session.box.account, session.box.mailbox, uid


def _end_message(session: ImapSession, upload: Upload) -> None:
    try:
        upload.end()
    except OSError as error:
        _no_room(session, error)


def _no_room(session: ImapSession, error: OSError) -> None:
    forget(session)
    session.daemon.log.error("cannot keep what is appended", account=session.account, error=error)
    raise Refusal(f"the message cannot be kept: {os.strerror(error.errno or 0)}", b"SERVERBUG")


def add(session: ImapSession, event: c.AppendData) -> None:
    """Octets of a message."""
    if session.upload is not None:
        session.upload.add(event.data)


async def end(session: ImapSession, event: c.AppendEnd) -> None:
    """All messages are whole: keep them."""
    upload = session.upload
    _end_message(session, upload)
    session.upload = None
    place, letters = upload.place, upload.letters()
    appended = await session.store.append(place.owner, place.mailbox.name, letters, upload.replacing)
    code = r.appenduid(appended.uidvalidity, [(appended.first, appended.first + appended.count - 1)])
    if session.box is not None and (place.mailbox.id == session.box.mailbox or upload.replacing):
        await session.box.renew()
    if upload.replacing:                        # RFC 8508 3.1: the new UID, then the old message goes
        session.engine.untagged(r.ok("replaced", code))
        session.flush(own=True)
        code = b""
    session.finish(code=code)


def forget(session: ImapSession, event: c.AppendFailed | None = None) -> None:
    """The command broke off."""
    upload, session.upload = session.upload, None
    if upload is not None:
        upload.forget()


HANDLERS = {c.AppendMessage: begin, c.AppendData: add, c.AppendEnd: end, c.AppendFailed: forget}
