"""What the verbs refuse, in the words of IMAP: a status of RFC 3463 becomes a response code of RFC 5530.

Used by servers/imap/session.py and its handlers. Values only.
"""

from __future__ import annotations

from fancymail.ipc.message import IpcError

CODES = {
    "4.3.0": b"SERVERBUG", "4.4.1": b"UNAVAILABLE", "4.4.5": b"UNAVAILABLE", "4.2.1": b"INUSE", "5.1.1": b"NONEXISTENT", "5.2.0": b"NONEXISTENT",
    "5.2.1": b"ALREADYEXISTS", "5.2.2": b"OVERQUOTA", "4.2.2": b"OVERQUOTA", "5.3.4": b"TOOBIG", "5.5.1": b"CANNOT", "5.5.4": b"CANNOT",
    "5.7.1": b"NOPERM", "5.3.0": b"CORRUPTION"}


def code_of(error: IpcError) -> bytes:
    """The response code of an error, b"" for none."""
    return CODES.get(error.status, b"UNAVAILABLE" if error.temporary else b"")


class Refusal(Exception):
    """The answer to a command is NO, with these words. A handler may raise it anywhere before it answers."""

    def __init__(self, text: str, code: bytes = b"") -> None:
        super().__init__(text)
        self.text, self.code = text, code
