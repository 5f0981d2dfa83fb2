"""The shape of fancymail.toml as a whole: one attribute per section, in the order in which people read them.

Each section is a file beside this one, named as its table; `load.py` reads a file into `Settings`, `reference.py` writes
etc/fancymail.toml from the same declarations. Nothing here reads a file.
"""

from __future__ import annotations

from .auth import Auth
from .imap import Imap
from .ipc import Ipc
from .log import Log
from .mailbox import Mailbox
from .pop3 import Pop3
from .queue import Queue
from .section import Section
from .server import Server
from .smtpin import SmtpIn
from .smtpout import SmtpOut
from .storage import Storage
from .tls import Tls


class Settings(Section):
    """The whole configuration."""

    server: Server = Server()
    ipc: Ipc = Ipc()
    log: Log = Log()
    tls: Tls = Tls()
    storage: Storage = Storage()
    auth: Auth = Auth()
    queue: Queue = Queue()
    smtpin: SmtpIn = SmtpIn()
    smtpout: SmtpOut = SmtpOut()
    mailbox: Mailbox = Mailbox()
    pop3: Pop3 = Pop3()
    imap: Imap = Imap()
