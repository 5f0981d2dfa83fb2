"""What the idle suite holds: proportional set size (PSS) of all processes, just started and after some work, beside Postfix + Dovecot."""

from __future__ import annotations

import time

from bench.peers import FancyMail, PostfixDovecot, wait_until
from bench.processes import pss_by_process, pss_mib
from bench.result import Result, Row
from bench.tables import OURS, number, reached, table
from bench.turns import Bench, Place
from bench.works.clients import ImapClient, pop3_session

PEERS = ("postfix", "dovecot")
MOST = 150           # MiB that the issue of this contest allows the whole suite
REST = 3.0           # seconds after which a server counts as idle


def pair(place: Place) -> PostfixDovecot:
    return PostfixDovecot(place.server, place.room("postfix"), place.room("dovecot"))


def suite(place: Place) -> FancyMail:
    return FancyMail(place.server)


SERVERS = {"Postfix + Dovecot": pair, OURS: suite}


def run(bench: Bench) -> list[Row]:
    shares: list[dict[str, float]] = []
    rows = bench.in_turn("idle", SERVERS, lambda server: held(bench, server, shares))
    return [*rows, Row(work="processes", server=OURS, rounds=shares)]


def held(bench: Bench, server, shares: list[dict[str, float]]) -> dict[str, float]:
    """Return MiB at the start and after mail was taken in, delivered and read by IMAP and POP3."""
    time.sleep(REST)
    started = pss_mib(*server.roots)
    if server.name == OURS:
        shares.append(pss_by_process(*server.roots))
    bench.load.send(server.port, 200, 10, 4000)
    wait_until(lambda: server.delivered() >= 200)
    client = ImapClient(server)
    client.ask("SELECT INBOX")
    client.ask("FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)")
    client.ask("FETCH 1:* (BODY.PEEK[])")
    client.close()
    pop3_session(server)
    time.sleep(REST)
    return {"started": started, "used": pss_mib(*server.roots)}


def page(result: Result) -> str:
    rows = [[server, number(row.median("started")), number(row.median("used")),
             f"under {MOST} MiB: {reached(row.median('used'), MOST)}" if server == OURS else ""]
            for server in result.servers() for row in [result.row("idle", server)]]
    shares = result.row("processes", OURS)
    each = ", ".join(f"{name} {number(shares.median(name))}" for name in shares.rounds[0])
    return (table(["idle, MiB of PSS", "just started", "after 200 messages in and read", "target"], rows)
            + f"\n\nOurs, process by process, just started: {each}.")
