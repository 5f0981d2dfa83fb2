"""IMAP beside Dovecot with its own format (sdbox): the works of bench/imap.py, wall milliseconds until the last octet, servers in turn.

What writes is measured twice: beside Dovecot as it comes, and beside one that promises what ours does, flags on the disk before OK.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import msgspec

from bench import imap
from bench.peers import Dovecot, FancyMail
from bench.result import Ratio, Result, Row, ratio
from bench.tables import OURS, number, table
from bench.turns import Bench, Place

PEERS = ("dovecot",)
MESSAGES = 10_000
SYNCING = "Dovecot, mail_fsync=always"
ALIKE = "Beside a Dovecot whose changes of flags, too, are on the disk before its OK, as ours are (`mail_fsync = always`):"
WRITES = ("APPEND", "STORE", "COPY", "MOVE", "EXPUNGE", "messages/s")


def suite(place: Place) -> FancyMail:
    return FancyMail(place.server)


def dovecot(place: Place) -> Dovecot:
    return Dovecot(place.server, layout="sdbox", room=place.room("dovecot"))


def syncing(place: Place) -> Dovecot:
    return Dovecot(place.server, layout="sdbox", room=place.room("dovecot"), fsync="always")


def run(bench: Bench) -> list[Row]:
    return measured(bench, {Dovecot.name: dovecot, OURS: suite, SYNCING: syncing}, bench.count(MESSAGES, 500), only={SYNCING: "writes"})


def page(result: Result) -> str:
    if SYNCING not in result.servers():
        return beside(result, Dovecot.name, MESSAGES)
    works = {row.work for row in result.rows if row.server == SYNCING}
    written = [row for row in result.rows if row.work in works]
    return f"{beside(result, Dovecot.name, MESSAGES)}\n\n{ALIKE}\n\n{beside(msgspec.structs.replace(result, rows=written), SYNCING, MESSAGES)}"


def measured(bench: Bench, makers: Mapping[str, Callable], messages: int, repeat: int = 2, only: Mapping[str, str] | None = None) -> list[Row]:
    """The works of bench/imap.py on each server in turn; `only`: of which servers only a part; `repeat`: how often a work is done in a round."""
    rows: dict[tuple[str, str], Row] = {}
    for _ in range(bench.rounds):
        for name, make in makers.items():
            options = argparse.Namespace(messages=messages, rounds=repeat, connections=50, only=(only or {}).get(name, ""))
            with bench.place() as place, make(place) as server:
                for work, (wall, cpu) in imap.measure(server, options).items():
                    row = rows.setdefault((work, name), Row(work=work, server=name, facts={"messages": messages}, rounds=[]))
                    row.rounds.append({"ms": wall, "cpu": cpu})
            bench.say(f"  {name}: a round")
    return list(rows.values())


def better(work: str) -> bool:
    """Whether more of it is better: what is counted a second."""
    return "messages/s" in work


def beside(result: Result, peer: str, messages: int) -> str:
    """The table of ours and a peer; a work that the peer cannot do has only ours."""
    lines = []
    for work in dict.fromkeys(row.work for row in result.rows if not row.work.startswith("KiB")):      # works/idle.py has better ones
        own = result.row(work, OURS)
        try:
            other = result.row(work, peer)
        except LookupError:
            lines.append([work, "cannot", number(own.median("ms")), "", "", _cpu(own), ""])
            continue
        times = ratio(own, other, "ms") if better(work) else ratio(other, own, "ms")
        lines.append([work.replace("|", "\\|"), number(other.median("ms")), number(own.median("ms")), str(times), _cpu(other), _cpu(own),
                      verdict(work, times)])
    return table([f"{messages:,} messages; ms unless said", peer, OURS, "times (spread)", f"{peer} CPU ms", f"{OURS} CPU ms", "aim"], lines)


def verdict(work: str, times: Ratio) -> str:
    """Whether the aim is reached: ahead in all that reads, within 1.5 times in what writes."""
    if times.median > 1:
        return "ahead"
    if any(word in work for word in WRITES):
        return "within 1.5" if times.median >= 1 / 1.5 else "behind"
    return "behind"


def _cpu(row: Row) -> str:
    return number(row.median("cpu")) if row.median("cpu") else ""
