"""From SMTP into a mailbox, end to end: beside Postfix with Dovecot's LMTP, and Postfix's own Maildir delivery. All processes count."""

from __future__ import annotations

from bench.peers import FancyMail, Postfix, PostfixDovecot
from bench.result import Result, Row
from bench.tables import Line, comparison
from bench.turns import Bench, Place
from bench.works.accepting import carry

PEERS = ("postfix", "dovecot")
DELIVERING = "auth,queue,smtpin,mailbox"
LINE = "1 kB, 10 connections, accepted and delivered"


def pair(place: Place) -> PostfixDovecot:
    return PostfixDovecot(place.server, place.room("postfix"), place.room("dovecot"))


def maildir(place: Place) -> Postfix:
    return Postfix(place.server, "mailbox", room=place.room("postfix"))


def fancymail(place: Place) -> FancyMail:
    return FancyMail(place.server, DELIVERING)


SERVERS = {"Postfix + Dovecot": pair, "Postfix, Maildir": maildir, "FancyMail": fancymail}


def run(bench: Bench) -> list[Row]:
    messages = bench.count(2000, 300)
    return bench.in_turn("deliver", SERVERS, lambda server: carry(bench, server, messages, 10, 1000, lambda total: server.delivered() >= total),
                         size=1000, connections=10, messages=messages)


def page(result: Result) -> str:
    return "\n\n".join(comparison(result, [Line(LINE, "deliver", cpu=target)], theirs)
                       for theirs, target in (("Postfix + Dovecot", 10), ("Postfix, Maildir", 0)))
