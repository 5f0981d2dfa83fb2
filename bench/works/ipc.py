"""A `ping` between two processes: our wrapper beside synchronous pyzmq and zmq.asyncio (bench/ipc.py has the programs)."""

from __future__ import annotations

import tempfile

from bench import ipc
from bench.result import Result, Row, ratio
from bench.tables import number, table
from bench.turns import Bench

SYNC, ASYNCIO, OURS = "pyzmq, synchronous", "zmq.asyncio, uvloop", "our wire, uvloop"


def run(bench: Bench) -> list[Row]:
    rows = {name: Row(work="ping", server=name, rounds=[]) for name, *_ in ipc.CASES}
    for _ in range(bench.rounds):
        for name, server, client in ipc.CASES:
            found = {}
            for figure, in_flight in (("one", 1), ("many", ipc.IN_FLIGHT)):
                with tempfile.TemporaryDirectory() as folder:
                    endpoint = folder if server is ipc.daemon_server else f"ipc://{folder}/bench.ipc"
                    found[figure] = ipc.measure(server, client, endpoint, 0.5 if bench.quick else 1.5, in_flight)
            rows[name].rounds.append(found)
            bench.say(f"  ping {name}: {found['one']:.0f}/s, {found['many']:.0f}/s")
    return list(rows.values())


def page(result: Result) -> str:
    rows = [[row.server, number(row.median("one")), number(row.median("many"))] for row in result.rows]
    own = result.row("ping", OURS)
    beside = [(SYNC, 0.9), (ASYNCIO, 2.5)]
    words = [f"{times} times {name} (target {wanted:g}: {'reached' if times.median >= wanted else 'no'})"
             for name, wanted in beside for times in [ratio(own, result.row("ping", name), "many")]]
    return (table(["", "round trips/s", f"{ipc.IN_FLIGHT} in flight, messages/s"], rows) + f"\n\nPipelined, our wrapper makes {' and '.join(words)}.")
