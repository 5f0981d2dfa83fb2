"""Accepting mail beside Postfix: many messages per connection, one per connection, and large ones."""

from __future__ import annotations

from bench.result import Result, Row
from bench.tables import Line, comparison
from bench.turns import Bench
from bench.works.accepting import MAKERS, accept

LINES = [Line("1 kB, 10 connections, many messages each", "accept", {"size": 1000}, cpu=8, rate=5),
         Line("1 kB, one message per connection", "session", cpu=5),
         Line("1 MB, 10 connections, many messages each", "accept", {"size": 1_000_000}, cpu=4)]


def run(bench: Bench) -> list[Row]:
    small, large = bench.count(4000, 500), bench.count(200, 40)
    rows = bench.in_turn("accept", MAKERS, lambda server: accept(bench, server, small, 10, 1000), size=1000, connections=10, messages=small)
    rows += bench.in_turn("session", MAKERS, lambda server: accept(bench, server, small // 2, 10, 1000, sessions=True), size=1000, connections=10,
                          messages=small // 2)
    return rows + bench.in_turn("accept", MAKERS, lambda server: accept(bench, server, large, 10, 1_000_000), size=1_000_000, connections=10,
                                messages=large)


def page(result: Result) -> str:
    large = [f"{server}: {1e6 / result.row('accept', server, size=1_000_000).median('cpu'):,.0f}" for server in result.servers()]
    return f"{comparison(result, LINES, 'Postfix')}\n\nMegabytes of 1 MB messages per CPU second: {', '.join(large)}."
