"""How soon it is ready: `fancymail up` until every daemon has answered, warm (keys and accounts are there, bytecode and pages are cached)."""

from __future__ import annotations

import time

from bench.peers import FancyMail, PostfixDovecot
from bench.peers.peer import wait_for_port
from bench.result import Result, Row
from bench.tables import OURS, number, reached, table
from bench.turns import Bench

PEERS = ("postfix", "dovecot")
MOST = 1.5           # seconds


def run(bench: Bench) -> list[Row]:
    rows = [Row(work="start", server=name, rounds=[]) for name in ("Postfix + Dovecot", OURS)]
    with bench.place() as place, bench.place() as other:
        pair, suite = PostfixDovecot(other.server, other.room("postfix"), other.room("dovecot")), FancyMail(place.server)
        for server in (pair, suite):                                   # makes keys and folders, and warms
            with server:
                pass
        for _ in range(max(bench.rounds, 2) * 2):
            for row, server in zip(rows, (pair, suite)):
                row.rounds.append({"seconds": seconds(server)})
                bench.say(f"  start {row.server}: {row.rounds[-1]['seconds']:.2f} s")
    return rows


def seconds(server) -> float:
    """Return how long a start took until the last port answered."""
    began = time.perf_counter()
    with server:
        for port in (server.imap_port, server.pop3_port):
            wait_for_port(port)
        return time.perf_counter() - began


def page(result: Result) -> str:
    rows = [[server, number(row.median("seconds")), number(min(each["seconds"] for each in row.rounds)),
             f"under {MOST} s: {reached(row.median('seconds'), MOST)}" if server == OURS else ""]
            for server in result.servers() for row in [result.row("start", server)]]
    return table(["from the command until all answer", "seconds (median)", "least", "target"], rows)
