"""Accepting mail and sending it on to smtp-sink, beside Postfix."""

from __future__ import annotations

from bench.load import REMOTE
from bench.peers import FancyMail, Postfix
from bench.result import Result, Row
from bench.tables import Line, comparison
from bench.turns import Bench, Place
from bench.works.accepting import carry

RELAYING = "auth,queue,smtpin,smtpout"
CONFIG = """[smtpin]
relay-networks = ["127.0.0.0/8"]
[smtpout]
private-networks = true
[smtpout.transports."*"]
host = "127.0.0.1"
port = {port}
tls = "never"
"""
LINES = [Line("1 kB, 10 connections", "relay", {"size": 1000}, cpu=4), Line("100 kB, 10 connections", "relay", {"size": 100_000})]


def run(bench: Bench) -> list[Row]:
    rows = []
    with bench.load.sink() as port:
        def postfix(place: Place) -> Postfix:
            return Postfix(place.server, "relay", port, place.room("postfix"))

        def fancymail(place: Place) -> FancyMail:
            return FancyMail(place.server, RELAYING, CONFIG.format(port=port))
        for size, count in ((1000, 2000), (100_000, 500)):
            messages = bench.count(count, 100)
            rows += bench.in_turn("relay", {"Postfix": postfix, "FancyMail": fancymail},
                                  lambda server: carry(bench, server, messages, 10, size, lambda total: server.waiting() == 0, recipient=REMOTE),
                                  size=size, connections=10, messages=messages)
    return rows


def page(result: Result) -> str:
    return comparison(result, LINES, "Postfix")
