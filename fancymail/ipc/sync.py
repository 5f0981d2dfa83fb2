"""A small client without an event loop, for fmctl and scripts: one request at a time, with a deadline.

Talks to the operator's door (plain) or, with keys, to a CURVE endpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import zmq

from fancymail.ipc.message import DELIMITER, ERROR, OK, RAW, RAW_CHUNK, IpcError, Reply, encode_value, fitting, raise_error
from fancymail.ipc.security import KeyRing, connect, prepare


class SyncClient:
    """A DEALER socket to one daemon; use as a context manager or close()."""

    def __init__(self, endpoint: str, *, keys: KeyRing | None = None, role: str = "", server_key: bytes = b"", name: str = "") -> None:
        self.name = name or endpoint
        self.socket = prepare(zmq.Context.instance().socket(zmq.DEALER))
        self.socket.setsockopt(zmq.LINGER, 0)
        if server_key:
            keys.join(self.socket, role, server_key)
        connect(self.socket, endpoint)

    def call(self, verb: str, *params, timeout: float = 10.0) -> list[bytes]:
        """Say a verb; return the parameters of `ok`, or raise the IpcError that was answered (4.4.1: no answer in time)."""
        answers = self.stream(verb, *params, timeout=timeout)
        reply = next(answers)
        answers.close()
        return list(reply.params) if reply.verb == "ok" else [reply.verb.encode(), *reply.params]

    def stream(self, verb: str, *params, timeout: float = 10.0) -> Iterator[Reply]:
        """Say a verb and yield the messages of its answer; the caller stops when it has the last. An `error` raises IpcError."""
        tag = self._say(verb, params)
        while True:
            yield self._next(tag, timeout)

    def rows(self, verb: str, *params, timeout: float = 10.0) -> tuple[list[bytes], list[Reply]]:
        """Say a verb that answers ok, rows, ok; return the parameters of the first ok, and the rows."""
        answers = self.stream(verb, *params, timeout=timeout)
        first, rows = list(next(answers).params), []
        for reply in answers:
            if reply.verb == "ok":
                return first, rows
            rows.append(reply)
        raise AssertionError("unreachable")

    def read_raw(self, verb: str, *params, timeout: float = 10.0) -> tuple[list[bytes], bytes]:
        """Say a verb that answers `ok: LENGTH ...` and raw chunks; return the parameters of ok, and all octets."""
        answers = self.stream(verb, *params, timeout=timeout)
        first, chunks = list(next(answers).params), []
        missing = int(first[0])
        while missing > 0:
            chunks += (reply := next(answers)).params
            missing -= sum(map(len, reply.params))
        return first, b"".join(chunks)

    def write_raw(self, verb: str, *params, content: bytes, timeout: float = 30.0) -> list[bytes]:
        """Say a verb that receives raw chunks after its first ok; return the parameters of the last ok."""
        tag = self._say(verb, params)
        self._next(tag, timeout)
        for start in range(0, len(content), RAW_CHUNK):
            self.socket.send_multipart([DELIMITER, tag, RAW, content[start:start + RAW_CHUNK]])
        return list(self._next(tag, timeout).params)

    def _say(self, verb: str, params: tuple) -> bytes:
        """Raises IpcError for what is no text (an argument of a shell may be any octets) or does not fit."""
        tag = os.urandom(16)
        try:
            frames = fitting([verb.encode(), *[encode_value(value) for value in params]])
        except UnicodeEncodeError:
            raise IpcError("5.5.4", f"what {verb!a} is to be told is not UTF-8") from None
        self.socket.send_multipart([DELIMITER, tag, *frames])
        return tag

    def _next(self, tag: bytes, timeout: float) -> Reply:
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if not self.socket.poll(int(left * 1000) + 1):
                break
            frames = self.socket.recv_multipart()
            if len(frames) < 3 or frames[1] != tag:      # a late answer to something else
                continue
            if frames[2] == ERROR:
                raise_error(frames[3:])
            return Reply("ok" if frames[2] == OK else frames[2].decode("ascii", "replace"), *frames[3:])
        raise IpcError("4.4.1", f"no answer from {self.name} in {timeout:g} s")

    def close(self) -> None:
        """End the connection."""
        self.socket.close(0)

    def __enter__(self) -> "SyncClient":
        return self

    def __exit__(self, *exc) -> None:
        self.close()
