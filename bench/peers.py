"""The servers that ours are measured beside, and ours: each in a folder of its own on the same filesystem, on loopback,
with its durable settings kept.

    with Postfix(folder) as server: server.port, server.roots

Postfix and Dovecot come from the system's packages (apt-get install postfix dovecot-pop3d dovecot-imapd); nothing of the machine's own
configuration is read or changed. Needs root, as they do. `roots` are the processes whose trees are the server.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from fancymail.ipc.sync import SyncClient

ROOT = Path(__file__).resolve().parent.parent
USER, DOMAIN = "alice", "example.test"


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, seconds: float = 20.0) -> None:
    """Return when somebody accepts on the port; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")


def _content(path: Path, seconds: float = 10.0) -> str:
    """Return what a starting program writes into a file, once it did."""
    deadline = time.monotonic() + seconds
    while not (path.is_file() and (found := path.read_text().strip())):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is not written")
        time.sleep(0.02)
    return found


class Peer:
    """A server in a folder, started on entry, ended on exit."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.port = free_port()

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        wait_for_port(self.port)
        return self

    def __exit__(self, *exc) -> None:
        self.stop()


MAIN_CF = """
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
mail_owner = postfix
myhostname = mail.example.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = {networks}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
maillog_file = {log}
maillog_file_prefixes = {folder}
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
virtual_mailbox_domains = example.test
virtual_mailbox_base = {mail}
virtual_mailbox_maps = static:alice/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_transport = {transport}
relayhost = {relay}
smtp_host_lookup = native
smtp_tls_security_level = none
smtputf8_enable = no
virtual_minimum_uid = 1
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


class Postfix(Peer):
    """Postfix with its own queue. `mode`: "hold" keeps what it accepts, "mailbox" delivers to a Maildir, "relay" sends to `relay_port`."""

    name = "Postfix"

    def __init__(self, folder: Path, mode: str = "hold", relay_port: int = 0) -> None:
        super().__init__(folder)
        self.mode, self.relay_port = mode, relay_port

    def start(self) -> None:
        for name in ("etc", "queue", "data", "mail"):
            (self.folder / name).mkdir(exist_ok=True)
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        nobody = pwd.getpwnam("mail")
        os.chown(self.folder / "mail", nobody.pw_uid, nobody.pw_gid)
        for part in (self.folder, *self.folder.parents):
            part.chmod(part.stat().st_mode | 0o755) if str(part).startswith("/tmp/") else None
        more = "smtpd_data_restrictions = check_client_access static:HOLD" if self.mode == "hold" else ""
        (self.folder / "etc/main.cf").write_text(MAIN_CF.format(
            queue=self.folder / "queue", data=self.folder / "data", log=self.folder / "mail.log", folder=self.folder, mail=self.folder / "mail",
            uid=nobody.pw_uid, gid=nobody.pw_gid, transport=f"smtp:[127.0.0.1]:{self.relay_port}" if self.mode == "relay" else "virtual",
            networks="127.0.0.0/8" if self.mode == "relay" else "192.0.2.1/32",
            relay=f"[127.0.0.1]:{self.relay_port}" if self.mode == "relay" else "", more=more))
        (self.folder / "etc/master.cf").write_text(MASTER_CF.format(port=self.port))
        subprocess.run(["postfix", "-c", str(self.folder / "etc"), "start"], check=True, capture_output=True)
        self.roots = [int((self.folder / "queue/pid/master.pid").read_text())]

    def delivered(self) -> int:
        """Return how many messages lie in the Maildir."""
        new = self.folder / "mail/alice/new"
        return len(os.listdir(new)) if new.is_dir() else 0

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", str(self.folder / "etc"), "stop"], capture_output=True)


DOVECOT_CONF = """
base_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = pop3 imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
default_internal_user = dovecot
default_login_user = dovenull
mail_location = {layout}:{folder}/mail/%n
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
  args = uid={uid} gid={gid} home={folder}/mail/%n
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


class Dovecot(Peer):
    """Dovecot's POP3 and IMAP in their fast form (login processes that stay), with a Maildir, or in its own format (sdbox)."""

    name = "Dovecot"
    password = "secret"
    user = USER

    def __init__(self, folder: Path, layout: str = "maildir") -> None:
        super().__init__(folder)
        self.layout, self.imap_port = layout, free_port()

    def start(self) -> None:
        owner = pwd.getpwnam("mail")
        self.maildir = self.folder / "mail" / USER
        self.maildir.mkdir(parents=True, exist_ok=True)
        for name in ("cur", "new", "tmp") if self.layout == "maildir" else ():
            (self.maildir / name).mkdir(exist_ok=True)
        for part in (self.folder / "mail", self.maildir, *self.maildir.iterdir()):
            os.chown(part, owner.pw_uid, owner.pw_gid)
        for part in (self.folder, *self.folder.parents):
            part.chmod(part.stat().st_mode | 0o755) if str(part).startswith("/tmp/") else None
        (self.folder / "dovecot.conf").write_text(DOVECOT_CONF.format(
            folder=self.folder, port=self.port, imap_port=self.imap_port, layout=self.layout, uid=owner.pw_uid, gid=owner.pw_gid))
        subprocess.run(["dovecot", "-c", str(self.folder / "dovecot.conf")], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.roots = [int(_content(self.folder / "run/master.pid"))]

    def fill(self, messages: list[bytes]) -> None:
        """Put messages into the Maildir."""
        owner = pwd.getpwnam("mail")
        for number, content in enumerate(messages):
            path = self.maildir / "new" / f"{1_000_000 + number}.M{number}P1.bench"
            path.write_bytes(content.replace(b"\r\n", b"\n"))
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def stop(self) -> None:
        subprocess.run(["doveadm", "-c", str(self.folder / "dovecot.conf"), "stop"], capture_output=True)


class FancyMail(Peer):
    """The suite as `fancymail up --demo` starts it, with a configuration of one's own; `only` names the daemons."""

    name = "FancyMail"

    def __init__(self, folder: Path, only: str = "", config: str = "") -> None:
        self.folder, self.only, self.config = Path(folder), only, config

    def start(self) -> None:
        state = self.folder / "state"
        command = [sys.executable, str(ROOT / "bin/fancymail"), "up", "--demo", "--state", str(state), "--port-base", str(_port_base()),
                   "--json", "--detach"]
        if self.only:
            command += ["--only", self.only]
        if self.config:
            (self.folder / "bench.toml").write_text(self.config)
            command += ["--config", str(self.folder / "bench.toml")]
        ready = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        self.state, self.ports, self.accounts, self.doors = state, ready["ports"], ready["accounts"], ready["ipc"]
        self.port, self.imap_port = self.ports["smtp"], self.ports.get("imap", 0)
        self.user = f"{USER}@{DOMAIN}"
        self.password = self.accounts[self.user]
        self.roots = [int((state / "run/supervisor.pid").read_text().split()[0])]

    def listed(self) -> int:
        """Return how many messages the user's INBOX has."""
        with SyncClient(self.doors["mailbox"]) as mailbox:
            return json.loads(mailbox.call("stats")[0]).get("delivered", 0)

    def waiting(self) -> int:
        """Return how many messages wait in any queue."""
        with SyncClient(self.doors["queue"]) as queue:
            return sum(int(count) for row in queue.rows("queues")[1] for count in row.params[1:4])      # ready, leased, deferred

    def stop(self) -> None:
        subprocess.run([sys.executable, str(ROOT / "bin/fancymail"), "down", "--state", str(self.state)], capture_output=True)


def _port_base() -> int:
    """Return a base above which the suite's ports are free."""
    for base in range(24_000, 58_000, 6_000):
        try:
            for usual in (25, 587, 465, 24, 110, 995, 143, 993):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + usual))
            return base
        except OSError:
            continue
    raise OSError("no free port base")


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
