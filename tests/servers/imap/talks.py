"""Plays tests/talks/imap-sessions/*.talk: what several sessions say and hear, in the order in which it happens.

    with message-limit=3      first of all: fm-imap has these options
    login a alice             opens the session a and logs in
    deliver alice Subject     a message arrives from outside
    a> SELECT INBOX           a says a command (it gets a tag); <CRLF> and <NUL> stand for themselves
    a< * 1 EXISTS             and hears exactly this next; `...` stands for anything, <TAG> for the tag of its command,
                              <UIDVALIDITY> for that of alice's INBOX
    a! OK                     hears anything up to the tagged response, which begins so (for what the talk is not about)

At the end every session says LOGOUT and may hear nothing but its answer, so nothing that was said stays unnoticed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.servers.imap.kit import Client, Suite

FOLDER = Path(__file__).parents[2] / "talks" / "imap-sessions"


def talks() -> list[Path]:
    """All of them."""
    return sorted(FOLDER.glob("*.talk"))


class Player:
    """Plays one talk."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.sessions: dict[str, Client] = {}
        self.tags: dict[str, bytes] = {}

    async def play(self, path: Path) -> None:
        """Play it; an AssertionError names the line."""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line and not line.startswith("#"):
                try:
                    await self._line(line)
                except Exception as error:
                    raise AssertionError(f"{path.name}:{number}: {line}\n  {type(error).__name__}: {error}") from error
        for name, client in self.sessions.items():
            if not client.reader.at_eof():
                heard = await client.ask("LOGOUT")
                assert heard[0].startswith(b"* BYE") and len(heard) == 2, f"{path.name}: {name} heard more than the talk says: {heard}"

    async def _line(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "with":
            pairs = (option.split("=") for option in rest.split())
            await self.suite.restart(**{name: json.loads(value) for name, value in pairs})
        elif word == "login":
            name, user = rest.split()
            self.sessions[name] = await self.suite.login(f"{user}@example.test")
        elif word == "deliver":
            user, _, subject = rest.partition(" ")
            await self.suite.deliver(b"From: b@x.test\r\nSubject: %b\r\n\r\nHello.\r\n" % subject.encode(), f"{user}@example.test")
        elif word == "settle":
            await self._settle()
        else:
            await self._session(word[:-1], word[-1], rest)

    async def _settle(self) -> None:
        """Let fm-imap hear of all that happened: alerts are hints and come in their own time."""
        for name in self.sessions:
            for boxes in self.suite.imap.images._boxes.values():
                for box in boxes.values():
                    if not box.gone:
                        await box.renew()

    async def _session(self, name: str, kind: str, text: str) -> None:
        client = self.sessions[name]
        if "<UIDVALIDITY>" in text:
            inbox = await self.suite.imap.reader.mailbox("alice@example.test", "INBOX")
            text = text.replace("<UIDVALIDITY>", str(inbox.uidvalidity))
        said = text.encode().replace(b"<CRLF>", b"\r\n").replace(b"<NUL>", b"\0")
        if kind == ">" and text.startswith("DONE"):         # `DONE then COMMAND`: in one packet, as some clients do
            client.send(b"DONE\r\n" + (b"x %b\r\n" % said[10:] if said[5:10] == b"then " else b""))
        elif kind == ">":
            self.tags[name] = client.start(said)
        elif kind == "<":
            await self._hear(client, said.replace(b"<TAG>", self.tags[name]), self.tags.get(name, b""))
        elif kind == "!":
            tagged = (await client.finish(self.tags[name]))[-1]
            assert tagged.startswith(said), tagged
        else:
            raise ValueError("not a line of a talk")

    async def _hear(self, client: Client, expected: bytes, tag: bytes) -> None:
        heard = await client.response()
        if heard.startswith(tag + b" ") and not expected.startswith((b"*", b"+")):
            heard = heard[len(tag) + 1:]
        shape = b".*".join(map(re.escape, expected.split(b"...")))
        assert re.fullmatch(shape, heard, re.DOTALL), f"heard {heard!r}"
