"""fm-smtpin: mail comes in here, from servers (25), users (587, 465) and programs beside us (LMTP).

    daemon.py       ports, certificates, settings
    session.py      decides about the events of one connection
    transaction.py  one message on its way into slots
    directory.py    what auth said about recipients and senders, remembered for a while
    slots.py        slot files ahead of need; pushes of a loop turn in one message
"""

from .daemon import SmtpInServer

__all__ = ["SmtpInServer"]
