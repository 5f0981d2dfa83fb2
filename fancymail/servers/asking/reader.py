"""Reading mailboxes by the verb `read` of fm-mailbox (ports.reader.Reader): for who has no shards on his machine.

`peer()` gives the connection, as Daemon.peer("mailbox") does. It keeps nothing; what it gives is what SqliteReader gives there.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Sequence

import msgspec

from fancymail.ipc.client import Client
from fancymail.ipc.message import IpcError
from fancymail.mail.uidset import Ranges
from fancymail.servers.asking.store import octet_frames
from fancymail.storage.ports.mailboxes import Mailbox, State
from fancymail.storage.ports.reader import Changes, Content, Loaded, MailboxGone, Shared

PATIENCE = 120.0                # seconds between two pieces of an answer

_decode = msgspec.msgpack.Decoder().decode


class VerbReader:
    """All accounts."""

    def __init__(self, peer: Callable[[], Client]) -> None:
        self.peer = peer

    async def ask(self, account: str, call: str, *arguments):
        """Have a call done there. Raises MailboxGone, KeyError (the content is lost), IpcError."""
        try:
            _, octets = await self.peer().read_raw("read", account, call, *octet_frames(json.dumps(arguments).encode()), timeout=PATIENCE)
        except IpcError as error:
            if error.status == "5.2.0":
                raise MailboxGone(error.text) from None
            if error.status == "5.3.0":
                raise KeyError(error.text) from None
            raise
        return _decode(octets)

    async def mailboxes(self, account: str) -> list[Mailbox]:
        """All of an account."""
        return list(map(Mailbox._make, await self.ask(account, "mailboxes")))

    async def mailbox(self, account: str, name: str) -> Mailbox | None:
        """One, or None."""
        row = await self.ask(account, "mailbox", name)
        return None if row is None else Mailbox._make(row)

    async def subscriptions(self, account: str) -> list[str]:
        """Subscribed names."""
        return await self.ask(account, "subscriptions")

    async def metadata(self, account: str, mailbox: int = 0) -> dict[str, bytes]:
        """Entries of a mailbox or of the account."""
        return await self.ask(account, "metadata", mailbox)

    async def acl(self, account: str, mailbox: int) -> dict[str, str]:
        """Identifier -> rights."""
        return await self.ask(account, "acl", mailbox)

    async def shared(self, account: str) -> list[Shared]:
        """What others gave an account rights to."""
        return [Shared(owner, Mailbox._make(box), rights) for owner, box, rights in await self.ask(account, "shared")]

    def open(self, account: str, mailbox: int) -> VerbBox:
        """One mailbox."""
        return VerbBox(self, account, mailbox)

    def close(self) -> None:
        """The connection is the daemon's."""


class VerbBox:
    """One mailbox (ports.reader.BoxReader)."""

    __slots__ = ("reader", "account", "mailbox")

    def __init__(self, reader: VerbReader, account: str, mailbox: int) -> None:
        self.reader, self.account, self.mailbox = reader, account, mailbox

    async def load(self) -> Loaded:
        """All of it."""
        box, keywords, columns = await self._ask("load")
        arrays = array("I"), array("Q"), array("Q")
        for there, octets in zip(arrays, columns):
            there.frombytes(octets)
        return Loaded(Mailbox._make(box), keywords, *arrays)

    async def changes(self, modseq: int, uidnext: int) -> Changes:
        """What became of it since."""
        box, keywords, states, vanished = await self._ask("changes", modseq, uidnext)
        return Changes(Mailbox._make(box), keywords, list(map(State._make, states)), None if vanished is None else list(map(tuple, vanished)))

    async def columns(self, names: Sequence[str], uids: Ranges, kept: bool = False) -> list[tuple]:
        """Values in bulk."""
        return list(map(tuple, await self._ask("columns", list(names), uids, kept))) if uids else []

    async def octets(self, content: Content, start: int = 0, length: int | None = None) -> bytes:
        """Octets of a message."""
        return await self._ask("octets", content.uid, start, length)

    async def matching(self, words: Sequence[str], place: str, uids: Ranges) -> list[int]:
        """UIDs of those with all the words."""
        return await self._ask("matching", list(words), place, uids)

    async def _ask(self, call: str, *arguments):
        return await self.reader.ask(self.account, call, self.mailbox, *arguments)
