"""A plain IMAP client for tests: what the server says is kept word for word, and a client that believes only what it is told.

    wire = Wire(port); wire.login(user, password); answer = wire.ask("FETCH 1:* (UID FLAGS)"); answer.untagged

Used by tests/live/test_imap_*.py, tests/oracle and bench/imap.py. It checks the shape of what it reads; it never decides what is right.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field

_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
_NUMBERED = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE|RECENT|FETCH)\b")
_FLAGS = re.compile(rb"\bFLAGS \(([^)]*)\)")
_UID = re.compile(rb"\bUID (\d+)")


@dataclass
class Answer:
    """What came for one command: untagged responses (with their literals, without the last CRLF) and the tagged one."""

    status: str
    text: str
    untagged: list[bytes] = field(default_factory=list)

    def of(self, word: str) -> list[bytes]:
        """Return the untagged responses of a kind: of("SEARCH"), of("EXISTS")."""
        shape = re.compile(rb"\* (\d+ )?" + word.encode() + rb"\b", re.IGNORECASE)
        return [response for response in self.untagged if shape.match(response)]

    def numbers(self, word: str) -> list[int]:
        """Return the numbers of `* n WORD`, or those of `* WORD n n n`."""
        found = []
        for response in self.of(word):
            numbered = _NUMBERED.match(response)
            found += [int(numbered[1])] if numbered else [int(part) for part in response.split()[2:] if part.isdigit()]
        return found

    def code(self) -> str:
        """Return the response code of the tagged response: `APPENDUID 1 2`, or nothing."""
        found = re.match(r"\[([^\]]*)\]", self.text)
        return found[1] if found else ""


class Wire:
    """One connection. `deadline` seconds without an octet raise TimeoutError; an end of the connection raises EOFError."""

    def __init__(self, port: int, host: str = "127.0.0.1", deadline: float = 30.0, tls=None) -> None:
        self.socket = socket.create_connection((host, port), deadline)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.stream = self.socket.makefile("rb", 1 << 16)
        self.count = 0
        self.greeting = self.response()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.stream.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send octets as they are."""
        self.socket.sendall(data)

    def response(self) -> bytes:
        """Return one whole response, with its literals, without its last CRLF."""
        line = self._line()
        if not (literal := _LITERAL.search(line)):
            return line[:-2]
        parts = [line]
        while literal:
            parts.append(self.stream.read(int(literal[1])))
            parts.append(line := self._line())
            literal = _LITERAL.search(line)
        return b"".join(parts)[:-2]

    def _line(self) -> bytes:
        line = self.stream.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the server hung up")
        assert line.endswith(b"\r\n"), line
        return line

    def start(self, command: str | bytes) -> bytes:
        """Send a command and return its tag, without waiting."""
        self.count += 1
        tag = b"t%d" % self.count
        self.send(tag + b" " + (command.encode() if isinstance(command, str) else command) + b"\r\n")
        return tag

    def finish(self, tag: bytes) -> Answer:
        """Read until the tagged response of a command."""
        untagged = []
        while True:
            response = self.response()
            if response.startswith(tag + b" "):
                status, _, text = response[len(tag) + 1:].decode("utf-8", "replace").partition(" ")
                return Answer(status, text, untagged)
            assert response.startswith((b"* ", b"+ ")), response
            untagged.append(response)

    def ask(self, command: str | bytes) -> Answer:
        """Send a command and read its answer. Literals of the command are written as non-synchronizing ones."""
        return self.finish(self.start(command))

    def ok(self, command: str | bytes) -> Answer:
        """The same for what has to succeed."""
        answer = self.ask(command)
        assert answer.status == "OK", (command, answer)
        return answer

    def login(self, user: str, password: str) -> Wire:
        """Log in, and return itself."""
        self.ok(f'LOGIN "{user}" "{password}"')
        return self

    def append(self, mailbox: str, content: bytes, flags: str = "") -> Answer:
        """Append a message."""
        return self.ok(f'APPEND "{mailbox}" {f"({flags}) " if flags else ""}{{{len(content)}+}}\r\n'.encode() + content)

    def select(self, mailbox: str, how: str = "SELECT", more: str = "") -> Answer:
        """Select a mailbox."""
        return self.ok(f'{how} "{mailbox}"{more}')

    def idle(self) -> bytes:
        """Begin IDLE; return its tag for done()."""
        tag = self.start("IDLE")
        self.idled = []
        while not (response := self.response()).startswith(b"+"):
            self.idled.append(response)
        return tag

    def done(self, tag: bytes) -> Answer:
        """End IDLE."""
        self.send(b"DONE\r\n")
        answer = self.finish(tag)
        answer.untagged[:0] = self.idled
        return answer


class Believer:
    """What a client knows of its selected mailbox: only what the server has told it. A response that contradicts that is an error."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.uids: list[int | None] = []
        self.flags: list[frozenset[bytes] | None] = []
        self.recent: set[int] = set()           # UIDs that were shown as \Recent since the mailbox was selected

    def select(self, mailbox: str, more: str = "") -> None:
        """Select a mailbox and learn all of it."""
        answer = self.wire.select(mailbox, more=more)
        count = answer.numbers("EXISTS")[-1]
        self.uids, self.flags, self.recent = [None] * count, [None] * count, set()
        self.learn()

    def ask(self, command: str, expunges: bool = True) -> Answer:
        """Say a command, believe its answer. expunges=False: EXPUNGE would be a fault of the server here (RFC 9051 7.5.1)."""
        answer = self.wire.ask(command)
        self.hear(answer.untagged, expunges)
        return answer

    def append(self, mailbox: str, content: bytes, flags: str = "") -> Answer:
        """Append a message, believe the answer."""
        answer = self.wire.append(mailbox, content, flags)
        self.hear(answer.untagged)
        return answer

    def hear(self, responses: list[bytes], expunges: bool = True) -> None:
        """Believe untagged responses."""
        for response in responses:
            if response.startswith(b"* VANISHED"):
                self._vanished(response)
            elif numbered := _NUMBERED.match(response):
                number, word = int(numbered[1]), numbered[2]
                if word == b"EXISTS":
                    assert number >= len(self.uids), f"EXISTS {number} takes messages away: {len(self.uids)} were there"
                    self.uids += [None] * (number - len(self.uids))
                    self.flags += [None] * (number - len(self.flags))
                elif word == b"EXPUNGE":
                    assert expunges, "EXPUNGE where sequence numbers may not move"
                    assert 1 <= number <= len(self.uids), f"EXPUNGE {number} of {len(self.uids)}"
                    del self.uids[number - 1], self.flags[number - 1]
                elif word == b"FETCH":
                    self._fetched(number, response)

    def _fetched(self, number: int, response: bytes) -> None:
        assert 1 <= number <= len(self.uids), f"FETCH {number} of {len(self.uids)}"
        head = response.partition(b"{")[0]
        if found := _UID.search(head):
            uid = int(found[1])
            assert self.uids[number - 1] in (None, uid), f"message {number} has UID {self.uids[number - 1]}, not {uid}"
            before = [known for known in self.uids[:number - 1] if known is not None]
            assert not before or before[-1] < uid, "UIDs have to grow"
            self.uids[number - 1] = uid
        if found := _FLAGS.search(head):
            self.flags[number - 1] = frozenset(found[1].split()) - {b"\\Recent"}
            if b"\\Recent" in found[1] and self.uids[number - 1]:
                self.recent.add(self.uids[number - 1])

    def _vanished(self, response: bytes) -> None:
        for part in response.split()[-1].split(b","):
            first, _, last = part.partition(b":")
            for uid in range(int(first), int(last or first) + 1):
                if uid in self.uids:
                    place = self.uids.index(uid)
                elif None in self.uids:
                    place = len(self.uids) - 1          # one of the new ones, of which nothing is known yet
                    assert self.uids[place] is None
                else:
                    raise AssertionError(f"UID {uid} vanished and was never there")
                del self.uids[place], self.flags[place]

    def learn(self) -> None:
        """Ask for what is not known."""
        while None in self.uids or None in self.flags:
            first = min(values.index(None) for values in (self.uids, self.flags) if None in values)
            self.ask(f"FETCH {first + 1}:* (UID FLAGS)", expunges=False)

    def silently(self, place: int, how: str, flags: frozenset[bytes]) -> None:
        """The client changed flags by STORE .SILENT: it knows the result by itself."""
        known = self.flags[place]
        if known is not None:
            self.flags[place] = {"+": known | flags, "-": known - flags, "": flags}[how]

    def picture(self) -> list[tuple[int, list[bytes]]]:
        """Return what the client would show."""
        return [(uid, sorted(flags)) for uid, flags in zip(self.uids, self.flags)]
