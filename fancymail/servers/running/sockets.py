"""Listening sockets: made here, or inherited from the supervisor, so that a restarted daemon loses no connection.

A daemon asks `listening("127.0.0.1:25")` and gets a bound, listening, non-blocking socket; it never learns whether the
supervisor had it open all the time (`adopt`), systemd passed it, or it was bound just now. Addresses are
"host:port", "[v6]:port", "*:port" (both families) and "/path" or "unix:/path".
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

BACKLOG = 1024
SYSTEMD_FIRST = 3      # sd_listen_fds(3): the passed descriptors begin here

_inherited: dict[str, socket.socket] = {}


def adopt(address: str, listener: socket.socket) -> None:
    """Keep a socket open under its address; `listening` will return it."""
    _inherited[canonical(address)] = listener


def known(address: str) -> bool:
    """Whether the socket of an address is open already."""
    return canonical(address) in _inherited


def keep_only(addresses: list[str]) -> None:
    """Close every inherited socket that is not one of `addresses`: what a daemon does not serve it does not hold."""
    wanted = {canonical(address) for address in addresses}
    for address in [known for known in _inherited if known not in wanted]:
        _inherited.pop(address).close()


def listening(address: str, state: Path | None = None, reuse_port: bool = False) -> socket.socket:
    """Return the listening socket of an address; a relative unix path is one below `state`.

    Raises OSError (address in use, permission denied) and ValueError (not an address).
    """
    known = _inherited.get(canonical(address))
    return known if known is not None else bind(address, state, reuse_port)


def bind(address: str, state: Path | None = None, reuse_port: bool = False) -> socket.socket:
    """Bind and listen. `reuse_port`: several processes of this user may, and the kernel deals the connections out among them."""
    path = unix_path(address)
    if path is not None:
        full = (state or Path.cwd()) / path
        return _bind_unix(full.parent.resolve() / full.name)      # run/ may be a link to a shorter path
    host, port = split(address)
    family = socket.AF_INET6 if ":" in host or host == "" else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != ""))
        listener.bind((host or "::", port))
        return _listen(listener)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{error.strerror}: {address}") from None


def bind_door(endpoint: str) -> socket.socket:
    """Bind the unix socket of a daemon's door; whoever calls holds the daemon's lock, so what lies in its place is dead."""
    path = endpoint.removeprefix("ipc://")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
        return _listen(listener)
    except OSError:
        listener.close()
        raise


def remove_path(address: str, state: Path) -> None:
    """Remove the file of a unix socket that nobody will listen on any more."""
    path = unix_path(address)
    if path is not None:
        (state / path).unlink(missing_ok=True)


def canonical(address: str) -> str:
    """Spell an address one way."""
    path = unix_path(address)
    if path is not None:
        return f"unix:{path}"
    host, port = split(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unix_path(address: str) -> str | None:
    """Return the path of a unix socket's address, None for TCP."""
    if address.startswith("unix:"):
        return address[5:]
    return address if "/" in address else None


def split(address: str) -> tuple[str, int]:
    """Split a TCP address into host ("" is every address) and port. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ValueError(f"{address!r} is not an address: host:port, [v6]:port, *:port or unix:/path")
    host = host.removeprefix("[").removesuffix("]")
    return "" if host == "*" else host, int(port)


def adopt_systemd() -> None:
    """Take the sockets that systemd passed, if it did (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return
    for number in range(int(os.environ.get("LISTEN_FDS", "0"))):
        listener = socket.socket(fileno=SYSTEMD_FIRST + number)
        listener.setblocking(False)
        os.set_inheritable(listener.fileno(), False)
        adopt(_spelled(listener), listener)
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)


def _spelled(listener: socket.socket) -> str:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = "*" if name[0] == "::" and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) else name[0]
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"


def _bind_unix(path: Path) -> socket.socket:
    """Bind a unix socket; a dead one in its place is removed, a living one is an error."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        listener.bind(os.fspath(path))
        os.chmod(path, 0o660)
        return _listen(listener)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{error.strerror or error}: {path}") from None


def _remove_dead(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return       # bind() will say that the address is in use
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(os.fspath(path)) != 0:
            path.unlink(missing_ok=True)


def _listen(listener: socket.socket) -> socket.socket:
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
