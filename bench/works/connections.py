"""Accepting 1 kB messages against the number of connections, many messages each."""

from __future__ import annotations

from bench.result import Result, Row
from bench.turns import Bench
from bench.works.accepting import MAKERS, accept
from bench.works.curves import figure, ratios


def run(bench: Bench) -> list[Row]:
    rows = []
    for connections in (1, 5, 10, 20, 50):
        messages = bench.count(1000 if connections == 1 else 2000, 100)
        rows += bench.in_turn("accept", MAKERS, lambda server: accept(bench, server, messages, connections, 1000), connections=connections,
                              messages=messages)
    return rows


def page(result: Result) -> str:
    return ratios(result, "connections", "connections", "Postfix")


def figures(result: Result) -> dict[str, tuple[str, str]]:
    title = "Accepting a message of 1 kB, against the connections"
    return {"connections.svg": (title, figure(result, "connections", title, "connections"))}
