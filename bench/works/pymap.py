"""What imap.py reads, beside pymap, the other IMAP server in Python.

It reads its Maildir at every turn, so the mailbox is a small one; and of four clients that append at the same time some are answered [TIMEOUT], so
writing is not compared.
"""

from __future__ import annotations

from bench.peers.pymap import Pymap, installed
from bench.result import Result, Row
from bench.tables import OURS
from bench.turns import Bench, Place
from bench.works.imap import beside, measured, suite

PEERS = ()
MESSAGES = 200


def pymap(place: Place) -> Pymap:
    return Pymap(place.server, installed(place.packages.folder))


def run(bench: Bench) -> list[Row]:
    return measured(bench, {Pymap.name: pymap, OURS: suite}, bench.count(MESSAGES, 100), only=dict.fromkeys((Pymap.name, OURS), "reads"))


def page(result: Result) -> str:
    return beside(result, Pymap.name, MESSAGES)
