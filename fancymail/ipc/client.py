"""The asking side: one DEALER socket to one daemon, many requests under way, each with its own tag and deadline.

A REQ socket wedges for good when its server dies with a request in flight; here every request carries a unique tag, is said again
with the same tag after a reconnection (or silence), and ends at its deadline with 4.4.1 at the latest. Used by daemons (Daemon.ask)
and tests; tools that have no loop use ipc/sync.py.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from fancymail.ipc.message import DELIMITER, ERROR, OK, RAW, RAW_CHUNK, IpcError, Reply, encode_value, fitting, raise_error
from fancymail.ipc.security import KeyRing, connect, prepare
from fancymail.ipc.wire import Wire

DEADLINE = 10.0            # seconds that an answer may take unless the asker says otherwise
AGAIN = 2.0                # seconds of silence after which a request is said again, with the same tag
MOST_WAITING = 20_000      # requests that may wait to be sent


class Request:
    """One request under way."""

    __slots__ = ("frames", "future", "deadline", "said", "answers")

    def __init__(self, frames: list[bytes], future, deadline: float, said: float, answers) -> None:
        self.frames, self.future, self.deadline, self.said, self.answers = frames, future, deadline, said, answers


class Client:
    """A connection to one daemon, made at the first request and kept for good; ZeroMQ reconnects it by itself."""

    def __init__(self, context: zmq.Context, endpoint: str, *, keys: KeyRing | None = None, role: str = "", server_key: bytes = b"",
                 name: str = "", connected: Callable[[], None] | None = None) -> None:
        self.name = name or endpoint
        self.connected = connected
        self.loop = asyncio.get_running_loop()
        self.requests: dict[bytes, Request] = {}
        self.unsent: deque[list[bytes]] = deque()
        self.prefix, self.counter = os.urandom(12), 0
        socket = prepare(context.socket(zmq.DEALER))
        if server_key:
            keys.join(socket, role, server_key)
        self.monitor = Wire(socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED), self._connected)
        self.wire = Wire(socket, self._received, writable=self._flush)
        connect(socket, endpoint)
        self._timer = self.loop.call_later(0.5, self._tick)
        self.up = False            # the connection stands
        self.closed = False

    # -- asking ------------------------------------------------------------------------------------------------------------

    def call(self, verb: str, *params, timeout: float = DEADLINE) -> asyncio.Future:
        """Say a verb; the future gives the parameters of `ok` as octets, or raises the IpcError that was answered (4.4.1: no answer)."""
        future = self.loop.create_future()
        self._say(verb, params, timeout, future, None)
        return future

    async def stream(self, verb: str, *params, timeout: float = 60.0, tag: bytes = b"") -> AsyncIterator[Reply]:
        """Say a verb whose answer has several messages and yield each; an `error` raises IpcError. The asker knows which is the last."""
        answers: asyncio.Queue = asyncio.Queue()
        tag = self._say(verb, params, timeout, None, answers, tag)
        try:
            while True:
                silence = self.loop.call_later(timeout, answers.put_nowait, IpcError("4.4.1", f"no answer from {self.name}"))
                try:
                    reply = await answers.get()
                finally:
                    silence.cancel()
                if isinstance(reply, IpcError):
                    raise reply
                yield reply
        finally:
            self.requests.pop(tag, None)

    async def rows(self, verb: str, *params, timeout: float = 60.0) -> tuple[list[bytes], list[Reply]]:
        """Say a verb that answers ok, rows, ok (as `list`); return the parameters of the first ok, and the rows."""
        first, rows = None, []
        async for reply in (answers := self.stream(verb, *params, timeout=timeout)):
            if reply.verb != "ok":
                rows.append(reply)
            elif first is None:
                first = list(reply.params)
            else:
                break
        await answers.aclose()
        return first, rows

    async def read_raw(self, verb: str, *params, timeout: float = 60.0) -> tuple[list[bytes], bytes]:
        """Say a verb that answers `ok: LENGTH ...` and raw chunks (as `retr`); return the parameters of ok, and all octets."""
        first, chunks, missing = None, [], 0
        async for reply in (answers := self.stream(verb, *params, timeout=timeout)):
            if first is None:
                first, missing = list(reply.params), int(reply.params[0])
            else:
                chunks += reply.params
                missing -= sum(map(len, reply.params))
            if missing <= 0:
                break
        await answers.aclose()
        return first, b"".join(chunks)

    async def write_raw(self, verb: str, *params, content: bytes, timeout: float = 60.0) -> list[bytes]:
        """Say a verb that receives raw chunks after its first ok (as `store`); return the parameters of the last ok."""
        tag = self._tag()
        answers = self.stream(verb, *params, timeout=timeout, tag=tag)
        await anext(answers)
        for start in range(0, len(content), RAW_CHUNK):
            self._put([DELIMITER, tag, RAW, content[start:start + RAW_CHUNK]])
            while self.unsent:
                await asyncio.sleep(0.001)
        last = await anext(answers)
        await answers.aclose()
        return list(last.params)

    def _tag(self) -> bytes:
        self.counter += 1
        return self.prefix + self.counter.to_bytes(4, "big")

    def _say(self, verb: str, params: tuple, timeout: float, future, answers, tag: bytes = b"") -> bytes:
        self.counter += 1
        tag = tag or self.prefix + self.counter.to_bytes(4, "big")
        frames = [DELIMITER, tag, *fitting([verb.encode(), *[encode_value(value) for value in params]])]
        now = self.loop.time()
        self._put(frames)                       # first: what is refused here must not be said again later
        self.requests[tag] = Request(frames, future, now + timeout, now, answers)
        return tag

    def _put(self, frames: list[bytes]) -> None:
        if self.unsent or not self.wire.send(frames):
            if len(self.unsent) >= MOST_WAITING:
                raise IpcError("4.4.5", f"too many requests wait for {self.name}")
            self.unsent.append(frames)

    def _flush(self) -> None:
        while self.unsent and self.wire.send(self.unsent[0]):
            self.unsent.popleft()

    # -- answers -----------------------------------------------------------------------------------------------------------

    def _received(self, frames: list[bytes]) -> None:
        if len(frames) < 3:
            return
        request = self.requests.get(frames[1])
        if request is None:                     # an answer that came after its deadline, or twice
            return
        verb = frames[2]
        if request.answers is not None:
            request.answers.put_nowait(_error_of(frames[3:]) if verb == ERROR else Reply(verb.decode("ascii", "replace"), *frames[3:]))
            return
        del self.requests[frames[1]]
        future = request.future
        if future.done():
            return
        if verb == OK:
            future.set_result(frames[3:])
        elif verb == ERROR:
            future.set_exception(_error_of(frames[3:]))
        else:
            future.set_result([verb, *frames[3:]])

    def _connected(self, frames: list[bytes]) -> None:
        """The connection stands (again): what was on its way when the last one broke is said again."""
        self.up = parse_monitor_message(frames)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if not self.up:
            return
        waiting = {id(item) for item in self.unsent}
        for request in list(self.requests.values()):
            if request.answers is None and request.said + 0.05 < self.loop.time() and id(request.frames) not in waiting:
                self._again(request)
        if self.connected:
            self.connected()

    def _tick(self) -> None:
        now = self.loop.time()
        self._timer = self.loop.call_later(0.5, self._tick)
        for tag, request in list(self.requests.items()):
            if request.future is None:
                continue
            if request.future.done():           # given up by the asker
                del self.requests[tag]
            elif now >= request.deadline:
                del self.requests[tag]
                request.future.set_exception(IpcError("4.4.1", f"no answer from {self.name}"))
            elif now >= request.said + AGAIN and not self.unsent:
                self._again(request)
        self._flush()

    def _again(self, request: Request) -> None:
        request.said = self.loop.time()
        self._put(request.frames)

    def close(self) -> None:
        """End the connection; requests under way end with 4.4.1, those that a peer can still read reach it."""
        if self.closed:
            return
        self.closed = True
        self._timer.cancel()
        self.wire.socket.disable_monitor()
        self.monitor.close(0)
        self.wire.close(2000 if self.up else 0)         # a peer that is away takes nothing however long we linger
        for request in self.requests.values():
            if request.future is not None and not request.future.done():
                request.future.set_exception(IpcError("4.4.1", f"the connection to {self.name} was closed"))
                request.future.exception()      # nobody may be waiting any more


def _error_of(params: list[bytes]) -> IpcError:
    try:
        raise_error(params)
    except IpcError as error:
        return error
