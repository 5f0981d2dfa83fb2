"""The door of a mail daemon: listening sockets, caps, and a Connection for everyone who is let in.

A daemon makes one Listener per kind of port (plain, implicit TLS, LMTP), all with the same Caps, and opens addresses on it.
It accepts in small batches, refuses in the protocol's own words who comes too many, lives on without file descriptors, and
drains: no new connections, the present ones end by themselves. It decides nothing about mail and reads no octet of it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import resource
import socket
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from fancymail.base.log import Log
from fancymail.servers.doors.connection import Connection, Session
from fancymail.servers.doors.tls import Certificates
from fancymail.servers.running.sockets import listening

BATCH = 64                       # connections accepted in one turn of the loop
RESERVED = 256                   # descriptors that are kept for files, IPC and the log
PAUSE = 0.25                     # seconds without accepting after the descriptors ran out
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=8192)
def identify(peer: str) -> tuple[str, bool]:
    """Return the key under which an address is counted (/32, or /64 of IPv6) and whether it is our own host."""
    if not peer:
        return "", True                           # a unix socket: whoever may open the file is one of us
    address = ipaddress.ip_address(peer.partition("%")[0])
    if address.version == 6:
        return str(ipaddress.IPv6Network((address, 64), strict=False)), address.is_loopback
    return str(address), address.is_loopback


@lru_cache(maxsize=8192)
def inside(peer: str, networks: tuple[Network, ...]) -> bool:
    """Tell whether an address lies in one of the networks."""
    if not peer or not networks:
        return False
    address = ipaddress.ip_address(peer.partition("%")[0])
    return any(address.version == network.version and address in network for network in networks)


def _reserve() -> int:
    """A descriptor to give up when none is left; -1 when somebody was faster, and then the pause alone must do."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


@dataclass
class Caps:
    """How many sessions a daemon holds: in all, and of one address (/64 for IPv6). Our own host is bound by the first only."""

    total: int = 10_000
    per_address: int = 50
    sessions: int = 0
    addresses: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.allow(self.total, self.per_address)

    def allow(self, total: int, per_address: int) -> None:
        """Take new bounds, in all no more than there are descriptors; who is here stays."""
        self.total = min(total, max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED))
        self.per_address = per_address

    def full(self) -> bool:
        """No room for anyone?"""
        return self.sessions >= self.total

    def take(self, key: str, own: bool) -> bool:
        """Count one more of an address; False when there are too many of it."""
        if not own and self.addresses[key] >= self.per_address:
            return False
        self.addresses[key] += 1
        return True

    def release(self, key: str) -> None:
        """One of an address is gone."""
        if self.addresses[key] > 1:
            self.addresses[key] -= 1
        else:
            del self.addresses[key]


class Listener:
    """One kind of port. `refusal` and `failure` are whole lines: what is said to one too many, and after a bug of ours.

    `make_session(connection)` is called after the PROXY header and implicit TLS; its engine's first output is the greeting.
    `trusted` are the networks whose connections begin with a PROXY header. Implicit TLS without `certificates` sends everybody away: under
    the supervisor the socket listens in any case, and who knocks must not wait for an answer that cannot come.
    Counters: connections, refused, handshakes, handshakes_failed, starttls_refused, proxy_failed, stalled, expired, broken.
    """

    PROXY_SECONDS = 5.0

    def __init__(self, name: str, make_session: Callable[[Connection], Session], *, log: Log, caps: Caps | None = None,
                 counters: Counter | None = None, certificates: Certificates | None = None, implicit_tls: bool = False,
                 refusal: bytes = b"", failure: bytes = b"", trusted: Iterable[str] = ()) -> None:
        self.name, self.make_session, self.log = name, make_session, log
        self.caps = caps if caps is not None else Caps()
        self.counters = counters if counters is not None else Counter()
        self.certificates, self.implicit_tls = certificates, implicit_tls
        self.refusal, self.failure = refusal, failure
        self.trust(trusted)
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self._doors: dict[socket.socket, int] = {}          # listening socket -> its port
        self._reserve = _reserve()
        self._empty: asyncio.Future | None = None

    def trust(self, networks: Iterable[str]) -> None:
        """From now on connections of these networks, and of no others, begin with a PROXY header."""
        self.trusted = tuple(ipaddress.ip_network(network, strict=False) for network in networks)

    # -- doors -------------------------------------------------------------------------------------------------------

    def open(self, address: str, state: Path | None = None, mode: int | None = None, reuse_port: bool = False) -> int:
        """Listen on "host:port", "[v6]:port", "*:port" or a unix path (with `mode`); return the port, 0 for a path. Raises OSError."""
        door = listening(address, state, reuse_port)
        if door.family == socket.AF_UNIX:
            port = 0
            if mode is not None and stat.S_IMODE(os.stat(door.getsockname()).st_mode) != mode:
                os.chmod(door.getsockname(), mode)
        else:
            port = door.getsockname()[1]
            door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)      # accepted sockets inherit both on Linux
            door.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._doors[door] = port
        self.loop.add_reader(door.fileno(), self._accept, door)
        return port

    def stop(self) -> None:
        """Accept no more; the kernel refuses who comes, unless another process shares the socket."""
        for door in self._doors:
            self.loop.remove_reader(door.fileno())
            door.close()
        self._doors.clear()

    async def drain(self, seconds: float) -> None:
        """Accept no more and wait until all sessions ended; after `seconds` those that are left are cut."""
        self.stop()
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            self._empty = self.loop.create_future()
            await asyncio.wait((self._empty,), timeout=seconds)
        self.close()

    def close(self) -> None:
        """Cut everything."""
        self.stop()
        for connection in list(self.connections):
            connection.abort()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    # -- accepting ---------------------------------------------------------------------------------------------------

    def _accept(self, door: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                sock, address = door.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue                          # gone before we looked
            except OSError as error:
                self._exhausted(door, error)
                return
            self._welcome(sock, address, self._doors[door])

    def _welcome(self, sock: socket.socket, address, port: int) -> None:
        sock.setblocking(False)
        self.counters["connections"] += 1
        peer, peer_port = ("", 0) if isinstance(address, (str, bytes)) else address[:2]
        peer = peer.removeprefix("::ffff:") if "." in peer else peer         # RFC 4291 2.5.5.2: a mapped IPv4 address
        if self.caps.full():
            self._refuse(sock, peer, "too many sessions")
            return
        connection = Connection(self, sock, peer, peer_port, port)
        behind_proxy = inside(peer, self.trusted)
        self.connections.add(connection)
        self.caps.sessions += 1
        if behind_proxy or self.admit(connection):
            connection.start(behind_proxy)

    def admit(self, connection: Connection) -> bool:
        """Count a connection under its address; one too many is refused and closed."""
        key, own = identify(connection.peer)
        if self.caps.take(key, own):
            connection.counted = key
            return True
        self._count_refused(connection.peer, "too many sessions of this address")
        if not self.implicit_tls:
            connection.write(self.refusal)
        connection.close()
        return False

    def gone(self, connection: Connection) -> None:
        """A connection is closed: give back what it was counted as."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.caps.sessions -= 1
        if connection.counted is not None:
            self.caps.release(connection.counted)
        if not self.connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def report(self, connection: Connection, error: BaseException) -> None:
        """Log a bug of ours that ended a session."""
        self.counters["broken"] += 1
        self.log.exception("session broken", error, listener=self.name, peer=connection.peer)

    def is_loopback(self, peer: str) -> bool:
        """Tell whether a peer is our own host."""
        return identify(peer)[1]

    def _refuse(self, sock: socket.socket, peer: str, reason: str) -> None:
        self._count_refused(peer, reason)
        try:
            if not self.implicit_tls:
                sock.send(self.refusal)
        except OSError:
            pass                                  # it did not want to hear it
        sock.close()

    def _count_refused(self, peer: str, reason: str) -> None:
        self.counters["refused"] += 1
        if self.counters["refused"] & (self.counters["refused"] - 1) == 0:      # a flood writes few lines: 1st, 2nd, 4th, 8th ...
            self.log.warning("refused", listener=self.name, peer=peer, reason=reason, refused=self.counters["refused"])

    def _exhausted(self, door: socket.socket, error: OSError) -> None:
        """No descriptor for who knocks: refuse one with the reserve, then let the present sessions end for a moment."""
        if error.errno not in EXHAUSTED:
            self.log.error("accept failed", listener=self.name, error=error)
        elif self._reserve >= 0:
            os.close(self._reserve)
            try:
                sock, address = door.accept()
                self._refuse(sock, "", "no file descriptors")
            except OSError:
                pass
            self._reserve = _reserve()
        self.loop.remove_reader(door.fileno())
        self.loop.call_later(PAUSE, self._accept_again, door)

    def _accept_again(self, door: socket.socket) -> None:
        if door in self._doors:
            if self._reserve < 0:
                self._reserve = _reserve()
            self.loop.add_reader(door.fileno(), self._accept, door)
