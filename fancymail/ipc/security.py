"""Who may connect: key pairs, the ZAP allow-list, and the options that every socket gets.

Each daemon binds two doors. The operator's door is plain ZeroMQ on an ipc socket inside a 0700 folder: whoever may open it (same uid, or root) is the
operator. The daemons' door, and every tcp endpoint, is CURVE: the client's key tells its role, unknown keys are refused during the handshake. CURVE
alone lets every key in; the allow-list here is what authenticates. Used by server and client; never sees a message.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import zmq
from zmq.utils import z85

from fancymail.ipc.message import MAX_FRAME
from fancymail.ipc.wire import Wire

ROLES = ("auth", "queue", "smtpin", "smtpout", "mailbox", "pop3", "imap", "gateway", "webmaild", "web", "supervisor")
HIGH_WATER = 1000            # messages that one pipe may hold
_DAEMON = re.compile(rf"fm-({'|'.join(ROLES)})(-[0-9]+)?")     # what a daemon's process is called; it cannot call itself otherwise any more


def prepare(socket: zmq.Socket) -> zmq.Socket:
    """Set the options that keep a daemon alive whatever its peers do (the defaults are unlimited or wait for ever)."""
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME + 1024)
    socket.setsockopt(zmq.LINGER, 2000)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 2000)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    return socket


def bind(socket: zmq.Socket, endpoint: str) -> None:
    """Bind a socket; raises ZMQError."""
    _allow_ipv6(socket, endpoint)
    socket.bind(endpoint)


def connect(socket: zmq.Socket, endpoint: str) -> None:
    """Connect a socket; raises ZMQError."""
    _allow_ipv6(socket, endpoint)
    socket.connect(endpoint)


def _allow_ipv6(socket: zmq.Socket, endpoint: str) -> None:
    """ZeroMQ takes an address in brackets only when told to, and connects to nowhere otherwise; told always, it would map those of IPv4."""
    socket.setsockopt(zmq.IPV6, int(endpoint.startswith("tcp://[")))


class KeyRing:
    """The CURVE keys in STATE/keys: ROLE.key (secret, 0600) and ROLE.pub for each role, and NAME.pub of further daemons in allow/."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def create(self) -> None:
        """Make the folder and the missing key pairs; safe when several daemons start at once."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for role in ROLES:
                if not (self.folder / f"{role}.pub").exists():
                    self.make(role)

    def make(self, role: str, folder: Path | None = None) -> tuple[bytes, bytes]:
        """Write a new key pair of a role and return (public, secret), both Z85; the public file is written last."""
        public, secret = zmq.curve_keypair()
        _write(self.folder / f"{role}.key", secret, 0o600)
        _write((folder or self.folder) / f"{role}.pub", public, 0o644)
        return public, secret

    def public(self, role: str) -> bytes:
        """Return the public key of a role, Z85."""
        return (self.folder / f"{role}.pub").read_bytes().strip()

    def secret(self, role: str) -> bytes:
        """Return the secret key of a role, Z85; refuses a key file that others may read."""
        path = self.folder / f"{role}.key"
        if path.stat().st_mode & 0o077:
            raise PermissionError(f"{path} may be read by others; chmod 600 it")
        return path.read_bytes().strip()

    def allowed(self) -> dict[bytes, str]:
        """Return the allow-list: raw public key -> role."""
        keys = {}
        for path in [*self.folder.glob("*.pub"), *self.folder.glob("allow/*.pub")]:
            text = path.read_bytes().strip()
            with suppress(KeyError, struct.error):      # a damaged file is nobody's key
                if len(text) == 40:
                    keys[z85.decode(text)] = path.stem
        return keys

    def serve(self, socket: zmq.Socket, role: str) -> None:
        """Make a socket a CURVE server of this role."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret(role))
        socket.setsockopt(zmq.ZAP_DOMAIN, b"daemons")

    def join(self, socket: zmq.Socket, role: str, server: bytes) -> None:
        """Make a socket a CURVE client with this role's key, to the server with the given public key."""
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret(role))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public(role))
        socket.setsockopt(zmq.CURVE_SERVERKEY, server)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(content + b"\n")
        file.flush()
        os.fsync(descriptor)
    os.rename(temporary, path)


def is_daemon(pid: bytes) -> bool:
    """Whether a process is one of our daemons: those may share the operator's uid, but are shut in (servers/containment) and are no operator."""
    try:
        with open(f"/proc/{int(pid)}/comm") as file:
            return _DAEMON.fullmatch(file.read().strip()) is not None
    except (OSError, ValueError):
        return False                # no process of this machine, or one that ended


class Gatekeeper:
    """Answers libzmq's ZAP requests (RFC 27 of ZeroMQ) of one context: admits a peer and names its role, or refuses it."""

    def __init__(self, context: zmq.Context, keys: KeyRing) -> None:
        self.keys = keys
        self.reload({}, ())
        self.refused = 0
        socket = context.socket(zmq.ROUTER)
        socket.bind("inproc://zeromq.zap.01")
        self.wire = Wire(socket, self._answer)

    def reload(self, guests: dict[bytes, str], operators: Iterable[int]) -> None:
        """Read the allow-list again, with further keys (Z85 -> role), and take the operators' uids; connections that stand are not cut."""
        self.allowed = self.keys.allowed() | {z85.decode(key): role for key, role in guests.items()}
        self.uids = {b"%d" % uid for uid in (0, *operators)}

    def _answer(self, frames: list[bytes]) -> None:
        split = frames.index(b"")
        request = frames[split + 1:]
        role = self._role(*request) if len(request) >= 6 else None
        if role is None:
            self.refused += 1
        status = [b"200", b"OK", role.encode()] if role else [b"400", b"not on the allow-list", b""]
        self.wire.send([*frames[:split + 1], b"1.0", request[1], *status, b""])

    def _role(self, version: bytes, request: bytes, domain: bytes, address: bytes, identity: bytes, mechanism: bytes,
              credentials: bytes = b"", *more: bytes) -> str | None:
        if domain == b"operator" and mechanism == b"NULL":
            parts = address.split(b":")       # "localhost:UID:GID:PID" on an ipc socket with SO_PEERCRED
            return "operator" if len(parts) == 4 and parts[1] in self.uids and not is_daemon(parts[3]) else None
        if domain == b"daemons" and mechanism == b"CURVE":
            return self.allowed.get(credentials)
        return None

    def close(self) -> None:
        """Stop answering."""
        self.wire.close(0)
