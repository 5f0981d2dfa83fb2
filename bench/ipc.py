"""What a message costs: `ping` over our own loop wrapper, beside synchronous pyzmq and zmq.asyncio, in one run.

    python -m bench.ipc [--seconds 2] [--rounds 3]

Each pair is a server process and a client process on one ipc endpoint, all with the same frames ([empty, 16-octet tag, verb] ->
[empty, tag, ok, name]). Prints round trips/s (one in flight) and pipelined messages/s (128 in flight), the median of the rounds taken
in turn. The daemon rows are a whole daemon (dispatch, validation, roles), at the operator's door and at the CURVE door.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import deque

import uvloop
import zmq
import zmq.asyncio

from fancymail.base.settings.paths import Paths
from fancymail.ipc.client import Client
from fancymail.ipc.security import KeyRing
from fancymail.ipc.wire import Wire
from fancymail.servers.running.daemon import Daemon, run_daemon

IN_FLIGHT = 128
REPLY = [b"ok", b"bench"]


def sync_server(endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(endpoint)
    while True:
        frames = socket.recv_multipart()
        socket.send_multipart([*frames[:3], *REPLY])


def asyncio_server(endpoint: str) -> None:
    async def main() -> None:
        socket = zmq.asyncio.Context().socket(zmq.ROUTER)
        socket.bind(endpoint)
        while True:
            frames = await socket.recv_multipart()
            await socket.send_multipart([*frames[:3], *REPLY])
    uvloop.run(main())


def wire_server(endpoint: str) -> None:
    async def main() -> None:
        socket = zmq.Context().socket(zmq.ROUTER)
        socket.bind(endpoint)
        wire = Wire(socket, lambda frames: wire.send([*frames[:3], *REPLY]))
        await asyncio.Event().wait()
    uvloop.run(main())


class Bench(Daemon):
    """Nothing but the common verbs."""

    name = "queue"


def daemon_server(endpoint: str) -> None:
    run_daemon(Bench, endpoint)


def sync_client(endpoint: str, seconds: float, in_flight: int) -> float:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    frames = [b"", os.urandom(16), b"ping"]

    def turn() -> None:
        socket.recv_multipart()
        socket.send_multipart(frames)
    for _ in range(in_flight):
        socket.send_multipart(frames)
    return _rate(turn, seconds)


def _rate(turn, seconds: float) -> float:
    for _ in range(500):
        turn()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(100):
            turn()
        count += 100
    return count / elapsed


def asyncio_client(endpoint: str, seconds: float, in_flight: int) -> float:
    async def main() -> float:
        socket = zmq.asyncio.Context().socket(zmq.DEALER)
        socket.connect(endpoint)
        frames = [b"", os.urandom(16), b"ping"]
        for _ in range(in_flight):
            await socket.send_multipart(frames)
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            await socket.recv_multipart()
            await socket.send_multipart(frames)
            count += 1
        return count / elapsed
    return uvloop.run(main())


def wire_client(endpoint: str, seconds: float, in_flight: int) -> float:
    async def main() -> float:
        socket = zmq.Context().socket(zmq.DEALER)
        socket.connect(endpoint)
        frames, count = [b"", os.urandom(16), b"ping"], 0

        def received(_) -> None:
            nonlocal count
            count += 1
            wire.send(frames)
        wire = Wire(socket, received)
        start = time.perf_counter()
        for _ in range(in_flight):
            wire.send(frames)
        await asyncio.sleep(seconds)
        return count / (time.perf_counter() - start)
    return uvloop.run(main())


def daemon_client(state: str, seconds: float, in_flight: int, curve: bool = False) -> float:
    async def main() -> float:
        paths, keys = Paths(state), KeyRing(Paths(state).keys)
        operators, daemons = paths.endpoints("queue")
        options = {"keys": keys, "role": "smtpin", "server_key": keys.public("queue")} if curve else {}
        client = Client(zmq.Context(), daemons if curve else operators, **options)
        await client.call("ping")
        waiting = deque(client.call("ping") for _ in range(in_flight))
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            await waiting.popleft()
            waiting.append(client.call("ping"))
            count += 1
        for future in waiting:
            await future
        client.close()
        return count / elapsed
    return uvloop.run(main())


def curve_client(state: str, seconds: float, in_flight: int) -> float:
    return daemon_client(state, seconds, in_flight, curve=True)


def _child(function, pipe, *args) -> None:
    pipe.send(function(*args))


def measure(server, client, endpoint: str, seconds: float, in_flight: int) -> float:
    """Return messages/s of a client process against a server process."""
    fork = multiprocessing.get_context("fork")
    serving = fork.Process(target=server, args=(endpoint,), daemon=True)
    serving.start()
    if server is daemon_server:
        lock = Paths(endpoint).keys / "web.pub"
        while not lock.exists():
            time.sleep(0.05)
        time.sleep(0.3)
    here, there = fork.Pipe()
    asking = fork.Process(target=_child, args=(client, there, endpoint, seconds, in_flight))
    asking.start()
    result = here.recv()
    asking.join()
    serving.terminate()
    serving.join()
    return result


CASES = [("pyzmq, synchronous", sync_server, sync_client), ("zmq.asyncio, uvloop", asyncio_server, asyncio_client),
         ("our wire, uvloop", wire_server, wire_client), ("wire server, synchronous client", wire_server, sync_client),
         ("a daemon, operator's door", daemon_server, daemon_client), ("a daemon, CURVE", daemon_server, curve_client)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(args.rounds):
        for name, server, client in CASES:
            for in_flight in (1, IN_FLIGHT):
                with tempfile.TemporaryDirectory() as folder:
                    endpoint = folder if server is daemon_server else f"ipc://{folder}/bench.ipc"
                    found.setdefault((name, in_flight), []).append(measure(server, client, endpoint, args.seconds, in_flight))
    print(f"{'':34}{'round trips/s':>16}{f'pipelined {IN_FLIGHT}, /s':>20}")
    for name, *_ in CASES:
        print(f"{name:34}{statistics.median(found[name, 1]):16,.0f}{statistics.median(found[name, IN_FLIGHT]):20,.0f}")


if __name__ == "__main__":
    main()
