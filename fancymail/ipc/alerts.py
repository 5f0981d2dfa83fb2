"""Alerts: `subscribe: topic ; callback`, then the daemon connects back and says `alert: topic` when something is new.

An alert is a hint. It may be lost, or come twice; it carries no state, so whoever is woken asks. A subscriber that does not read
loses alerts, never the daemon its memory. Used by servers/running/daemon.py.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import zmq

from fancymail.ipc.message import DELIMITER, IpcError
from fancymail.ipc.security import KeyRing, connect, prepare
from fancymail.ipc.wire import Wire

MOST_TOPICS = 10_000
MOST_CALLBACKS = 256        # open connections to subscribers
MOST_FULL = 1000            # alerts in a row that found a subscriber's pipe full, before it counts as gone
ALERT_HIGH_WATER = 64


class Callbacks:
    """The subscribers of one daemon, and the sockets back to them."""

    def __init__(self, context: zmq.Context, keys: KeyRing, role: str, curve_peer: Callable[[str], bytes]) -> None:
        self.context, self.keys, self.role = context, keys, role
        self.curve_peer = curve_peer            # callback -> public key of the daemon whose door it is, or b""
        self.topics: dict[str, dict[str, None]] = {}
        self.wires: dict[str, Wire] = {}
        self.full: dict[str, int] = {}
        self.pending: set[str] = set()
        self.scheduled = False

    def subscribe(self, topic: str, callback: str, key: str = "") -> None:
        """Add a subscriber; the same one twice is one. Raises IpcError for a callback that is not allowed."""
        if topic not in self.topics and len(self.topics) >= MOST_TOPICS:
            raise IpcError("4.5.3", "too many topics")
        if callback not in self.wires:
            self._connect(callback, key)
        self.topics.setdefault(topic, {})[callback] = None

    def unsubscribe(self, topic: str, callback: str) -> None:
        """Remove a subscriber; the callback must be spelled as it was given. Raises IpcError when it was not subscribed."""
        if callback not in self.topics.get(topic, ()):
            raise IpcError("5.5.4", f"{callback} is not subscribed to {topic}")
        del self.topics[topic][callback]
        if not self.topics[topic]:
            del self.topics[topic]
        if not any(callback in callbacks for callbacks in self.topics.values()):
            self._disconnect(callback)

    def alert(self, topic: str) -> None:
        """Tell the subscribers of a topic, once per turn of the loop however often this is called."""
        if topic not in self.topics:
            return
        self.pending.add(topic)
        if not self.scheduled:
            self.scheduled = True
            next(iter(self.wires.values())).loop.call_soon(self._tell)

    def _tell(self) -> None:
        self.scheduled = False
        pending, self.pending = self.pending, set()
        for topic in pending:
            for callback in list(self.topics.get(topic, ())):
                self._tell_one(topic, callback)

    def _tell_one(self, topic: str, callback: str) -> None:
        if self.wires[callback].send([DELIMITER, b"", b"alert", topic.encode()]):
            self.full[callback] = 0
            return
        self.full[callback] = self.full.get(callback, 0) + 1
        if self.full[callback] > MOST_FULL:     # nobody has read there for a long time
            for callbacks in self.topics.values():
                callbacks.pop(callback, None)
            self.topics = {name: callbacks for name, callbacks in self.topics.items() if callbacks}
            self._disconnect(callback)

    def _connect(self, callback: str, key: str) -> None:
        if len(self.wires) >= MOST_CALLBACKS:
            raise IpcError("4.5.3", "too many subscribers")
        endpoint, server_key = self._endpoint(callback, key)
        socket = prepare(self.context.socket(zmq.DEALER))
        socket.setsockopt(zmq.SNDHWM, ALERT_HIGH_WATER)
        socket.setsockopt(zmq.LINGER, 0)
        try:
            if server_key:
                self.keys.join(socket, self.role, server_key)
            connect(socket, endpoint)
        except zmq.ZMQError as error:
            socket.close(0)
            raise IpcError("5.5.4", f"cannot connect to {callback}: {error}") from None
        self.wires[callback] = Wire(socket, lambda frames: None)      # answers to alerts are read and forgotten

    def _endpoint(self, callback: str, key: str) -> tuple[str, bytes]:
        """Return (endpoint, server key) of a callback; plain TCP is for loopback only, since an alert in clear tells who is active."""
        if callback.startswith("ipc://"):
            return callback, self.curve_peer(callback)
        match = re.fullmatch(r"(?:socket|tcp)://(\[[0-9a-fA-F:.]+\]|[0-9.]+|localhost):([0-9]{1,5})", callback)
        if not match or not 0 < int(match[2]) < 65536:
            raise IpcError("5.5.4", "a callback is socket://ADDRESS:PORT, tcp://ADDRESS:PORT or ipc://PATH")
        host = "127.0.0.1" if match[1] == "localhost" else match[1]
        if len(key) == 40:
            return f"tcp://{host}:{match[2]}", key.encode()
        try:
            loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            raise IpcError("5.5.4", f"{host} is no address") from None
        if key or not loopback:
            raise IpcError("5.7.1", "a callback beyond this machine needs its CURVE public key as third parameter")
        return f"tcp://{host}:{match[2]}", b""

    def _disconnect(self, callback: str) -> None:
        self.wires.pop(callback).close(0)
        self.full.pop(callback, None)

    def close(self) -> None:
        """End all connections to subscribers."""
        for wire in self.wires.values():
            wire.close(0)
