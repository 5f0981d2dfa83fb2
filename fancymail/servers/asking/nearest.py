"""Where daemons that show mail read mailboxes: the shards of this machine, the database of a cluster, or fm-mailbox by its verbs where it
runs elsewhere.

Used by fm-imap and fm-pop3. They all say the same (storage/ports/reader.py); on one machine the files need no copy and no hop.
"""

from __future__ import annotations

from typing import Any

from fancymail.mail.uidset import Ranges
from fancymail.servers.asking.reader import VerbReader
from fancymail.servers.asking.store import PATIENCE, uid_frames
from fancymail.servers.running.daemon import Daemon
from fancymail.storage.ports.reader import Reader
from fancymail.storage.sqlite.reader import SqliteReader


def open_reader(daemon: Daemon, **options: Any) -> Reader:
    """Return the reader that fits where fm-mailbox runs; options are those of SqliteReader. What was not derived yet it has fm-mailbox derive."""
    async def derive(account: str, mailbox: int, uids: Ranges) -> None:
        await daemon.ask("mailbox", "derive", account, mailbox, *uid_frames(uids), timeout=PATIENCE)

    if daemon.settings.ipc.peers.get("mailbox", "").startswith("tcp:"):
        return VerbReader(lambda: daemon.peer("mailbox"))
    if daemon.cluster is not None:
        return daemon.cluster.reader(derive)
    return SqliteReader(daemon.paths.mail, daemon.settings.mailbox.shards, derive=derive, **options)
