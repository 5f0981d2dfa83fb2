"""IMAP beside Dovecot, in one run: the same mailboxes, the same client, servers in turn.

    python -m bench.imap [--messages 10000] [--rounds 3] [--connections 100] [--only PART] [--json FILE]

The table has the median of the rounds: milliseconds of wall time until the last octet of the answer, and CPU milliseconds of all of a server's
processes. Both keep their durable settings; Dovecot stores in its own format (sdbox) and runs in its fast form (login processes that stay). The
client reads octets and looks at nothing but the last line. Needs root and Dovecot (apt-get install dovecot-imapd).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.peers import Dovecot, FancyMail
from bench.processes import cpu_seconds, pss_mib

FAR = "FETCH 1:* (%s)"
TAIL = 8192                                 # octets in which the last line stands
TOGETHER = 200                              # messages of one MULTIAPPEND
WORDS = "harbour lantern meadow copper violet engine window silver garden thunder planet marble river candle forest".split()


def message(number: int) -> bytes:
    """Return one of the mailbox's messages: plain, with an alternative, or with an attachment; 4.5 kB in the mean."""
    chance = random.Random(number)
    head = (f"Return-Path: <user{number % 97}@x.test>\r\nReceived: from a.x.test by mx.example.test with ESMTP id {number:026d};\r\n"
            f"\tSat, 21 Nov 2026 22:00:00 +0000\r\nFrom: User {number % 97} <user{number % 97}@x.test>\r\nTo: Alice <alice@example.test>\r\n"
            f"Subject: {'Re: ' * (number % 3 > 0)}{chance.choice(WORDS)} {chance.choice(WORDS)} {number // 3}\r\nMessage-ID: <{number}@x.test>\r\n"
            + (f"In-Reply-To: <{number - 1}@x.test>\r\nReferences: <{number - 1}@x.test>\r\n" if number % 3 else "")
            + f"Date: Sat, {number % 28 + 1:02d} Nov 2026 {number % 24:02d}:00:00 +0000\r\nMIME-Version: 1.0\r\n")
    text = "".join(" ".join(chance.choices(WORDS, k=9)) + "\r\n" for _ in range(chance.randint(10, 70)))
    if number % 3 == 0:
        return f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}".encode()
    kind, second = (("alternative", f"Content-Type: text/html; charset=utf-8\r\n\r\n<p>{text}</p>\r\n") if number % 3 == 1 else
                    ("mixed", f'Content-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n{"QUJD" * 19}\r\n'))
    return (f'{head}Content-Type: multipart/{kind}; boundary="b{number}"\r\n\r\n--b{number}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}'
            f"--b{number}\r\n{second}--b{number}--\r\n").encode()


class Client:
    """A connection that costs itself as little as can be."""

    def __init__(self, server, deadline: float = 120.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.imap_port), deadline)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(1 << 18)
        self.until(b"* OK")
        self.ask(f'LOGIN "{server.user}" "{server.password}"')

    def ask(self, command: str | bytes) -> bytes:
        """Say a command; return the last octets of its answer. Raises RuntimeError when it is refused."""
        data = command.encode() if isinstance(command, str) else command
        self.socket.sendall(b"x " + data + b"\r\n")
        return self.until(b"\r\nx ", data[:60])

    def until(self, mark: bytes, what: bytes = b"") -> bytes:
        """Read until a line that begins so has ended."""
        tail = b"\r\n"
        while True:
            size = self.socket.recv_into(self.buffer)
            if not size:
                raise RuntimeError(f"{what!r}: the server hung up after {tail!r}")
            tail = (tail + self.buffer[max(0, size - TAIL):size])[-TAIL:]
            if tail.endswith(b"\r\n") and (at := tail.rfind(mark)) >= 0:
                if mark == b"\r\nx " and tail[at + 4:at + 6] != b"OK":
                    raise RuntimeError(f"{what!r}: {tail[at + 2:]!r}")
                return tail

    def close(self) -> None:
        self.socket.close()


def fill(server, name: str, count: int) -> float:
    """Append messages by MULTIAPPEND; every fourth has not been read. Returns the seconds that the server took."""
    client, took = Client(server), 0.0
    if name != "INBOX":
        client.ask(f"CREATE {name}")
    for first in range(0, count, TOGETHER):
        parts = [f"APPEND {name}".encode()]
        for number in range(first, min(first + TOGETHER, count)):
            content = message(number)
            parts.append(f" {'()' if number % 4 == 0 else chr(40) + chr(92) + 'Seen)'} {{{len(content)}+}}\r\n".encode() + content)
        command, began = b"".join(parts), time.perf_counter()
        client.ask(command)
        took += time.perf_counter() - began
    client.close()
    return took


class Stopwatch:
    """Takes wall and CPU time of pieces of work; keeps name -> (milliseconds, CPU milliseconds), and whatever else is counted."""

    def __init__(self, server, rounds: int) -> None:
        self.server, self.rounds, self.lenient = server, rounds, getattr(server, "lenient", False)
        self.found: dict[str, tuple[float, float]] = {}

    def take(self, name: str, work: Callable[[], object], rounds: int = 0) -> None:
        """Do it again and again. A server that cannot do everything goes without a figure for what it refuses."""
        walls, rounds = [], rounds or self.rounds
        cpu = cpu_seconds(*self.server.roots)
        for _ in range(rounds):
            began = time.perf_counter()
            try:
                work()
            except RuntimeError:
                if not self.lenient:
                    raise
                return
            walls.append((time.perf_counter() - began) * 1000)
        self.found[name] = (statistics.median(walls), (cpu_seconds(*self.server.roots) - cpu) * 1000 / rounds)

    def number(self, name: str, value: float) -> None:
        """Keep a figure that is no time."""
        self.found[name] = (value, 0.0)


def reads(watch: Stopwatch, count: int) -> None:
    """What only looks."""
    client = Client(watch.server)
    watch.take("SELECT, UNSELECT", lambda: (client.ask("SELECT INBOX"), client.ask("UNSELECT")), 200)
    client.ask("SELECT INBOX")
    for item in ("FLAGS", "UID ENVELOPE", "BODYSTRUCTURE", "UID RFC822.SIZE INTERNALDATE", "UID BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)]"):
        began = time.perf_counter()
        client.ask(FAR % item)
        watch.number(f"FETCH 1:* ({item}), first time", (time.perf_counter() - began) * 1000)
        watch.take(f"FETCH 1:* ({item})", lambda: client.ask(FAR % item))
    watch.take("FETCH 1:2000 (BODY.PEEK[])", lambda: client.ask(f"FETCH 1:{min(count, 2000)} (BODY.PEEK[])"))
    chosen = random.Random(1).sample(range(1, count + 1), min(count, 500))
    watch.take("500 times UID FETCH n (FLAGS ENVELOPE)", lambda: [client.ask(f"UID FETCH {uid} (FLAGS ENVELOPE)") for uid in chosen])
    watch.take("500 times UID FETCH n (BODY.PEEK[])", lambda: [client.ask(f"UID FETCH {uid} (BODY.PEEK[])") for uid in chosen])
    for key in ("UNSEEN", "SINCE 15-Nov-2026 SMALLER 4000", "FROM user33", "SUBJECT lantern", "TEXT lantern", "BODY nowhere-at-all",
                "TEXT nowhere-at-all"):
        watch.take(f"SEARCH {key}", lambda: client.ask(f"SEARCH {key}"))
    watch.take("SORT (DATE)", lambda: client.ask("SORT (DATE) UTF-8 ALL"))
    watch.take("SORT (SUBJECT)", lambda: client.ask("SORT (SUBJECT) UTF-8 ALL"))
    watch.take("THREAD REFERENCES", lambda: client.ask("THREAD REFERENCES UTF-8 ALL"))
    watch.take("500 times NOOP", lambda: [client.ask("NOOP") for _ in range(500)])
    for number in range(100):
        client.ask(f"CREATE folders/f{number}")
    watch.take("STATUS of 100 folders", lambda: [client.ask(f"STATUS folders/f{number} (MESSAGES UNSEEN UIDNEXT)") for number in range(100)])
    watch.take("LIST with STATUS of 100 folders", lambda: client.ask('LIST "" folders/% RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))'))
    client.close()


def together(watch: Stopwatch) -> None:
    """Several at the same time."""
    def one() -> None:
        client = Client(watch.server)
        client.ask("SELECT INBOX")
        for item in ("FLAGS", "UID ENVELOPE", "BODYSTRUCTURE"):
            client.ask(FAR % item)
        client.close()
    watch.take("4 clients: login, SELECT, FLAGS, ENVELOPE, BODYSTRUCTURE", lambda: at_once(one, 4))
    watch.take("50 times login, SELECT, logout", lambda: [(client := Client(watch.server)).ask("SELECT INBOX") and client.close() for _ in range(50)])


def at_once(work: Callable[[], None], count: int) -> None:
    """Do it in threads. Raises what one of them raised."""
    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(work) for _ in range(count)]:
            done.result()


def writes(watch: Stopwatch, count: int) -> None:
    """What changes something."""
    client, first, serial = Client(watch.server), message(1), itertools.count()

    def append(how_many: int = 300) -> None:
        own = Client(watch.server)
        for _ in range(how_many):
            letter = first.replace(b"Message-ID: <1@", b"Message-ID: <w%d@" % next(serial))      # of equal ones a server may keep one
            own.ask(b"APPEND written {%d+}\r\n" % len(letter) + letter)
        own.close()
    client.ask("CREATE written")
    watch.take("300 times APPEND", append, 1)
    watch.take("4 clients: 300 times APPEND each", lambda: at_once(append, 4), 1)
    client.ask("SELECT INBOX")
    watch.take(r"STORE 1:* +FLAGS.SILENT, -FLAGS.SILENT (\Flagged)",
               lambda: (client.ask(r"STORE 1:* +FLAGS.SILENT (\Flagged)"), client.ask(r"STORE 1:* -FLAGS.SILENT (\Flagged)")))
    watch.take(r"STORE 1:* +FLAGS, -FLAGS (\Flagged)",
               lambda: (client.ask(r"STORE 1:* +FLAGS (\Flagged)"), client.ask(r"STORE 1:* -FLAGS (\Flagged)")))
    watch.take("500 times UID STORE n +FLAGS", lambda: [client.ask(rf"UID STORE {uid} +FLAGS (\Answered)") for uid in range(1, 501)], 1)
    client.ask("CREATE copied")
    client.ask("CREATE moved")
    watch.take("COPY 1:*", lambda: client.ask("COPY 1:* copied"), 1)
    client.ask("SELECT copied")
    watch.take("MOVE 1:*", lambda: client.ask("MOVE 1:* moved"), 1)
    client.ask("SELECT moved")
    client.ask(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
    watch.take("EXPUNGE of all", lambda: client.ask("EXPUNGE"), 1)
    client.close()


def idle(watch: Stopwatch, connections: int) -> None:
    """Clients that wait: how soon they hear, and what each costs."""
    waiting, writer, letter = Client(watch.server), Client(watch.server), message(2)
    waiting.ask("SELECT INBOX")
    waiting.socket.sendall(b"x IDLE\r\n")
    waiting.until(b"\r\n+ ")

    def push() -> None:
        writer.ask(b"APPEND INBOX {%d+}\r\n" % len(letter) + letter)
        waiting.until(b"EXISTS")
    watch.take("APPEND until EXISTS at a client in IDLE", push, 5)
    before, clients = pss_mib(*watch.server.roots), []
    for _ in range(connections):
        clients.append(client := Client(watch.server))
        client.ask("SELECT INBOX")
        client.socket.sendall(b"x IDLE\r\n")
        client.until(b"\r\n+ ")
    watch.number("KiB (PSS) per client in IDLE", (pss_mib(*watch.server.roots) - before) * 1024 / connections)
    for client in (*clients, waiting, writer):
        client.close()


PARTS = {"reads": reads, "together": lambda watch, count: together(watch), "writes": writes}


def measure(server, options) -> dict[str, tuple[float, float]]:
    """Fill one server and take all measures."""
    watch = Stopwatch(server, options.rounds)
    watch.number("messages/s by MULTIAPPEND", options.messages / fill(server, "INBOX", options.messages))
    server.rest()
    for name, part in PARTS.items():
        if options.only in ("", name):
            part(watch, options.messages)
    if options.only in ("", "idle"):
        idle(watch, options.connections)
    return watch.found


def table(ours: dict, theirs: dict, count: int) -> str:
    """Return the table for people."""
    lines = [f"{count} messages", "", "| measure | FancyMail | CPU | Dovecot | CPU | FancyMail : Dovecot |", "|---|---|---|---|---|---|"]
    for name, (wall, cpu) in ours.items():
        other, other_cpu = theirs.get(name, (0.0, 0.0))
        cells = [f"{value:.0f}" if value >= 20 else f"{value:.1f}" for value in (wall, cpu, other, other_cpu)]
        cells[1], cells[3] = (text if number else "" for text, number in ((cells[1], cpu), (cells[3], other_cpu)))
        lines.append(f"| {name} | {' | '.join(cells)} | {wall / other if other else 0:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("messages", 10_000), ("rounds", 3), ("connections", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", default="", choices=["", *PARTS, "idle"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fancymail-bench-") as folder:
        with FancyMail(Path(folder) / "fancymail") as server:
            ours = measure(server, options)
        with Dovecot(Path(folder) / "dovecot", layout="sdbox") as server:
            theirs = measure(server, options)
    print(table(ours, theirs, options.messages))
    if options.json:
        options.json.write_text(json.dumps({"messages": options.messages, "FancyMail": ours, "Dovecot": theirs}, indent=1))


if __name__ == "__main__":
    main()
