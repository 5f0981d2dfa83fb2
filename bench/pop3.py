"""POP3 beside Dovecot, in one run: the same mail, the same client, servers in turn.

    python -m bench.pop3 [--messages 1000] [--size 4000] [--rounds 3]

Measured: login with STAT and QUIT; UIDL and LIST of the whole maildrop; RETR of every message, one after the other, and pipelined by eight.
The table has the median of the rounds, per operation: how many a second, and the CPU time of all of a server's processes. Dovecot runs in
its fast form (login processes that stay) over a Maildir. Needs root and Dovecot (apt-get install dovecot-pop3d).
"""

from __future__ import annotations

import argparse
import poplib
import smtplib
import statistics
import tempfile
import time
from pathlib import Path

from bench.peers import Dovecot, FancyMail, wait_until
from bench.processes import cpu_seconds

CONFIG = "[pop3]\nlogin-delay = 0\n"


def messages(count: int, size: int) -> list[bytes]:
    """Return the maildrop: CRLF, some lines that begin with a dot."""
    body = b"".join(b"%08d abcdefghijklmnopqrstuvwxyz0123456789 abcdefghijklmnopqrstuvwxyz\r\n" % line for line in range(size // 72)) + b".dot\r\n"
    return [b"From: x@sender.test\r\nTo: alice@example.test\r\nSubject: %d\r\n\r\n%s" % (number, body) for number in range(count)]


def login(server) -> poplib.POP3:
    """Log in, over plain TCP on loopback, on both."""
    client = poplib.POP3("127.0.0.1", server.pop3_port, timeout=60)
    client.user(server.user)
    client.pass_(server.password)
    return client


def logins(server, count: int) -> None:
    for _ in range(count):
        client = login(server)
        client.stat()
        client.quit()


def listings(server, count: int) -> None:
    for _ in range(count):
        client = login(server)
        client.uidl()
        client.list()
        client.quit()


def fetch(server, count: int, together: int) -> None:
    """Retrieve messages 1 to `count`, `together` commands at a time."""
    client = login(server)
    for first in range(1, count + 1, together):
        client.sock.sendall(b"".join(b"RETR %d\r\n" % number for number in range(first, min(first + together, count + 1))))
        for _ in range(first, min(first + together, count + 1)):
            client.file.readline()
            while client.file.readline() != b".\r\n":
                pass
    client.quit()


WORK = {"login, STAT, QUIT": (lambda server, n: logins(server, 100), lambda n: 100),
        "login, UIDL, LIST of all": (lambda server, n: listings(server, 20), lambda n: 20),
        "RETR one by one": (lambda server, n: fetch(server, n, 1), lambda n: n),
        "RETR pipelined by 8": (lambda server, n: fetch(server, n, 8), lambda n: n)}


def fill(server, mail: list[bytes]) -> None:
    if isinstance(server, Dovecot):
        server.pop3_port = server.port
        server.fill(mail)
        return
    server.pop3_port = server.ports["pop3"]
    with smtplib.LMTP("127.0.0.1", server.ports["lmtp"]) as client:
        for content in mail:
            client.sendmail("x@sender.test", ["alice@example.test"], content)
    wait_until(lambda: server.delivered() >= len(mail))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("messages", 1000), ("size", 4000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="fancymail-bench-") as name:
        Path(name).chmod(0o755)
        with Dovecot(Path(name) / "dovecot") as dovecot, FancyMail(Path(name) / "ours", config=CONFIG) as ours:
            for server in (dovecot, ours):
                fill(server, messages(args.messages, args.size))
                fetch(server, args.messages, 8)                            # warm
            for _ in range(args.rounds):
                for work, (run, count) in WORK.items():
                    for server in (dovecot, ours):
                        cpu, start = cpu_seconds(*server.roots), time.perf_counter()
                        run(server, args.messages)
                        seconds, operations = time.perf_counter() - start, count(args.messages)
                        spent = (cpu_seconds(*server.roots) - cpu) / operations * 1e6
                        found.setdefault((work, server.name), []).append((operations / seconds, spent))
    print(f"| {args.messages} messages of {args.size} octets | Dovecot /s | FancyMail /s | Dovecot CPU us | FancyMail CPU us |")
    print("|---|---|---|---|---|")
    for work in WORK:
        theirs, ours_ = ([statistics.median(row[part] for row in found[work, name]) for part in (0, 1)] for name in ("Dovecot", "FancyMail"))
        print(f"| {work} | {theirs[0]:,.0f} | {ours_[0]:,.0f} | {theirs[1]:,.0f} | {ours_[1]:,.0f} |")


if __name__ == "__main__":
    main()
