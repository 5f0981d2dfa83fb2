"""Dovecot's POP3, IMAP and LMTP in their fast form (login processes that stay), over a Maildir or its own format (sdbox).

Its fsync settings are its defaults (mail_fsync = optimized: LMTP and APPEND sync what they save, flags are not synced) unless `fsync` says
otherwise: with "always" it says OK to a change of flags, too, when that is on the disk.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.peers.peer import Peer, free_port, maildir_count, written

USER = "alice"
CONF = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = pop3 imap{lmtp}
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_username_format = %Ln
default_internal_user = dovecot
default_login_user = dovenull
mail_location = {layout}:{folder}/mail/%n
mail_fsync = {fsync}
mail_max_userip_connections = 0
maildir_very_dirty_syncs = yes
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%n allow_all_users=yes
}}
service pop3-login {{
  service_count = 0
  process_min_avail = 2
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service pop3 {{
  service_count = 256
  process_min_avail = 2
}}
service imap-login {{
  service_count = 0
  client_limit = 6000
  process_min_avail = 2
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service imap {{
  process_limit = 6000
  process_min_avail = 2
}}
service anvil {{
  client_limit = 20000
}}
service auth {{
  client_limit = 20000
}}
service stats {{
  client_limit = 20000
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Drafts {{
    auto = create
    special_use = \\Drafts
  }}
  mailbox Sent {{
    auto = create
    special_use = \\Sent
  }}
}}
"""
LMTP = """
service lmtp {{
  process_min_avail = 2
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@example.test
  hostname = mail.example.test
}}
"""


class Dovecot(Peer):
    """Dovecot; `port` is its POP3."""

    name = "Dovecot"
    password = "secret"
    user = USER

    def __init__(self, folder: Path, layout: str = "maildir", room=None, lmtp: bool = False, fsync: str = "optimized") -> None:
        super().__init__(folder, room)
        self.layout, self.fsync = layout, fsync
        self.imap_port, self.lmtp_port = free_port(), free_port() if lmtp else 0

    def start(self) -> None:
        self.maildir = self.own(self.folder / "mail" / USER)
        self.own(self.folder / "mail")
        for name in ("cur", "new", "tmp") if self.layout == "maildir" else ():
            self.own(self.maildir / name)
        (self.folder / "state").mkdir(exist_ok=True)
        uid, gid = self.room.identity("benchmail")
        names = dict(folder=self.folder, port=self.port, imap_port=self.imap_port, layout=self.layout, fsync=self.fsync, uid=uid, gid=gid,
                     lmtp_port=self.lmtp_port)
        text = (CONF + (LMTP if self.lmtp_port else "")).format(lmtp=" lmtp" if self.lmtp_port else "", **names)
        (self.folder / "dovecot.conf").write_text(text)
        subprocess.run(self.room.command(["dovecot", "-c", str(self.folder / "dovecot.conf")]), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.roots = [int(written(self.folder / "run/master.pid"))]

    def delivered(self) -> int:
        return maildir_count(self.maildir)

    def fill(self, messages: list[bytes]) -> None:
        """Put messages into the Maildir."""
        owner = self.room.identity("benchmail")
        for number, content in enumerate(messages):
            path = self.maildir / "new" / f"{1_000_000 + number}.M{number}P1.bench"
            path.write_bytes(content.replace(b"\r\n", b"\n"))
            os.chown(path, *owner)

    def stop(self) -> None:
        self.room.run(["doveadm", "-c", str(self.folder / "dovecot.conf"), "stop"], check=False)
