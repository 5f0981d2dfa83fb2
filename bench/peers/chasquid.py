"""chasquid: it hands each message to a program (here /bin/true: it can not only queue) and does not sync what it accepts."""

from __future__ import annotations

import subprocess

from bench.peers.peer import Peer, free_port, wait_for_port

CONF = """
hostname: "mail.example.test"
max_data_size_mb: 50
smtp_address: "127.0.0.1:{port}"
submission_address: "127.0.0.1:{second}"
monitoring_address: ""
mail_delivery_agent_bin: "/bin/true"
mail_delivery_agent_args: "%to%"
data_dir: "{folder}/data"
dovecot_auth: false
mail_log_path: "{folder}/mail.log"
"""


class Chasquid(Peer):
    """chasquid, with a certificate of its own (it does not start without one)."""

    name = "chasquid"

    def start(self) -> None:
        etc, certificates = self.folder / "etc", self.folder / "etc/certs/mail.example.test"
        certificates.mkdir(parents=True)
        (etc / "domains/example.test").mkdir(parents=True)
        (etc / "domains/example.test/aliases").write_text("alice: root@localhost\n")
        (etc / "chasquid.conf").write_text(CONF.format(port=self.port, second=free_port(), folder=self.folder))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", "/CN=mail.example.test", "-keyout", str(certificates / "privkey.pem"), "-out", str(certificates / "fullchain.pem")],
                       check=True, capture_output=True)
        self.process = subprocess.Popen(self.room.command(["chasquid", f"-config_dir={etc}"]), stdin=subprocess.DEVNULL,
                                        stdout=(self.folder / "log").open("wb"), stderr=subprocess.STDOUT)
        self.roots = [self.process.pid]
        wait_for_port(self.port)

    def stop(self) -> None:
        super().stop()
        self.process.wait()
