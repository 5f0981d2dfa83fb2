"""A daemon's process from inside: shut in as its daemon would be, then made to try what an attacker in it would. Run by test_cell.py.

With `own` it is not shut in, but a user of its own (test_owners.py).

    python probe.py STATE DAEMON free|shut|own PORT PROBE...      prints {"probe": "ok" or the name of an errno} as JSON
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fancymail.base.settings import Paths
from fancymail.base.settings.load import load_settings
from fancymail.ipc.message import IpcError
from fancymail.ipc.sync import SyncClient
from fancymail.servers.running.launch import daemon_class, own_users

SLOT = "a" * 26
libc = ctypes.CDLL(None, use_errno=True)


def call(function: Callable, *arguments) -> None:
    """A function of the C library that answers -1 when it fails."""
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def dial(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 5).close()


def ask(paths: Paths, daemon: str) -> None:
    """Say ping at the operator's door."""
    try:
        with SyncClient(paths.endpoints(daemon)[0], name=daemon) as client:
            client.call("ping", timeout=1.0)
    except IpcError as error:
        raise PermissionError(errno.EPERM, str(error)) from None


def touch(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def probes(paths: Paths, port: int) -> dict[str, Callable[[], object]]:
    """What is tried, by name."""
    read, blob = (lambda path: path.open("rb").close()), paths.blobs / "ab" / ("ab" * 32)
    found = {
        "exec": lambda: os.execv("/bin/true", ["true"]), "spawn": lambda: subprocess.run(["/bin/true"], check=True),
        "fork": lambda: os.fork() or os._exit(0), "kill": lambda: os.kill(os.getppid(), 0), "kill-self": lambda: os.kill(os.getpid(), 0),
        "trace": lambda: call(libc.ptrace, 16, os.getppid(), 0, 0), "rename-self": lambda: call(libc.prctl, 15, b"innocent", 0, 0, 0),
        "memory": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "mount": lambda: call(libc.mount, b"none", os.fsencode(paths.state), b"tmpfs", 0, 0), "become": lambda: os.setuid(12345),
        "own": lambda: os.chown(paths.accounts, 12345, 12345), "symlink": lambda: os.symlink("/", paths.mail / "link"),
        "device": lambda: os.mknod(paths.mail / "device", 0o600 | 0o010000), "unshare": lambda: call(libc.unshare, 0x10000000),
        "shadow": lambda: read(Path("/etc/shadow")), "home": lambda: os.listdir("/root"),
        "temporary": lambda: touch(Path("/tmp") / f"probe-{os.getpid()}"), "tcp": lambda: dial(port),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "raw": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(), "unix": lambda: socket.socket(socket.AF_UNIX).close(),
        "settings": lambda: read(paths.config), "accounts": lambda: read(paths.accounts), "passwords": lambda: read(paths.demo),
        "certificate": lambda: read(paths.private_key), "log": lambda: touch(paths.log), "empty-log": lambda: os.truncate(paths.log, 0),
        "read-log": lambda: read(paths.log), "remove-log": lambda: os.unlink(paths.log), "index": lambda: read(paths.queues / "index.db"),
        "list-queues": lambda: os.listdir(paths.queues), "shard": lambda: read(paths.mail / "shard-0.db"), "blob": lambda: read(blob),
        "list-blobs": lambda: os.listdir(blob.parent), "change-blob": lambda: touch(blob), "remove-blob": lambda: os.unlink(blob),
        "doors": lambda: os.unlink(paths.run / "other.ipc"), "plant-door": lambda: touch(paths.run / "planted"),
        "operator": lambda: ask(paths, "queue"), "link-out": lambda: os.link(paths.accounts, paths.queues / "incoming" / "linked"),
        "through-link": lambda: read(paths.queues / "incoming" / "planted")}
    for queue in ("incoming", "outgoing", "archive"):
        slot = paths.queues / queue / SLOT
        found |= {f"read-{queue}": lambda slot=slot: read(slot), f"write-{queue}": lambda slot=slot: touch(slot),
                  f"list-{queue}": lambda slot=slot: os.listdir(slot.parent), f"remove-{queue}": lambda slot=slot: os.unlink(slot)}
    found |= {f"key-{role}": lambda role=role: read(paths.key(role)) for role in ("auth", "queue", "mailbox", "smtpin", "smtpout", "pop3", "imap")}
    return found


def tried(probe: Callable[[], object]) -> str:
    try:
        probe()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "ok"


def main() -> None:
    """Become the daemon's process, try everything, tell."""
    state, name, mode, port, *chosen = sys.argv[1:]
    paths = Paths(state)
    settings = load_settings(None, state)
    if mode != "free":
        daemon = daemon_class(name)(settings, paths)
        daemon.take_place()
    if mode == "shut":
        daemon.shut_in()
    elif mode == "own":
        owners, reason = own_users(settings, paths, lent=False)
        assert owners, reason
        owners.become(name, name)
    found = probes(paths, int(port))
    print(json.dumps({name: tried(found[name]) for name in chosen or [name for name in found if name != "exec" or mode == "shut"]}))


if __name__ == "__main__":
    main()
