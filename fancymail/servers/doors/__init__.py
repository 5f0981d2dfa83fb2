"""Where clients connect: from a listening socket to the engine of a protocol. fm-smtpin, fm-pop3 and fm-imap stand on it.

    front.py        the daemon's side: doors, certificates, the end of sessions whose account was changed
    listener.py     who is let in; connection.py drives one engine for one client; eager.py begins what mostly does not wait
    channel.py      octets in and out; tls.py and deflate.py stand between it and the engine
"""
