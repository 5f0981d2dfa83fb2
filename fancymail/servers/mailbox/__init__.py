"""fm-mailbox: the only writer of mailboxes.

    daemon.py       the verbs of the reference and of POP3, threads, timers
    verbs.py        the verbs of IMAP and webmail
    delivery.py     brings in what the queue holds; recipients.py knows who has a mailbox here
    uploads.py      what clients bring, written and synced together
    quotas.py       who is full, and who soon will be
    derivation.py   what is computed once per message, behind delivery; indexing.py fills the full-text index
    pace.py         alerts, less often; refusals.py: what the rules and the disk refuse, as errors of verbs
"""

from .daemon import MailboxServer

__all__ = ["MailboxServer"]
