"""The table of commands: what each is called, how its arguments are read, in which states it may be said, what must be offered for it.

Looked up by server.py for every line. The commands that the engine answers by itself stand in server.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import commands as c
from . import filters as f
from . import mailboxes as b
from . import messages as m
from . import rights as q
from . import session as s
from .cursor import Cursor
from .shapes import nothing, one_mailbox

# States as bits, so that a set of them is one number.
NOT_AUTHENTICATED, AUTHENTICATED, SELECTED, LOGOUT = 1, 2, 4, 8
LOGGED_IN = AUTHENTICATED | SELECTED
ANY = NOT_AUTHENTICATED | LOGGED_IN


class Rule(NamedTuple):
    """One command. `bare`: it has no arguments at all. `needs`: one of these extensions has to be offered, () for none."""

    read: Callable[[Cursor], object]
    states: int
    bare: bool = False
    needs: tuple[str, ...] = ()


def _bare(make: Callable[[], object], states: int, *needs: str) -> Rule:
    return Rule(nothing(make), states, True, needs)


RULES: dict[str, Rule] = {
    "ID": Rule(s.id_, ANY),
    "LOGIN": Rule(s.login, NOT_AUTHENTICATED),
    "NOOP": _bare(c.Noop, LOGGED_IN),
    "CHECK": _bare(lambda: c.Noop(True), SELECTED),
    "ENABLE": Rule(s.enable, AUTHENTICATED),                    # RFC 9051 6.3.1: before a mailbox is selected
    "SELECT": Rule(b.select, LOGGED_IN),
    "EXAMINE": Rule(b.examine, LOGGED_IN),
    "CREATE": Rule(b.create, LOGGED_IN),
    "DELETE": Rule(one_mailbox(c.Delete), LOGGED_IN),
    "RENAME": Rule(b.rename, LOGGED_IN),
    "SUBSCRIBE": Rule(one_mailbox(c.Subscribe), LOGGED_IN),
    "UNSUBSCRIBE": Rule(one_mailbox(lambda mailbox: c.Subscribe(mailbox, False)), LOGGED_IN),
    "LIST": Rule(b.list_, LOGGED_IN),
    "LSUB": Rule(b.lsub, LOGGED_IN),
    "NAMESPACE": _bare(c.Namespace, LOGGED_IN, "NAMESPACE"),
    "STATUS": Rule(b.status, LOGGED_IN),
    "IDLE": _bare(c.Idle, LOGGED_IN, "IDLE"),
    "COMPRESS": Rule(s.compress, LOGGED_IN, False, ("COMPRESS=DEFLATE",)),
    "GETQUOTA": Rule(q.get_quota, LOGGED_IN, False, ("QUOTA",)),
    "GETQUOTAROOT": Rule(one_mailbox(c.GetQuotaRoot), LOGGED_IN, False, ("QUOTA",)),
    "SETQUOTA": Rule(q.set_quota, LOGGED_IN, False, ("QUOTA", "QUOTASET")),
    "GETMETADATA": Rule(q.get_metadata, LOGGED_IN, False, ("METADATA", "METADATA-SERVER")),
    "SETMETADATA": Rule(q.set_metadata, LOGGED_IN, False, ("METADATA", "METADATA-SERVER")),
    "SETACL": Rule(q.set_acl, LOGGED_IN, False, ("ACL",)),
    "DELETEACL": Rule(q.delete_acl, LOGGED_IN, False, ("ACL",)),
    "GETACL": Rule(one_mailbox(c.GetAcl), LOGGED_IN, False, ("ACL",)),
    "LISTRIGHTS": Rule(q.list_rights, LOGGED_IN, False, ("ACL",)),
    "MYRIGHTS": Rule(one_mailbox(c.MyRights), LOGGED_IN, False, ("ACL",)),
    "NOTIFY": Rule(f.notify, LOGGED_IN, False, ("NOTIFY",)),
    "ESEARCH": Rule(m.multi_search, LOGGED_IN, False, ("MULTISEARCH",)),
    "CLOSE": _bare(lambda: c.Close(True), SELECTED),
    "UNSELECT": _bare(lambda: c.Close(False), SELECTED, "UNSELECT"),
    "EXPUNGE": _bare(c.Expunge, SELECTED),
    "UID EXPUNGE": Rule(m.uid_expunge, SELECTED, False, ("UIDPLUS",)),
    "SEARCH": Rule(m.search, SELECTED),
    "UID SEARCH": Rule(m.uid_search, SELECTED),
    "CANCELUPDATE": Rule(m.cancel_update, SELECTED, False, ("CONTEXT=SEARCH", "CONTEXT=SORT")),
    "SORT": Rule(m.sort, SELECTED, False, ("SORT",)),
    "UID SORT": Rule(m.uid_sort, SELECTED, False, ("SORT",)),
    "THREAD": Rule(m.thread, SELECTED, False, ("THREAD=REFERENCES", "THREAD=ORDEREDSUBJECT")),
    "UID THREAD": Rule(m.uid_thread, SELECTED, False, ("THREAD=REFERENCES", "THREAD=ORDEREDSUBJECT")),
    "FETCH": Rule(m.fetch, SELECTED),
    "UID FETCH": Rule(m.uid_fetch, SELECTED),
    "STORE": Rule(m.store, SELECTED),
    "UID STORE": Rule(m.uid_store, SELECTED),
    "COPY": Rule(m.copy, SELECTED),
    "UID COPY": Rule(m.uid_copy, SELECTED),
    "MOVE": Rule(m.move, SELECTED, False, ("MOVE",)),
    "UID MOVE": Rule(m.uid_move, SELECTED, False, ("MOVE",)),
}
# These come in pieces and are read by appending.py.
APPENDING: dict[str, tuple[int, tuple[str, ...]]] = {
    "APPEND": (LOGGED_IN, ()), "REPLACE": (SELECTED, ("REPLACE",)), "UID REPLACE": (SELECTED, ("REPLACE",))}
