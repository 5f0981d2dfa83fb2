"""Plays talks: dialogues as data, against an engine with fake decisions, whole and cut at every octet.

A talk is a text file. Lines before the first `S:` or `C:` are `name: value` options for the driver, `#` begins a comment.

    C: MAIL FROM:<a@b.test>      the client sends a line; C lines that follow each other leave in one write
    C> half a li                 the same without CR LF
    S: 250 2.1.0 Sender OK       the server's reply: exactly this
    S: 250 ...                   or any with this beginning; one such line stands for all lines of a reply
    S: 250-first                 several lines of one reply are written as they are
    S: (nothing)                 the server has nothing to say
    S: (closed)                  the server closes
    M: a@b.test > c@d.test | Subject: x\\r\\n\\r\\nbody\\r\\n     a message was accepted: sender, recipients, content
    ! tls                        something happens: tls (the handshake is done), eof, expire

In C and M lines \\r \\n \\t \\0 \\\\ \\xNN are octets. `cut: no` among the options plays a talk whole only (its point is what comes together).
A driver has `engine`, `decide(event)`, `messages` (a list that grows) and `tls()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[rnt0\\])")
_PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


@dataclass
class Talk:
    """A parsed talk: options, and steps of (kind, text, line number)."""

    name: str
    options: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, str, int]] = field(default_factory=list)


def read_talk(path: Path) -> Talk:
    """Parse a talk; raises ValueError with the line number of what is no talk."""
    talk = Talk(path.stem)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        kind, text = line[:2], line[3:]
        if kind in ("C:", "C>", "S:", "M:") or line.startswith("! "):
            talk.steps.append((kind[0] if kind != "C>" else ">", text if kind[0] != "!" else line[2:], number))
        elif not talk.steps and ": " in line:
            name, _, value = line.partition(": ")
            talk.options[name] = value
        else:
            raise ValueError(f"{path}:{number}: not a line of a talk: {line!r}")
    return talk


def octets(text: str) -> bytes:
    """The octets that a C or M line stands for."""
    return _ESCAPE.sub(lambda match: _PLAIN.get(match[1]) or bytes.fromhex(match[1][1:].decode()), text.encode())


class Player:
    """One performance of a talk."""

    def __init__(self, talk: Talk, make: Callable, cut: bool) -> None:
        self.talk, self.cut = talk, cut
        self.driver = make(talk.options)
        self.said = b""
        self.heard = 0                               # messages that the talk has asked about

    def play(self) -> None:
        """Run all steps; an AssertionError names the line."""
        self._pump()
        group = b""
        for kind, text, number in self.talk.steps:
            if kind in "C>":
                group += octets(text) + (b"\r\n" if kind == "C" else b"")
                continue
            if group:
                self._send(group)
                group = b""
            getattr(self, {"S": "_expect", "M": "_message", "!": "_happen"}[kind])(text, f"{self.talk.name}:{number}")
        if group:
            self._send(group)
        assert not self.said, f"{self.talk.name}: said beyond the talk: {self.said!r}"
        assert len(self.driver.messages) == self.heard, f"{self.talk.name}: accepted beyond the talk: {self.driver.messages[self.heard:]}"

    def _send(self, data: bytes) -> None:
        for piece in ([data[at:at + 1] for at in range(len(data))] if self.cut else [data]):
            if self.driver.engine.closing:
                return
            self.driver.engine.receive(piece)
            self._pump()

    def _pump(self) -> None:
        while (event := self.driver.engine.next_event()) is not None:
            self.driver.decide(event)
        self.said += self.driver.engine.to_send()

    def _expect(self, text: str, where: str) -> None:
        if text == "(closed)":
            assert not self.said and self.driver.engine.closing, f"{where}: not closed, said {self.said!r}"
        elif text == "(nothing)":
            assert not self.said, f"{where}: said {self.said!r}"
        else:
            self._expect_line(text, where)

    def _expect_line(self, text: str, where: str) -> None:
        line, end, rest = self.said.partition(b"\r\n")
        assert end, f"{where}: expected {text!r}, heard {self.said!r}"
        self.said = rest
        if not text.endswith("..."):
            assert line.decode() == text, f"{where}: expected {text!r}, heard {line.decode()!r}"
            return
        beginning = text[:-3].rstrip()
        while line[3:4] == b"-" and text[3:4] != "-":
            assert line.decode().startswith(beginning[:3]), f"{where}: expected {text!r}, heard {line.decode()!r}"
            line, _, self.said = self.said.partition(b"\r\n")
        assert line.decode().startswith(beginning), f"{where}: expected {text!r}, heard {line.decode()!r}"

    def _message(self, text: str, where: str) -> None:
        assert self.heard < len(self.driver.messages), f"{where}: no message was accepted"
        sender, recipients, content = self.driver.messages[self.heard]
        self.heard += 1
        expected, _, body = text.partition(" |")
        assert f"{sender or '<>'} > {' '.join(recipients)}" == expected, f"{where}: {sender} > {recipients}"
        assert content == octets(body.removeprefix(" ")), f"{where}: {content!r}"

    def _happen(self, text: str, where: str) -> None:
        engine = self.driver.engine
        if text == "eof":
            engine.receive_eof()
        elif text == "expire":
            engine.expire()
        elif text == "tls":
            assert engine.want_tls, f"{where}: no handshake is wanted"
            self.driver.tls()
        else:
            raise ValueError(f"{where}: nothing is called {text!r}")
        self._pump()


def play(path: Path, make: Callable, cut: bool = False) -> int:
    """Play the talk of a file with the driver that `make(options)` gives; how many lines it has. An AssertionError names the one that differs."""
    talk = read_talk(path)
    if not cut or talk.options.get("cut") != "no":
        Player(talk, make, cut).play()
    return len(talk.steps)
