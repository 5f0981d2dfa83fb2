"""From 250 to visible: how long after the 250 a client that looks all the time (NOOP after NOOP) sees a message in its INBOX, while the server is
at half of the load that it could carry. Beside Postfix + Dovecot, each at half of its own best rate.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time

from bench.peers import FancyMail, PostfixDovecot
from bench.result import Result, Row
from bench.tables import OURS, number, reached, table
from bench.turns import Bench, Place
from bench.works.accepting import carry
from bench.works.clients import ImapClient, SmtpClient

PEERS = ("postfix", "dovecot")
MOST = 50            # milliseconds, for 99 of 100
SENDERS = 5          # connections that make the load
BODY = b"From: x@sender.test\r\nTo: alice@example.test\r\nSubject: load\r\n\r\n" + b"An ordinary line of text.\r\n" * 35
PAUSE = 0.02         # seconds between two probes
SESSION = 100        # messages over one connection, as MTAs keep one; servers end longer ones


def pair(place: Place) -> PostfixDovecot:
    return PostfixDovecot(place.server, place.room("postfix"), place.room("dovecot"))


def suite(place: Place) -> FancyMail:
    return FancyMail(place.server)


def run(bench: Bench) -> list[Row]:
    return bench.in_turn("visible", {"Postfix + Dovecot": pair, OURS: suite}, lambda server: visible(bench, server), probes=bench.count(300, 50))


def visible(bench: Bench, server) -> dict[str, float]:
    """Find the best rate, load with half of it, and probe."""
    best = carry(bench, server, bench.count(1500, 300), 10, 1000, lambda total: server.delivered() >= total)["rate"]
    loading = multiprocessing.get_context("fork").Process(target=load, args=(server, best / 2), daemon=True)
    loading.start()
    try:
        times = probed(server, bench.count(300, 50))
        if not loading.is_alive():
            raise RuntimeError("the load ended before the probes did")
    finally:
        loading.terminate()
        loading.join()
    times.sort()
    return {"rate": best / 2, "p50": statistics.median(times) * 1000, "p99": times[int(len(times) * 0.99)] * 1000, "most": times[-1] * 1000}


def load(server, rate: float) -> None:
    """Send messages at a rate until killed, over a few connections in turn."""
    began, sent, clients = time.perf_counter(), 0, []
    while True:
        if sent % (SESSION * SENDERS) == 0:
            for client in clients:
                client.socket.close()
            clients = [SmtpClient(server) for _ in range(SENDERS)]
        for client in clients:                  # so that the server has several at a time, as from several hosts
            client.socket.sendall(b"MAIL FROM:<x@sender.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        for client in clients:
            client.say(b"", 3)
            client.socket.sendall(BODY + b".\r\n")
        for client in clients:
            client.reply()
        sent += len(clients)
        time.sleep(max(0.0, began + sent / rate - time.perf_counter()))


def probed(server, count: int) -> list[float]:
    """Send messages to bob, one by one; return the seconds from each 250 until his client saw it."""
    password = server.accounts["bob@example.test"] if hasattr(server, "accounts") else server.password
    sender, reader, times = SmtpClient(server), ImapClient(server, "bob@example.test", password), []
    reader.ask("SELECT INBOX")
    for _ in range(count):
        sender.send("bob@example.test", BODY)
        accepted = time.perf_counter()
        while b"EXISTS" not in reader.ask("NOOP"):
            pass
        times.append(time.perf_counter() - accepted)
        time.sleep(PAUSE)
    return times


def page(result: Result) -> str:
    rows = [[server, number(row.median("rate")), number(row.median("p50")), number(row.median("p99")), number(row.median("most")),
             f"p99 under {MOST} ms: {reached(row.median('p99'), MOST)}" if server == OURS else ""]
            for server in result.servers() for row in [result.row("visible", server)]]
    return table(["from 250 until IMAP shows it, ms", "load, messages/s", "median", "p99", "longest", "target"], rows)
