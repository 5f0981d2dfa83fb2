"""What connections hold that do nothing: IMAP clients in IDLE, and SMTP clients after EHLO; PSS of all of a server's processes.

The kernel's socket buffers are not in it, on either side.
"""

from __future__ import annotations

import resource
import time

from bench.peers import FancyMail, PostfixDovecot
from bench.processes import pss_mib
from bench.result import Result, Row, ratio
from bench.tables import OURS, number, table
from bench.turns import Bench, Place
from bench.works.clients import ImapClient, SmtpClient

PEERS = ("postfix", "dovecot")
LINES = (("imap", "IMAP in IDLE", "Dovecot"), ("smtp", "SMTP after EHLO", "Postfix"))
WANTED = 10          # how many times less memory


def pair(place: Place) -> PostfixDovecot:
    return PostfixDovecot(place.server, place.room("postfix"), place.room("dovecot"), processes=1200)


def suite(place: Place) -> FancyMail:
    return FancyMail(place.server)


def run(bench: Bench) -> list[Row]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    rows = []
    for work, many in (("imap", 5000), ("smtp", 1000)):
        connections = bench.count(many, 100)
        rows += bench.in_turn(work, {"Postfix + Dovecot": pair, OURS: suite}, lambda server: held(server, work, connections), rounds=1,
                              connections=connections)
    return rows


def held(server, work: str, count: int) -> dict[str, float]:
    """Return KiB per connection, and MiB of all."""
    clients = [connected(server, work)]                                  # what comes with the first one is not the price of one
    time.sleep(1)
    before = pss_mib(*server.roots)
    clients += [connected(server, work) for _ in range(count)]
    time.sleep(1)
    after = pss_mib(*server.roots)
    for client in clients:
        client.close()
    return {"kib": (after - before) * 1024 / count, "mib": after - before}


def connected(server, work: str):
    """Return a client that has begun to do nothing."""
    if work == "smtp":
        return SmtpClient(server)
    client = ImapClient(server)
    client.ask("SELECT INBOX")
    client.idle()
    return client


def page(result: Result) -> str:
    rows = []
    for work, title, peer in LINES:
        other, own = result.row(work, "Postfix + Dovecot"), result.row(work, OURS)
        times = ratio(other, own, "kib")
        rows.append([f"{own.facts['connections']:,} {title} (beside {peer})", number(other.median("mib")), number(own.median("mib")),
                     number(other.median("kib")), number(own.median("kib")), str(times),
                     f"{WANTED} times less: {'reached' if times.median >= WANTED else 'no'}"])
    return table(["connections", "theirs, MiB", "ours, MiB", "theirs, KiB each", "ours, KiB each", "times less", "target"], rows)
