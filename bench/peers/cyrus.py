"""Cyrus IMAP, unpacked: its package and Dovecot's cannot be installed together.

Used by tests/oracle. One account, made by its administrator at the start; passwords are in SASL's own database.
"""

from __future__ import annotations

import socket
import subprocess

from bench.peers.peer import Peer, wait_for_port, written

USER = "alice"
SETTINGS = """
configdirectory: {folder}/config
partition-default: {folder}/spool
defaultpartition: default
sievedir: {folder}/sieve
proc_path: {folder}/config/proc
mboxname_lockpath: {folder}/config/lock
servername: localhost
admins: cyrus
allowplaintext: yes
unixhierarchysep: yes
altnamespace: yes
virtdomains: no
specialusealways: yes
search_skipdiacrit: no
maxword: 16777216
maxquoted: 16777216
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {folder}/config/sasldb2
"""
SERVICES = """
START {{
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -C {folder}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="imapd -C {folder}/imapd.conf -U 30" listen="127.0.0.1:{port}" prefork=0
}}
"""


class Cyrus(Peer):
    """Cyrus; `port` is its IMAP."""

    name = "Cyrus"
    user, password = USER, "secret"

    @property
    def imap_port(self) -> int:
        return self.port

    def start(self) -> None:
        for name in ("config", "config/proc", "config/lock", "config/socket", "config/db", "config/log", "spool", "sieve"):
            self.own(self.folder / name, "cyrus")
        for name, text in (("imapd.conf", SETTINGS), ("cyrus.conf", SERVICES)):
            (self.folder / name).write_text(text.format(folder=self.folder, port=self.port))
        for user in (USER, "cyrus"):
            subprocess.run(self.room.command(["saslpasswd2", "-p", "-c", "-f", f"{self.folder}/config/sasldb2", "-u", "localhost", user]),
                           input=self.password.encode(), check=True)
        self.room.run(["chown", "cyrus", f"{self.folder}/config/sasldb2"])
        self.room.run(["/usr/lib/cyrus/bin/master", "-d", "-C", f"{self.folder}/imapd.conf", "-M", f"{self.folder}/cyrus.conf",
                       "-p", f"{self.folder}/master.pid"])
        self.roots = [int(written(self.folder / "master.pid"))]
        wait_for_port(self.port)
        self._make_account()

    def _make_account(self) -> None:
        """Only an administrator may make somebody's INBOX."""
        said = f'a LOGIN cyrus {self.password}\r\nb CREATE user/{USER}\r\nc LOGOUT\r\n'.encode()
        with socket.create_connection(("127.0.0.1", self.port), 20) as admin:
            admin.sendall(said)
            heard = b"".join(iter(lambda: admin.recv(4096), b""))
        if b"b OK" not in heard:
            raise RuntimeError(f"Cyrus made no account: {heard.decode(errors='replace')}")
