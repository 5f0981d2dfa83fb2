"""Mailboxes, and how fm-mailbox keeps them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from .section import Section, say

DAY = 86400.0


class Mailbox(Section):
    """The mailboxes of this server's accounts."""

    shards: Annotated[int, say(
        "Database files over which the accounts are divided; cannot change once there is mail.", ge=1, le=64)] = 1
    folders: Annotated[dict[str, str], say(
        "Mailboxes that an account begins with besides INBOX, each with its special use (RFC 6154), or with \"\".")] = msgspec.field(
            default_factory=lambda: {"Drafts": "\\Drafts", "Sent": "\\Sent", "Junk": "\\Junk", "Trash": "\\Trash", "Archive": "\\Archive"})
    queue: Annotated[str, say("The queue whose messages are delivered here.", pattern=r"^[a-z][a-z0-9-]{0,31}$")] = "incoming"
    batch: Annotated[int, say("Messages delivered with one commit, at most.", ge=1, le=500)] = 64
    undelete: Annotated[float, say("Seconds for which expunged messages are kept and can be brought back.", ge=0)] = 7 * DAY
    remember: Annotated[float, say(
        "Seconds for which a delivery is remembered so that it is not made twice; longer than a message can stay in a queue.", ge=DAY)] = 12 * DAY
    blob_grace: Annotated[float, say("Seconds between the last mention of a content and its removal.", ge=60)] = DAY
    changes: Annotated[int, say("Changes kept for each mailbox, for clients that have been away.", ge=100)] = 1000
    store_limit: Annotated[int, say("Octets of a message that `store` takes, at most.", ge=1024)] = 50 << 20
    lock: Annotated[float, say("Seconds after which exclusive access to a maildrop ends unless it is renewed.", ge=5)] = 60.0
    trust: Annotated[float, say("Seconds for which fm-auth's word that an account exists is good.", ge=0)] = 60.0
    cache: Annotated[int, say("Octets of memory for pages of the databases.", ge=1 << 20)] = 32 << 20
    quota_warning: Annotated[float, say(
        "Share of the quota from which on an account is sent one letter of warning; 1: nobody is.", ge=0.1, le=1)] = 0.9
    search_index: Annotated[int, say(
        "Messages that an account must have for its texts to be indexed; less is searched fast enough without.", ge=0)] = 1000
