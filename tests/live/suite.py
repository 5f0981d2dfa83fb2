"""The whole suite, started as a stranger starts it (tests/suite_kit.py), and talked to as clients do."""

from __future__ import annotations

import poplib
import smtplib
from email.message import EmailMessage
from pathlib import Path

from fancymail.ipc.sync import SyncClient
from tests import suite_kit
from tests.imap_kit import Wire

ALICE, BOB, POSTMASTER = "alice@example.test", "bob@example.test", "postmaster@example.test"


class Suite(suite_kit.Suite):
    """A running suite of real daemons, with options of one's own; everything that it started ends with down()."""

    def __init__(self, state: Path, *, config: str = "", only: str | None = None) -> None:
        options = []
        if config:
            path = Path(f"{state}.toml")
            path.write_text(config)
            options = ["--config", str(path)]
        super().__init__(state, *options, only=only, real=True)
        self.ca = self.facts["ca"]

    def pids(self) -> dict[str, int]:
        """Return daemon -> pid (0: just now dead), as the supervisor knows it."""
        return {name: self.pid(name) for name in ("auth", "queue", "mailbox", "smtpin", "smtpout", "pop3", "imap", "imap-2")}

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a daemon, if it is there."""
        try:
            self.kill(name, number)
        except ProcessLookupError:
            pass

    def waiting(self) -> int:
        """Return how many messages wait in all queues."""
        return len(self.ask("queue", "list"))

    # -- as a client -------------------------------------------------------------------------------------------------------

    def smtp(self) -> smtplib.SMTP:
        """Connect to port 25."""
        return smtplib.SMTP("localhost", self.ports["smtp"], timeout=30)

    def submission(self, user: str = "alice@example.test") -> smtplib.SMTP:
        """Connect to 587, with TLS, logged in."""
        client = smtplib.SMTP("localhost", self.ports["submission"], timeout=30)
        client.starttls(context=self.client_tls())
        client.login(user, self.accounts[user])
        return client

    def pop3(self, user: str = "alice@example.test") -> poplib.POP3:
        """Connect to POP3S, logged in."""
        client = poplib.POP3_SSL("localhost", self.ports["pop3s"], context=self.client_tls(), timeout=30)
        client.user(user)
        client.pass_(self.accounts[user])
        return client

    def imap(self, user: str = ALICE) -> Wire:
        """Connect to IMAP in plain text, logged in; commands as they stand on the wire."""
        return Wire(self.ports["imap"]).login(user, self.accounts[user])

    def collect(self, user: str = "alice@example.test", remove: bool = False) -> list[bytes]:
        """Return all messages of a user, CRLF line ends, as POP3 gives them."""
        client = self.pop3(user)
        count = client.stat()[0]
        found = [b"\r\n".join(client.retr(number + 1)[1]) + b"\r\n" for number in range(count)]
        for number in range(count if remove else 0):
            client.dele(number + 1)
        client.quit()
        return found

    def until_delivered(self, count: int, user: str = ALICE) -> None:
        """Return when the user has at least `count` messages."""
        suite_kit.wait_for(lambda: self.listed(user) >= count, f"{count} messages for {user}")

    def listed(self, user: str) -> int:
        """Return how many messages the mailbox server lists."""
        with self.operator("mailbox") as mailbox:
            return int(mailbox.rows("list", user)[0][0])

    def operator(self, name: str) -> SyncClient:
        """Return a client at the operator's door of a daemon; use it in a with statement."""
        return SyncClient(self.ipc[name], name=name)


def message(subject: str, text: str = "Hello.\n", sender: str = "x@sender.test", to: str = "alice@example.test") -> EmailMessage:
    """Return a small message."""
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = subject, sender, to
    mail.set_content(text)
    return mail
