"""OpenSMTPD: accepting into a paused queue, or delivering to a Maildir. It does not sync its queue files; that is its default.

Its paths are compiled in, so it runs in a room only.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.peers.peer import Peer, maildir_count, wait_for_port

CONF = """
smtp limit max-mails 1000000
smtp limit max-rcpt 1000000
smtp max-message-size 50M
listen on 127.0.0.1 port {port} hostname mail.example.test
table accounts {{ "alice@example.test" = "benchmail" }}
action "deliver" maildir "{folder}/mail/alice" virtual <accounts>
match from any for domain "example.test" action "deliver"
"""


class OpenSmtpd(Peer):
    """OpenSMTPD in a room."""

    name = "OpenSMTPD"

    def __init__(self, folder: Path, mode: str = "hold", room=None) -> None:
        super().__init__(folder, room)
        self.mode = mode

    def start(self) -> None:
        self.own(self.folder / "mail")
        self._make_spool()
        conf = self.folder / "smtpd.conf"
        conf.write_text(CONF.format(port=self.port, folder=self.folder))
        self.process = subprocess.Popen(self.room.command(["smtpd", "-d", "-f", str(conf)]), stdin=subprocess.DEVNULL,
                                        stdout=(self.folder / "log").open("wb"), stderr=subprocess.STDOUT)
        self.roots = [self.process.pid]
        wait_for_port(self.port)
        if self.mode == "hold":
            smtpctl = self.room.root / "usr/sbin/smtpctl"
            os.chown(smtpctl, 0, self.room.identity("opensmtpq")[1])
            smtpctl.chmod(0o2755)                                       # as the package's script does
            self.room.run(["smtpctl", "pause", "mda"])

    def _make_spool(self) -> None:
        """The folders that the package's script makes."""
        spool = self.room.make("var/spool/smtpd", mode=0o711)
        for name, account, mode in (("queue", "opensmtpq", 0o700), ("purge", "opensmtpq", 0o700), ("corrupt", "opensmtpq", 0o700),
                                    ("offline", "root", 0o770), ("incoming", "opensmtpq", 0o700), ("temporary", "opensmtpq", 0o700)):
            os.chown(self.room.make(f"var/spool/smtpd/{name}", account, mode), -1, 0)
        os.chown(spool / "offline", 0, self.room.identity("opensmtpq")[1])
        self.room.make("var/lib/opensmtpd/empty", mode=0o711)

    def delivered(self) -> int:
        return maildir_count(self.folder / "mail/alice")

    def stop(self) -> None:
        super().stop()
        self.process.wait()
