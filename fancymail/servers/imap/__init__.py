"""fm-imap: users read their mail where it is. `daemon` has the ports, `session` one client, `images` the mailboxes that clients look at."""

from .daemon import ImapDaemon

__all__ = ["ImapDaemon"]
