"""Accepting mail into the queue, as several parts measure it: Postfix holds what it takes, ours has no consumer running."""

from __future__ import annotations

from bench.peers import FancyMail, Postfix, wait_until
from bench.turns import Bench, Place, Spent

ACCEPTING = "auth,queue,smtpin"


def postfix(place: Place) -> Postfix:
    return Postfix(place.server, "hold", room=place.room("postfix"))


def fancymail(place: Place) -> FancyMail:
    return FancyMail(place.server, ACCEPTING)


MAKERS = {"Postfix": postfix, "FancyMail": fancymail}


def accept(bench: Bench, server, messages: int, connections: int, size: int, sessions: bool = False) -> dict[str, float]:
    """Send messages, some to warm up first; rate and CPU time of those that counted."""
    bench.load.send(server.port, connections * 5, connections, size, sessions=sessions)
    with Spent(server) as spent:
        bench.load.send(server.port, messages, connections, size, sessions=sessions)
    return spent.each(messages)


def carry(bench: Bench, server, messages: int, connections: int, size: int, done, **options) -> dict[str, float]:
    """The same until `done(how many)` says that all are where they should be."""
    warm = connections * 5
    bench.load.send(server.port, warm, connections, size, **options)
    wait_until(lambda: done(warm))
    with Spent(server) as spent:
        bench.load.send(server.port, messages, connections, size, **options)
        wait_until(lambda: done(warm + messages))
    return spent.each(messages)
