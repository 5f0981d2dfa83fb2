"""The works of imap.py in a mailbox of 100,000 messages."""

from __future__ import annotations

from bench.peers import Dovecot
from bench.result import Result, Row
from bench.tables import OURS
from bench.turns import Bench
from bench.works.imap import beside, dovecot, measured, suite

PEERS = ("dovecot",)
MESSAGES = 100_000


def run(bench: Bench) -> list[Row]:
    return measured(bench, {Dovecot.name: dovecot, OURS: suite}, bench.count(MESSAGES, 500), repeat=1)


def page(result: Result) -> str:
    return beside(result, Dovecot.name, MESSAGES)
