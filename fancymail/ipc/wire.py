"""A ZeroMQ socket on the event loop, over its file descriptor.

zmq.asyncio costs twice and more of this (docs/performance.md). The descriptor is edge-triggered: it tells that *something* may have
changed, once. So after every wake-up we receive until there is nothing left, after every send we look once more, and a slow poll looks
anyway, because a missed edge would silence a daemon for good. Used by server, client and alerts; knows frames, not messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq
from zmq.backend import Socket as Core

# pyzmq's convenience layer (enums for flags, a Python function around each frame) costs as much again as the call below it.
_send, _receive, _get = Core.send, Core.recv, Core.get
_NOW, _MORE, _RECEIVED_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE), int(zmq.RCVMORE)
_EVENTS, _IN, _OUT = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.POLLOUT)

TURN = 256                  # messages received before other work gets its turn
TURN_OCTETS = 1024 * 1024   # octets received before other work gets its turn
SAFETY_POLL = 1.0           # seconds


def receive_first(socket: zmq.Socket) -> bytes:
    """Return the first frame of the next message; raises zmq.Again when there is none."""
    return _receive(socket, _NOW)


def receive_rest(socket: zmq.Socket) -> list[bytes]:
    """Return the frames that follow in the message whose first frame was received; they are there already."""
    frames, more = [], _get(socket, _RECEIVED_MORE)
    while more:
        frame = _receive(socket, _NOW, False)           # a Frame knows whether more follow: to ask the socket costs as much as to receive
        frames.append(frame.bytes)
        more = frame.more
    return frames


class Wire:
    """Owns one socket: `received(frames)` is called for each message; `send` never blocks."""

    def __init__(self, socket: zmq.Socket, received: Callable[[list[bytes]], None], receive=None, writable=None) -> None:
        self.socket = socket
        self.received = received
        self.receive = receive or self._receive
        self.writable = writable            # called when a send that found the pipe full may be tried again
        self.wants_write = False
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self.deaf = False
        self._scheduled = False
        self.loop.add_reader(socket.fileno(), self.drain)
        self._poll = self.loop.call_later(SAFETY_POLL, self._safety)
        self.look_again()

    def _receive(self) -> list[bytes]:
        return [_receive(self.socket, _NOW), *receive_rest(self.socket)]

    def send(self, frames: list[bytes]) -> bool | None:
        """Send one message: True when it is on its way, False when the peer's pipe is full, None when the peer is gone (ROUTER)."""
        try:
            for frame in frames[:-1]:
                _send(self.socket, frame, _MORE)
            _send(self.socket, frames[-1], _NOW)
        except zmq.Again:
            self.wants_write = True
            return False
        except zmq.ZMQError:
            return None
        finally:
            if not self._scheduled:
                self._scheduled = True
                self.loop.call_soon(self.drain)
        return True

    def look_again(self) -> None:
        """Look for messages in the next turn of the loop."""
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self.loop.call_soon(self.drain)

    def drain(self) -> None:
        """Receive what is there, up to one turn's worth."""
        if self.closed or self.deaf:
            return
        self._scheduled = True              # sends made by `received` need no look of their own: this loop looks
        octets, socket, receive, received = 0, self.socket, self.receive, self.received
        try:
            for _ in range(TURN):
                # Asked before each message: to try until zmq.Again is raised costs as much as to receive two more.
                if not (state := _get(socket, _EVENTS)) & _IN:
                    self._all_read(state)
                    return
                frames = receive()
                received(frames)
                octets += len(frames[-1]) if frames else 0
                if octets > TURN_OCTETS or self.closed:
                    break
        except zmq.Again:
            self._all_read(0)
            return
        except zmq.ZMQError:
            if not self.closed:
                raise
            return
        self.loop.call_soon(self.drain)

    def _all_read(self, state: int) -> None:
        self._scheduled = False
        if self.wants_write and self.writable and state & _OUT:
            self.wants_write = False
            self.writable()

    def _safety(self) -> None:
        if not self.closed:
            self._poll = self.loop.call_later(SAFETY_POLL, self._safety)
            self.drain()

    def deafen(self) -> None:
        """Receive nothing more, but still send: what is asked from now on is asked again of our successor, and gets no error."""
        if not (self.deaf or self.closed):
            self.deaf = True
            self.loop.remove_reader(self.socket.fileno())

    def close(self, linger: int = 2000) -> None:
        """Close the socket; unsent messages have `linger` milliseconds."""
        if self.closed:
            return
        self.closed = True
        self._poll.cancel()
        self.loop.remove_reader(self.socket.fileno())
        self.socket.close(linger)
