"""Postfix with a queue of its own, as Debian has it but for what a test on loopback needs: every 250 is durable, by its own defaults.

`mode`: "hold" keeps what it accepts (the queue manager never sees it), "mailbox" delivers to a Maildir, "lmtp" hands to an LMTP server
and "relay" sends to an SMTP server at `next_port`.
"""

from __future__ import annotations

from pathlib import Path

from bench.peers.peer import Peer, maildir_count

MAIN_CF = """
compatibility_level = 3.6
meta_directory = {folder}/etc
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = {networks}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = {processes}
virtual_mailbox_domains = example.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:alice/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
virtual_transport = {transport}
relayhost = {relay}
lmtp_destination_recipient_limit = 50
message_size_limit = 50000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
smtp_host_lookup = native
lmtp_host_lookup = native
smtp_dns_support_level = disabled
smtp_tls_security_level = none
lmtp_tls_security_level = none
smtputf8_enable = no
local_recipient_maps =
{more}
"""
MASTER_CF = """
{port}      inet  n       -       n       -       -       smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
lmtp      unix  -       -       n       -       -       lmtp
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
virtual   unix  -       n       n       -       -       virtual
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""
QUEUES = ("incoming", "active", "deferred", "maildrop")


class Postfix(Peer):
    """Postfix, accepting on `port`."""

    name = "Postfix"

    def __init__(self, folder: Path, mode: str = "hold", relay_port: int = 0, room=None, processes: int = 100) -> None:
        super().__init__(folder, room)
        self.mode, self.next_port, self.processes = mode, relay_port, processes

    def start(self) -> None:
        for name in ("etc", "queue"):
            (self.folder / name).mkdir(exist_ok=True)
        self.own(self.folder / "data", "postfix")
        self.own(self.folder / "mail")
        (self.folder / "etc/main.cf").write_text(self._main())
        (self.folder / "etc/master.cf").write_text(MASTER_CF.format(port=self.port))
        for source in ("postfix-files", "postfix-script", "post-install"):
            self.room.run(["cp", f"/etc/postfix/{source}", str(self.folder / "etc" / source)], check=False)
        self.room.run(["postfix", "-c", str(self.folder / "etc"), "start"])
        self.roots = [int((self.folder / "queue/pid/master.pid").read_text())]

    def _main(self) -> str:
        uid, gid = self.room.identity("benchmail")
        onward = f"[127.0.0.1]:{self.next_port}"
        transport = {"relay": f"smtp:{onward}", "lmtp": f"lmtp:inet:{onward}"}.get(self.mode, "virtual")
        return MAIN_CF.format(folder=self.folder, uid=uid, gid=gid, transport=transport, processes=self.processes,
                              networks="127.0.0.0/8" if self.mode == "relay" else "192.0.2.1/32", relay=onward if self.mode == "relay" else "",
                              more="smtpd_data_restrictions = check_client_access static:HOLD" if self.mode == "hold" else "")

    def delivered(self) -> int:
        return maildir_count(self.folder / "mail/alice")

    def waiting(self) -> int:
        return sum(1 for name in QUEUES for path in (self.folder / "queue" / name).rglob("*") if path.is_file())

    def stop(self) -> None:
        self.room.run(["postfix", "-c", str(self.folder / "etc"), "stop"], check=False)
