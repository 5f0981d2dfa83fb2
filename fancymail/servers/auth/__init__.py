"""fm-auth: accounts and who may use them.

    daemon.py       the verbs: users, domains, aliases, grants
    logins.py       checking one password without being flooded, guessed or measured
    exchanges.py    the SASL exchanges under way
"""

from .daemon import AuthServer

__all__ = ["AuthServer"]
