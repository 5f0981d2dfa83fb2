"""IMAP beside Dovecot with its own format (sdbox): the works of bench/imap.py, wall milliseconds until the last octet, servers in turn."""

from __future__ import annotations

import argparse

from bench import imap
from bench.peers import Dovecot, FancyMail
from bench.result import Result, Row, ratio
from bench.tables import OURS, number, table
from bench.turns import Bench, Place

PEERS = ("dovecot",)
MESSAGES = 10_000


def suite(place: Place) -> FancyMail:
    return FancyMail(place.server)


def dovecot(place: Place) -> Dovecot:
    return Dovecot(place.server, layout="sdbox", room=place.room("dovecot"))


def run(bench: Bench) -> list[Row]:
    options = argparse.Namespace(messages=bench.count(MESSAGES, 500), rounds=2, connections=50, only="")
    rows: dict[tuple[str, str], Row] = {}
    for _ in range(bench.rounds):
        for name, make in ((Dovecot.name, dovecot), (OURS, suite)):
            with bench.place() as place, make(place) as server:
                for work, (wall, cpu) in imap.measure(server, options).items():
                    row = rows.setdefault((work, name), Row(work=work, server=name, facts={"messages": options.messages}, rounds=[]))
                    row.rounds.append({"ms": wall, "cpu": cpu})
            bench.say(f"  {name}: a round")
    return list(rows.values())


def better(work: str) -> bool:
    """Whether more of it is better: what is counted a second."""
    return "messages/s" in work


def page(result: Result) -> str:
    lines = []
    for work in dict.fromkeys(row.work for row in result.rows if not row.work.startswith("KiB")):      # works/idle.py has better ones
        own, other = result.row(work, OURS), result.row(work, Dovecot.name)
        times = ratio(own, other, "ms") if better(work) else ratio(other, own, "ms")
        lines.append([work.replace("|", "\\|"), number(other.median("ms")), number(own.median("ms")), str(times),
                      *(number(row.median("cpu")) if row.median("cpu") else "" for row in (other, own)), "ahead" if times.median > 1 else "behind"])
    return table([f"{MESSAGES:,} messages; ms unless said", "Dovecot", OURS, "times (spread)", "Dovecot CPU ms", f"{OURS} CPU ms", "ahead?"], lines)
