"""Accepting and delivering beside the other servers of Debian: OpenSMTPD, Exim, chasquid. What they do differently is said in the table."""

from __future__ import annotations

from bench.peers import Chasquid, Exim, OpenSmtpd
from bench.result import Result, Row, ratio
from bench.tables import OURS, number, table
from bench.turns import Bench, Place
from bench.works.accepting import MAKERS, accept

PEERS = ("postfix", "opensmtpd", "exim", "chasquid")
NOTES = {"Postfix": "held; one sync each", "OpenSMTPD": "delivery paused; does not sync", "Exim": "queue_only; three syncs each",
         "chasquid": "hands each to /bin/true; does not sync", "FancyMail": "no consumer; shared syncs"}


def opensmtpd(place: Place) -> OpenSmtpd:
    return OpenSmtpd(place.server, "hold", place.room("opensmtpd"))


def exim(place: Place) -> Exim:
    return Exim(place.server, "hold", place.room("exim"))


def chasquid(place: Place) -> Chasquid:
    return Chasquid(place.server, place.room("chasquid"))


SERVERS = {**MAKERS, "OpenSMTPD": opensmtpd, "Exim": exim, "chasquid": chasquid}


def run(bench: Bench) -> list[Row]:
    messages = bench.count(1000, 200)
    return bench.in_turn("accept", SERVERS, lambda server: accept(bench, server, messages, 10, 1000), size=1000, connections=10, messages=messages)


def page(result: Result) -> str:
    own, rows = result.row("accept", OURS), []
    for server in result.servers():
        row = result.row("accept", server)
        rows.append([server, number(row.median("rate")), number(row.median("cpu")), "" if row is own else str(ratio(row, own, "cpu")), NOTES[server]])
    return table(["1 kB, 10 connections, many messages each", "messages/s", "CPU us", "of ours (spread)", "how"], rows)
