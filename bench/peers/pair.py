"""Postfix handing to Dovecot's LMTP: the pair that most people run. One server to the works: accepting, delivering, letting read."""

from __future__ import annotations

from pathlib import Path

from bench.peers.dovecot import Dovecot
from bench.peers.postfix import Postfix


class PostfixDovecot:
    """Both, each in its own room (or both on the machine)."""

    name = "Postfix + Dovecot"
    user, password = Dovecot.user, Dovecot.password

    def __init__(self, folder: Path, postfix_room=None, dovecot_room=None, processes: int = 100) -> None:
        self.dovecot = Dovecot(Path(folder) / "dovecot", room=dovecot_room, lmtp=True)
        self.postfix = Postfix(Path(folder) / "postfix", "lmtp", self.dovecot.lmtp_port, postfix_room, processes)

    def __enter__(self):
        self.dovecot.__enter__()
        try:
            self.postfix.__enter__()
        except BaseException:
            self.dovecot.stop()
            raise
        self.port, self.imap_port, self.pop3_port = self.postfix.port, self.dovecot.imap_port, self.dovecot.port
        self.roots = [*self.postfix.roots, *self.dovecot.roots]
        return self

    def __exit__(self, *exc) -> None:
        self.postfix.stop()
        self.dovecot.stop()

    def delivered(self) -> int:
        return self.dovecot.delivered()

    def waiting(self) -> int:
        return self.postfix.waiting()
