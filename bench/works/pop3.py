"""POP3 beside Dovecot over a Maildir of the same messages: bench/pop3.py has the works."""

from __future__ import annotations

from bench import pop3
from bench.peers import Dovecot, FancyMail
from bench.result import Result, Row
from bench.tables import OURS, Line, comparison
from bench.turns import Bench, Spent

PEERS = ("dovecot",)
MESSAGES, SIZE = 1000, 4000


def run(bench: Bench) -> list[Row]:
    messages = bench.count(MESSAGES, 100)
    rows = {(work, name): Row(work=work, server=name, facts={"messages": messages}, rounds=[]) for work in pop3.WORK for name in (Dovecot.name, OURS)}
    with bench.place() as theirs, bench.place() as ours:
        with Dovecot(theirs.server, room=theirs.room("dovecot")) as dovecot, FancyMail(ours.server, config=pop3.CONFIG) as suite:
            for server in (dovecot, suite):
                pop3.fill(server, pop3.messages(messages, SIZE))
                pop3.fetch(server, messages, 8)                            # warm
            for _ in range(bench.rounds):
                for work, (do, count) in pop3.WORK.items():
                    for server in (dovecot, suite):
                        with Spent(server) as spent:
                            do(server, messages)
                        rows[work, server.name].rounds.append(spent.each(count(messages)))
                        bench.say(f"  {work} {server.name}: {rows[work, server.name].rounds[-1]}")
    return list(rows.values())


def page(result: Result) -> str:
    works = dict.fromkeys(row.work for row in result.rows)
    return comparison(result, [Line(work, work, rate=1, cpu=1) for work in works], Dovecot.name, "operations")
