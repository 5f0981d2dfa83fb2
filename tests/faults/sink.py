"""A mail server that takes everything and remembers it, and the line to it that can be cut: both in threads of the test.

    with Sink() as sink, Line(sink.port) as line:        # fm-smtpout is given line.port
        line.cut("silent")                               # or "closed"; line.mend()

Recipients whose local part is `gone` are refused for good. It is dull on purpose: what it took must be beyond doubt.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import NamedTuple

_PATH = re.compile(rb"(?:FROM|TO):\s*<([^>]*)>", re.IGNORECASE)


class Taken(NamedTuple):
    """One message that was answered with 250."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._talk()

    def _talk(self) -> None:
        sender, recipients = "", []
        self.wfile.write(b"220 sink.test ESMTP\r\n")
        while line := self.rfile.readline(4096):
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.wfile.write(b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")
                continue
            if verb == b"MAIL":
                sender, recipients = _address(line), []
            elif verb == b"RCPT" and _address(line).startswith("gone@"):
                self.wfile.write(b"550 5.1.1 gone\r\n")
                continue
            elif verb == b"RCPT":
                recipients.append(_address(line))
            elif verb == b"DATA":
                if not recipients:
                    self.wfile.write(b"554 5.5.1 nobody to give it to\r\n")
                    continue
                self.server.asked()
                self.wfile.write(b"354 go\r\n")
                content = self._content()
                if content is None:
                    return
                # Remembered before it is answered: what was answered is never unknown here.
                self.server.note(content)
                self.server.taken.append(Taken(sender, tuple(recipients), content))
            self.wfile.write(b"221 2.0.0 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 ok\r\n")
            if verb == b"QUIT":
                return

    def _content(self) -> bytes | None:
        lines = []
        while line := self.rfile.readline():
            if line == b".\r\n":
                return b"".join(lines)
            lines.append(line[1:] if line.startswith(b".") else line)
        self.server.torn += 1
        return None


def _address(line: bytes) -> str:
    match = _PATH.search(line)
    return match[1].decode() if match else ""


class Sink(socketserver.ThreadingTCPServer):
    """`taken` is all that was taken; `torn`: how many contents came without their end."""

    allow_reuse_address, daemon_threads, request_queue_size = True, True, 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.port = self.server_address[1]
        self.taken: list[Taken] = []
        self.torn = 0
        self.asked: Callable[[], object] = bool             # called before a content is asked for
        self.note: Callable[[bytes], object] = bool         # told of each content before it is answered

    def __enter__(self) -> "Sink":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc) -> None:
        self.shutdown()
        self.server_close()


class Relay(socketserver.BaseRequestHandler):
    """One connection over the line."""

    def handle(self) -> None:
        line = self.server
        if line.state != "whole":
            line.hold(self.request)
            line.passing.wait(60)           # in a silent line even the connection is only a hope
            return
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", line.target), 5) as out:
            out.settimeout(None)
            line.hold(self.request, out)
            back = threading.Thread(target=self._pump, args=(out, self.request), daemon=True)
            back.start()
            self._pump(self.request, out)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.server.passing.wait(60):
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Line(socketserver.ThreadingTCPServer):
    """Carries connections to a port of this machine. Cut `silent`: nothing arrives, nobody is told; `closed`: connections break."""

    host, ways = "127.0.0.1", ("silent", "closed")
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 100

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), Relay)
        self._know(target, self.server_address[1])

    def _know(self, target: int, port: int) -> None:
        self.port, self.target, self.state = port, target, "whole"
        self.passing = threading.Event()
        self.passing.set()
        self._open: set[socket.socket] = set()

    def __enter__(self) -> "Line":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc) -> None:
        self.cut("closed")
        self.passing.set()
        self.shutdown()
        self.server_close()

    def hold(self, *sockets: socket.socket) -> None:
        """Remember the sockets of a connection, so that cutting finds them."""
        self._open.update(sockets)
        if self.state == "closed":
            self._break()

    def cut(self, how: str) -> None:
        """Cut the line."""
        self.state = how
        if how == "silent":
            self.passing.clear()
        else:
            self._break()

    def mend(self) -> None:
        """Let everything through again; what was held up in a silent line breaks, as it would after minutes."""
        self.state = "whole"
        self._break()
        self.passing.set()

    def _break(self) -> None:
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()
