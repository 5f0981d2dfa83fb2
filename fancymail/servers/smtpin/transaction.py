"""One message on its way in: its envelope, and the slots that its content is streamed into.

Made by session.py at MAIL. Local recipients share one slot of the queue `incoming`, remote ones one of `outgoing`; a message for
both is written into both as it comes. Nothing of it is anybody's mail before the queue said ok to every push.
"""

from __future__ import annotations

import errno
import os

from fancymail.core.reception import DISK_FULL, TEMPORARY, Refusal, Route
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.mail.trace import mark, marks
from fancymail.protocol.smtp.events import Mail, Rcpt
from fancymail.servers.smtpin.slots import SlotPool
from fancymail.storage.ports.spool import Told
from fancymail.storage.slots import SlotError, SlotWriter

QUEUES = {"local": "incoming", "remote": "outgoing"}
SHOWN = 50                           # recipients that the queue is told, for an operator's eyes
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Transaction:
    """Sender and recipients, then content. `refusal` is set once something is wrong with it; the client hears it at the end."""

    __slots__ = ("mail", "recipients", "accepted", "forwarded", "writers", "refusal", "octets")

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.recipients: dict[str, dict[str, Recipient]] = {}       # queue -> address -> recipient
        self.accepted: list[str] = []                               # as given in RCPT
        self.forwarded: dict[str, str] = {}                         # accepted -> the alias of ours that leads away
        self.writers: list[tuple[SlotPool, SlotWriter]] = []
        self.refusal: Refusal | None = None
        self.octets = 0

    def add(self, event: Rcpt, given: str, routes: list[Route]) -> None:
        """Take a recipient, `given` with its domain. The same one again changes nothing: it gets one delivery."""
        for kind, address in routes:
            known = self.recipients.setdefault(QUEUES[kind], {})
            original = given if address != given else ""
            if address not in known:
                known[address] = Recipient(address, original, event.orcpt, event.notify)
            if original and kind == "remote":
                self.forwarded[event.address] = original
        self.accepted.append(event.address)

    def loops(self, header: bytes) -> bool:
        """Whether whoever takes this message would send it round again: all that it is for have sent it away before (RFC 5321 6.3).

        If only some have, the others shall get it; fm-smtpout then gives those up that go round.
        """
        if len(self.forwarded) < len(set(self.accepted)):
            return False
        seen = marks(header)
        return bool(seen) and all(mark(address) in seen for address in self.forwarded.values())

    @property
    def queues(self) -> list[str]:
        """The queues that get a slot of this message, `incoming` first."""
        return sorted(self.recipients)

    @property
    def id(self) -> str:
        """The id of the message: its first slot's."""
        return self.writers[0][1].path.rpartition("/")[2]

    def begin(self, pools: list[SlotPool], paths: list[str]) -> None:
        """Take slots, one of each pool."""
        self.writers = [(pool, SlotWriter(path, ready=True)) for pool, path in zip(pools, paths)]

    def write(self, data: bytes) -> Exception | None:
        """Append content; the first error of the disk refuses the message."""
        if self.refusal is not None:
            return None
        try:
            for _, writer in self.writers:
                writer.write(data)
        except (OSError, SlotError) as error:
            return self._spoilt(error)
        self.octets += len(data)
        return None

    def refuse(self, refusal: Refusal) -> None:
        """Give the message up; what still comes of it is dropped."""
        self.refusal = refusal
        self.abort()

    def finish(self, envelope: Envelope) -> list[tuple[str, str, Told]] | Exception:
        """Close all slots; return (queue, path, what it holds) of each, or the disk's error."""
        finished = []
        try:
            for pool, writer in self.writers:
                envelope.recipients = recipients = list(self.recipients[pool.queue].values())
                info = writer.finish(envelope)
                shown = [recipient.address for recipient in recipients[:SHOWN]]
                told = Told(info.content_length, info.sha256, envelope.id, envelope.sender, shown, len(recipients))
                finished.append((pool.queue, writer.path, told))
        except (OSError, SlotError) as error:
            self._take_back([path for _, path, _ in finished])
            return self._spoilt(error)
        self.writers = []
        return finished

    def abort(self) -> None:
        """Let go of the slots; they may serve another message."""
        writers, self.writers = self.writers, []
        for pool, writer in writers:
            writer.abort()
            pool.give_back(writer.path)

    def _take_back(self, paths: list[str]) -> None:
        """Empty slots that are whole: the queue would find a message in each. What cannot be emptied serves no other message."""
        for path in paths:
            try:
                os.truncate(path, 0)
            except OSError:
                self.writers = [(pool, writer) for pool, writer in self.writers if writer.path != path]

    def _spoilt(self, error: Exception) -> Exception:
        """A slot cannot be written. One that is gone, or is none, has neighbours that are no better: somebody was at the folder."""
        pools = [pool for pool, _ in self.writers]
        self.refuse(refusal_of(error))
        if isinstance(error, (FileNotFoundError, SlotError)):
            for pool in pools:
                pool.forget()
        return error


def refusal_of(error: Exception) -> Refusal:
    """What the client hears of an error of the disk or the queue."""
    full = getattr(error, "errno", None) in _FULL or getattr(error, "status", "") == "4.3.1"
    return DISK_FULL if full else TEMPORARY
