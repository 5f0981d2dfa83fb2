"""What the rules and the disk refuse, as errors of verbs.

Used by fm-mailbox around everything that touches its stores. It logs nothing and hides nothing that nobody foresaw.
"""

from __future__ import annotations

from fancymail.core.mailboxes import MailboxRefusal
from fancymail.ipc.message import IpcError
from fancymail.storage.ports.blobs import BadContent
from fancymail.storage.ports.mailboxes import StoreFailed
from fancymail.storage.ports.reader import MailboxGone
from fancymail.storage.slots import SlotError


class refusals:
    """`with refusals():` turns what the rules and the disk refuse into the error of a verb."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, MailboxRefusal):
            raise IpcError(error.status, error.text) from None
        if isinstance(error, MailboxGone):
            raise IpcError("5.2.0", "the mailbox is gone") from None
        if isinstance(error, SlotError):
            raise IpcError("5.5.4", str(error)) from None
        if isinstance(error, (StoreFailed, OSError)):
            raise IpcError("4.3.0", f"the mailboxes cannot be written or read: {error}") from error
        if isinstance(error, (KeyError, BadContent)):
            raise IpcError("5.3.0", f"the content of this message is lost: {error}") from error
