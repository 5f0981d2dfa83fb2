"""Load with a conscience: every message is in the ledger before DATA, and marked when its 250 came."""

from __future__ import annotations

import random
import smtplib
import threading

from tests.faults.ledger import Ledger

SIZES = (20, 500, 3000, 40_000, 100_000)        # the last one is too large to be kept with its row


class Generator:
    """Threads that send to port 25 until stopped; a broken connection, a 4xx, a silence are part of the day and end one attempt."""

    def __init__(self, ledger: Ledger, port: int, recipients: list[str], *, threads: int = 4, seed: int = 0, sender: str = "x@sender.test",
                 pause: float = 0.0, patience: float = 10.0) -> None:
        """pause: seconds of each thread between two messages. patience: seconds that it waits for an answer."""
        self.ledger, self.port, self.recipients, self.sender, self.pause, self.patience = ledger, port, recipients, sender, pause, patience
        self.stopping = threading.Event()
        self.refused: dict[int, int] = {}
        self.threads = [threading.Thread(target=self._send, args=(random.Random(seed * 1000 + number),)) for number in range(threads)]

    def __enter__(self) -> "Generator":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def put_off(self) -> int:
        """How many messages were answered 4xx so far."""
        return sum(count for code, count in list(self.refused.items()) if 400 <= code < 500)

    def _send(self, chance: random.Random) -> None:
        while not self.stopping.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=self.patience) as client:
                    for _ in range(chance.randint(1, 20)):
                        if self.stopping.wait(self.pause):
                            break
                        self._one(client, chance)
            except (OSError, smtplib.SMTPException):
                self.stopping.wait(0.02)

    def _one(self, client: smtplib.SMTP, chance: random.Random) -> None:
        chosen = chance.sample(self.recipients, chance.randint(1, len(self.recipients)))
        name, content = self.ledger.compose(chosen, chance.choice(SIZES))
        client.ehlo_or_helo_if_needed()
        if client.mail(self.sender)[0] != 250 or any(client.rcpt(user)[0] != 250 for user in chosen):
            client.rset()
            return
        code, _ = client.data(content)
        if code == 250:
            self.ledger.acked(name)
        self.refused[code] = self.refused.get(code, 0) + 1
