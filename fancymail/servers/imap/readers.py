"""Where fm-imap reads mailboxes: the shards of this machine, or fm-mailbox by its verbs where it runs elsewhere.

Used by servers/imap/daemon.py. The two say the same (storage/ports/reader.py); on one machine the files need no copy and no hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fancymail.servers.mailreader import VerbReader
from fancymail.storage.ports.reader import Reader
from fancymail.storage.sqlite.reader import SqliteReader

if TYPE_CHECKING:
    from fancymail.servers.imap.daemon import ImapDaemon


def open_reader(daemon: ImapDaemon) -> Reader:
    """Return the reader that fits where fm-mailbox runs."""
    if daemon.settings.ipc.peers.get("mailbox", "").startswith("tcp:"):
        return VerbReader(lambda: daemon.peer("mailbox"))
    return SqliteReader(daemon.paths.mail, daemon.settings.mailbox.shards, derive=daemon.derive, run=daemon.beside)
