"""Hostile clients, all kinds at once, in a process of their own: python -m tests.soak.hostiles PORTS-JSON RUN-FOLDER SECONDS

Slow ones hold connections and say an octet now and then, flooding ones say nonsense as fast as they are heard, guessing ones try passwords,
huge ones send lines, headers, literals and messages without end, and local ones throw octets at the daemons' own sockets. Prints how often
each kind came as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from base64 import b64encode
from collections import Counter
from pathlib import Path

SLOW, FLOODING, GUESSING, HUGE, LOCAL = 60, 4, 4, 3, 2          # clients of each kind at a time
NOISE = [b"NOOP\r\n", b"EHLO x\r\n", b"\r\n", b"\0\xff\n", b"GET / HTTP/1.1\r\n\r\n", b"a NOOP\r\n", b"b FETCH 1 ALL\r\n", b"RETR 1\r\n",
         b"* BYE\r\n", b"MAIL FROM:<x@y.test>\r\nRCPT TO:<v@elsewhere.test>\r\n", b"STARTTLS\r\nEHLO evil\r\n",
         b"\x16\x03\x01\x02\x00\x01", b"CAPA\r\n", b"(" * 500]


class Siege:
    """All hostile clients of one suite."""

    def __init__(self, ports: dict[str, int], run: Path) -> None:
        self.ports, self.run, self.came, self.chance = ports, run, Counter(), random.Random(1)
        self.plain = [ports[name] for name in ("smtp", "submission", "pop3", "imap") if name in ports]
        self.all = list(ports.values())

    async def go(self, seconds: float) -> None:
        """Besiege for so long."""
        kinds = {"slow": SLOW, "flooding": FLOODING, "guessing": GUESSING, "huge": HUGE, "local": LOCAL}
        tasks = [asyncio.create_task(self.keep(kind)) for kind, count in kinds.items() for _ in range(count)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def keep(self, kind: str) -> None:
        """Come again and again; being thrown out is part of the day."""
        while True:
            try:
                async with asyncio.timeout(60):
                    await getattr(self, kind)()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                pass
            self.came[kind] += 1
            await asyncio.sleep(0.01)

    async def dial(self, ports: list[int]):
        return await asyncio.open_connection("127.0.0.1", self.chance.choice(ports))

    async def slow(self) -> None:
        reader, writer = await self.dial(self.all)
        try:
            for octet in self.chance.choice([b"EHLO slow.test\r\n" * 9, b"a LOGIN x y\r\n" * 9, b"USER x\r\n" * 9, b"\x16\x03\x01\x00\xff" * 9]):
                writer.write(bytes((octet,)))
                await writer.drain()
                await asyncio.sleep(0.5)
        finally:
            writer.close()

    async def flooding(self) -> None:
        reader, writer = await self.dial(self.all)
        try:
            for _ in range(200):
                writer.write(self.chance.choice(NOISE) * self.chance.choice((1, 1, 50)))
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            writer.transport.abort()

    async def guessing(self) -> None:
        reader, writer = await self.dial(self.plain)
        user = self.chance.choice(["alice@example.test", "nobody@example.test", "root"])
        plain = b64encode(f"\0{user}\0guess{self.chance.random()}".encode())
        try:
            for line in (b"EHLO g", b"AUTH PLAIN " + plain, b"USER " + user.encode(), b"PASS guess", b'a LOGIN %b "guess"' % user.encode(),
                         b"b AUTHENTICATE PLAIN " + plain, b"QUIT", b"c LOGOUT"):
                writer.write(line + b"\r\n")
                await writer.drain()
            await reader.read(65536)
        finally:
            writer.close()

    async def huge(self) -> None:
        reader, writer = await self.dial(self.plain)
        message = b"EHLO h\r\nMAIL FROM:<h@x.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
        start = self.chance.choice([b"EHLO h\r\n", message, b"a APPEND INBOX {99999999999+}\r\n", b"x LOGIN {900000+}\r\n", b"USER "])
        piece = self.chance.choice([b"x" * 65536, b"X-Field: y\r\n" * 5000, b"body line without end\r\n" * 3000, b"\r\n.\n" * 9000, bytes(65536)])
        try:
            writer.write(start)
            await asyncio.sleep(0.05)
            for _ in range(100):
                writer.write(piece)
                await writer.drain()
        finally:
            writer.transport.abort()

    async def local(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self.chance.choice(sorted(self.run.glob("*.ipc")))))
        try:
            writer.write(self.chance.choice([b"", b"\xff" + bytes(63), bytes(range(256)) * 40, b"GET / HTTP/1.0\r\n\r\n",
                                             b"\xff\0\0\0\0\0\0\0\0\x7f\x03"]))
            await asyncio.sleep(self.chance.random() * 3)
        finally:
            writer.close()


async def main() -> None:
    """Besiege, and say how often each kind came."""
    siege = Siege(json.loads(sys.argv[1]), Path(sys.argv[2]))
    await siege.go(float(sys.argv[3]))
    print(json.dumps(siege.came))


if __name__ == "__main__":
    asyncio.run(main())
