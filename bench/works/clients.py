"""Clients that cost themselves as little as can be: they read octets and look at nothing but the end of an answer."""

from __future__ import annotations

import socket

KEPT = 4096          # octets of an answer's end that are looked at


class ImapClient:
    """A logged-in IMAP connection."""

    def __init__(self, server, user: str = "", password: str = "", deadline: float = 120.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.imap_port), deadline)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.until(b"\r\n* OK")
        self.ask(f'LOGIN "{user or server.user}" "{password or server.password}"')

    def ask(self, command: str | bytes) -> bytes:
        """Say a command; return the end of its answer. Raises RuntimeError when it is refused."""
        data = command.encode() if isinstance(command, str) else command
        self.socket.sendall(b"x " + data + b"\r\n")
        answer = self.until(b"\r\nx ")
        if b"\r\nx OK" not in answer:
            raise RuntimeError(f"{data[:60]!r}: {answer[-200:]!r}")
        return answer

    def idle(self) -> None:
        """Begin IDLE."""
        self.socket.sendall(b"x IDLE\r\n")
        self.until(b"\r\n+ ")

    def until(self, mark: bytes) -> bytes:
        """Read until the last line begins so; return the last octets."""
        tail = b"\r\n"
        while True:
            data = self.socket.recv(65536)
            if not data:
                raise RuntimeError(f"the server hung up after {tail!r}")
            tail = (tail + data)[-KEPT:]
            if tail.endswith(b"\r\n") and tail.rfind(mark) >= 0:
                return tail

    def close(self) -> None:
        self.socket.close()


class SmtpClient:
    """An SMTP connection that is through with EHLO."""

    def __init__(self, server, deadline: float = 120.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), deadline)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.reply()
        self.say(b"EHLO client.example.test\r\n")

    def say(self, data: bytes, replies: int = 1) -> bytes:
        """Send octets; return the last of so many replies. Raises RuntimeError for one that refuses."""
        self.socket.sendall(data)
        for _ in range(replies):
            last = self.reply()
        return last

    def reply(self) -> bytes:
        while (line := self.file.readline())[3:4] == b"-":
            pass
        if line[:1] not in b"23" or not line:
            raise RuntimeError(f"refused: {line!r}")
        return line

    def send(self, recipient: str, content: bytes) -> None:
        """Send a message; returns at the 250."""
        self.say(b"MAIL FROM:<x@sender.test>\r\nRCPT TO:<%s>\r\nDATA\r\n" % recipient.encode(), 3)
        self.say(content + b"\r\n.\r\n")

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def pop3_session(server) -> None:
    """Log in by POP3, list, retrieve some, leave."""
    with socket.create_connection(("127.0.0.1", server.pop3_port), 60) as connection, connection.makefile("rb") as file:
        file.readline()
        retrieving = [f"RETR {number}" for number in range(1, 51)]
        for command in (f"USER {server.user}", f"PASS {server.password}", "STAT", "UIDL", "LIST", *retrieving, "QUIT"):
            connection.sendall(command.encode() + b"\r\n")
            line = file.readline()
            while command.split()[0] in ("UIDL", "LIST", "RETR") and line.rstrip() != b".":
                line = file.readline()
