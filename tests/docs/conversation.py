"""Plays the conversations of docs/ipc.md against real daemons.

A block begins with three backticks, `ipc` and the daemon's name. `C:` lines are said; lines of two capital letters are answers that must
come; `*` in an answer stands for anything. File names below /var/lib/fancymail are those of the test's state folder, and a slot id
stands for whichever the queue gave where it first appears. `#` lines are deeds (see `_do`). What is not said on the page must not
happen: a block ends with no message left over.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import zmq
import zmq.asyncio

from fancymail.ipc.message import encode_value, parse_line
from fancymail.mail.envelope import Envelope, Recipient
from fancymail.storage.slots import write_slot

BLOCK = re.compile(r"^```ipc ([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SLOT_ID = re.compile(r"[a-z2-7]{26}")
WRITTEN_STATE = "/var/lib/fancymail"
MESSAGE = b"Subject: one\r\n\r\nThis is the first message.\r\n"


def blocks(page: str) -> list[tuple[str, str]]:
    """Return (daemon, text) of every conversation on the page."""
    return [(match[1].split()[0], match[2]) for match in BLOCK.finditer(page)]


class Player:
    """Plays one page: what a block leaves behind, the next one finds."""

    def __init__(self, state: Path, door) -> None:
        self.state, self.door = state, door          # door(name) -> endpoint of the operator's door
        self.names: dict[str, str] = {}              # slot ids of the page -> ids that the queue gave
        self.context = zmq.asyncio.Context()
        self.context.linger = 0                      # a page that fails must not wait for a peer that is gone
        self.path = ""
        self.received = b""

    async def play(self, daemon: str, text: str) -> None:
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(self.door(daemon))
        self.callback = None
        self.tag = 0
        for line in text.splitlines():
            try:
                await self._line(line)
            except Exception as error:
                raise AssertionError(f"{daemon}: {line!r}: {error!r}") from error
        assert not await self.socket.poll(20), f"{daemon}: more was said than is written: {await self.socket.recv_multipart()}"
        for socket in (self.socket, self.callback):
            if socket:
                socket.close(0)

    async def _line(self, line: str) -> None:
        if line.startswith("#"):
            await self._do(line[1:].strip())
        elif line.startswith("C: "):
            await self._say(line[3:])
        else:
            who, _, answer = line.partition(": ")
            assert re.fullmatch("[A-Z]{2}", who), line
            await self._expect(answer)

    async def _say(self, line: str) -> None:
        verb, params = parse_line(self._actual(line))
        if verb == "subscribe":
            self.callback = self.context.socket(zmq.REP)
            self.port = self.callback.bind_to_random_port("tcp://127.0.0.1")
        if verb in ("subscribe", "unsuscribe"):
            params[1] = f"socket://127.0.0.1:{self.port}"
        self.tag += 1
        await self.socket.send_multipart([b"", b"%d" % self.tag, verb.encode(), *[encode_value(value) for value in params]])

    async def _expect(self, line: str) -> None:
        verb = line.partition(":")[0]
        if verb == "alert":
            frames = await asyncio.wait_for(self.callback.recv_multipart(), 10)
            await self.callback.send_multipart([b"", b"ok"])
            heard = frames[1:]
        else:
            frames = await asyncio.wait_for(self.socket.recv_multipart(), 10)
            assert frames[:2] == [b"", b"%d" % self.tag], frames
            heard = frames[2:]
        said = [frame.decode() for frame in heard]
        assert said[0] == verb, said
        wanted = parse_line(line)[1]
        if wanted[-1:] == ["*"]:
            wanted = wanted[:-1]
            assert len(said) - 1 >= len(wanted), said
        elif verb == "error":
            assert len(said) - 1 >= len(wanted), said
        else:
            assert len(said) - 1 == len(wanted), said
        for expected, actual in zip(wanted, said[1:]):
            self._same(expected, actual)
        self.path = said[1] if len(said) > 1 and said[1].startswith("/") else self.path

    def _same(self, expected: str, actual: str) -> None:
        found, given = SLOT_ID.search(expected), SLOT_ID.search(actual)
        if found and given:
            self.names.setdefault(found[0], given[0])
        if expected != "*":
            assert self._actual(expected) == actual, f"{actual!r} is not {self._actual(expected)!r}"

    def _actual(self, text: str) -> str:
        text = text.replace(WRITTEN_STATE, str(self.state))
        return SLOT_ID.sub(lambda match: self.names.get(match[0], match[0]), text)

    # -- deeds -------------------------------------------------------------------------------------------------------------

    async def _do(self, deed: str) -> None:
        if deed == "the client writes the file":
            self._write(self.path)
        elif deed == "the client removes the file":
            Path(self.path).unlink()
        elif deed == "somebody pushes a message":
            await self._push("incoming")
        elif match := re.fullmatch(r"a message waits in slot \S+/([a-z2-7]{26})", deed):
            self.names[match[1]] = Path(await self._push("outgoing", push=False)).name
        elif match := re.fullmatch(r"the client sends (\d+) octets: (.*)", deed):
            octets = match[2].encode().decode("unicode_escape").encode()
            assert len(octets) == int(match[1])
            await self.socket.send_multipart([b"", b"%d" % self.tag, b"raw", octets])
        elif deed == "the server sends the message":
            frames = await asyncio.wait_for(self.socket.recv_multipart(), 10)
            assert frames[2] == b"raw" and frames[3].endswith(b"\r\n\r\nThis is the first message.\r\n"), frames
        else:
            raise AssertionError(f"no such deed: {deed}")

    def _write(self, path: str) -> None:
        envelope = Envelope(Path(path).name, "alice@example.test", [Recipient("bob@remote.test")])
        write_slot(path, envelope, [MESSAGE])

    async def _push(self, queue: str, push: bool = True) -> str:
        socket = self.context.socket(zmq.REQ)
        socket.connect(self.door("queue"))
        await socket.send_multipart([b"", b"slot", queue.encode()])
        path = (await socket.recv_multipart())[2].decode()
        self._write(path)
        if push:
            await socket.send_multipart([b"", b"push", queue.encode(), path.encode()])
            assert (await socket.recv_multipart())[1] == b"ok"
        socket.close(0)
        return path
