"""The queues and how fm-queue keeps them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from .section import Section, say


class QueueOptions(Section):
    """One queue."""

    lease: Annotated[float, say("Seconds that a consumer may work on a message before it must renew or settle it.", ge=1)] = 600.0
    longest_defer: Annotated[float, say("Seconds; no message is deferred for longer at once.", ge=1)] = 86400.0
    deaths: Annotated[int, say("Consumers in a row that may vanish with a message before it is set aside as dead.", ge=1)] = 3


QueueName = Annotated[str, say("a-z, 0-9 and hyphens, at most 32.", pattern=r"^(?!(dead|corrupt)$)[a-z][a-z0-9-]{0,31}$")]


class Queue(Section):
    """The queues: folders below STATE/queues with a slot file for each message."""

    queues: Annotated[dict[QueueName, QueueOptions], say(
        "The queues by name: fm-mailbox takes from `incoming`, fm-smtpout from `outgoing`; further ones are for programs of yours.")] = msgspec.field(
            default_factory=lambda: {"incoming": QueueOptions(), "outgoing": QueueOptions()})
    free_octets: Annotated[int, say("Octets that must be free on the spool's filesystem, or no slot is given (4.3.1).", ge=0)] = 256 << 20
    free_files: Annotated[int, say("Files (inodes) that must be free there.", ge=0)] = 1000
    orphan_age: Annotated[float, say(
        "Seconds after which a slot that was never pushed is removed, counted while fm-queue runs.", ge=86400)] = 129600.0
    restart_grace: Annotated[float, say(
        "Seconds after a start in which consumers of before it may settle or renew what they hold.", ge=0)] = 10.0
    recycle: Annotated[bool, say(
        "Write new messages over the files of settled ones, of which up to 128 MiB are kept with their old contents: much faster on ext4.")] = True
    cache: Annotated[int, say("Octets of memory for pages of the index.", ge=1 << 20)] = 32 << 20
