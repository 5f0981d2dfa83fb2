"""A network of its own between fm-smtpout and the other server, and how it is lost: what only root can do.

    with Network(sink.port) as line:                # the other server's side is at line.host, line.port, in a network namespace
        line.cut("unplugged")                       # one of Network.ways; line.mend()

As `Line` (tests/faults/sink.py), but the kernel's own: packets go over a pair of virtual interfaces, and are dropped, refused or lost there, so
that the connection dies as real ones do, by nobody's close. Tests skip with the reason where this is impossible.
"""

from __future__ import annotations

import ctypes
import os
import socket
import socketserver
import subprocess
import threading

import pytest

from tests.faults.sink import Line, Relay

NEWNET = 0x40000000                     # CLONE_NEWNET
RULES = {
    "silent": "drop",                                               # nothing arrives, nobody is told
    "refused": "meta l4proto tcp reject with tcp reset",            # as from a machine that was started anew
    "unreachable": "reject with icmp type host-unreachable",
    "lossy": "numgen random mod 100 < 40 drop",
}


class Network(Line):
    """Carries connections from the other end of a virtual cable to a port of this machine."""

    ways = (*RULES, "unplugged")

    def __init__(self, target: int) -> None:
        self.name = f"fm{os.getpid()}"
        self._lay()
        socketserver.TCPServer.__init__(self, (self.host, 0), Relay, bind_and_activate=False)
        self.socket.close()
        self.socket = self._listening()
        self._know(target, self.socket.getsockname()[1])

    def cut(self, how: str) -> None:
        """Lose the network in one of the ways; `closed` is the end of a test."""
        if how == "closed":
            super().cut(how)
        elif how == "unplugged":
            self._inside("ip", "link", "set", "up1", "down")
        else:
            self._inside("nft", f"add table ip lost; add chain ip lost in {{ type filter hook input priority 0; }}; add rule ip lost in {RULES[how]}")

    def mend(self) -> None:
        """Have it carry everything again. Nobody is told either: what hangs must find out by itself."""
        self._inside("nft", "add table ip lost; delete table ip lost")
        self._inside("ip", "link", "set", "up1", "up")

    def __exit__(self, *exc) -> None:
        super().__exit__(*exc)
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def _lay(self) -> None:
        """Lay the cable: one end here, one in a namespace."""
        if os.geteuid() != 0:
            pytest.skip("a network namespace needs root")
        net = f"198.18.{os.getpid() % 250}"             # RFC 2544: for measurements of networks, so nobody's
        self.host = f"{net}.2"
        try:
            for words in (("netns", "add", self.name), ("link", "add", f"{self.name}a", "type", "veth", "peer", "name", "up1", "netns", self.name),
                          ("addr", "add", f"{net}.1/30", "dev", f"{self.name}a"), ("link", "set", f"{self.name}a", "up")):
                subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
            self._inside("ip", "addr", "add", f"{self.host}/30", "dev", "up1")
            self._inside("ip", "link", "set", "up1", "up")
            self.mend()
        except (OSError, subprocess.CalledProcessError) as error:
            subprocess.run(["ip", "netns", "delete", self.name], capture_output=True)
            pytest.skip(f"no network namespace with nft can be made here: {getattr(error, 'stderr', '') or error}")

    def _inside(self, *words: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.name, *words], check=True, capture_output=True, text=True)

    def _listening(self) -> socket.socket:
        """A socket in the namespace. It stays there, whoever uses it; only the thread that made it had to go."""
        made: list[socket.socket] = []

        def make() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.name}") as namespace:
                if libc.setns(namespace.fileno(), NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server((self.host, 0), backlog=100))
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]
