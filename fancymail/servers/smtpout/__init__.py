"""fm-smtpout: mail goes out from here.

    daemon.py       takes from the queue, the verb `send`, settings
    dispatch.py     one message: which recipients go where, what is told to the queue and to the sender
    carriage.py     one attempt at it: who travels together, and the mark of an alias that leads away
    outgoing.py     the message's slot, opened and checked
    destination.py  one attempt at one destination: its hosts in order
    nexthop.py      which hosts those are; resolver.py and dnswire.py ask the DNS
    pool.py         connections that are kept and shared; link.py is one of them
"""

from .daemon import SmtpOutServer

__all__ = ["SmtpOutServer"]
