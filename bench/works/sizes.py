"""Accepting against the size of messages, 1 kB to 1 MB, 10 connections."""

from __future__ import annotations

from bench.result import Result, Row
from bench.turns import Bench
from bench.works.accepting import MAKERS, accept
from bench.works.curves import figure, ratios

COUNTS = {1_000: 2000, 10_000: 2000, 100_000: 500, 1_000_000: 120}


def run(bench: Bench) -> list[Row]:
    rows = []
    for size, count in COUNTS.items():
        messages = bench.count(count, 40)
        rows += bench.in_turn("accept", MAKERS, lambda server: accept(bench, server, messages, 10, size), size=size, messages=messages)
    return rows


def page(result: Result) -> str:
    return ratios(result, "size", "octets", "Postfix")


def figures(result: Result) -> dict[str, tuple[str, str]]:
    title = "Accepting a message, against its size"
    return {"sizes.svg": (title, figure(result, "size", title, "octets"))}
