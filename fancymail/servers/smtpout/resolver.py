"""The resolver of the daemons: asynchronous, patient with servers, deaf to forgers.

    answer = await resolver.lookup("example.org", "MX")      # an Answer, or DnsError: nothing is known now

Questions go out over several UDP sockets, each from a random source port of the kernel's choice, with a random id and mixed case;
TCP follows when a reply was cut or somebody guesses. Answers are cached as long as they and our caps allow, "there is nothing" as
well. Used by smtpout (and whoever needs DNS); it never blocks the loop, never starts a thread, never waits beyond its deadline.
"""

from __future__ import annotations

import asyncio
import random
import re
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from .dnswire import Alias, Answer, CHAIN_LIMIT, DnsError, Question, Refusal, answers, make_question, read_answer, sayable, truncated
from fancymail.servers.running.sockets import split

SOCKETS = 8                          # per server
USES = 128                           # questions per socket; then it goes, and its port with it
STRAYS = 24                          # wrong replies on one socket until its questions go by TCP
PENALTY = 30.0                       # seconds that a silent server is asked last


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and numbers of things."""

    deadline: float = 12.0           # for one lookup, all servers and tries together
    timeout: float = 1.5             # of the first try; it doubles with each round
    rounds: int = 3
    ttl: float = 21600.0             # no answer is kept longer
    negative_ttl: float = 600.0
    failure_ttl: float = 5.0         # how long "no answer" is remembered, so that a dead server is not asked by thousands
    entries: int = 20000
    running: int = 2000              # lookups under way


class Resolver:
    """Asks the servers, given as (address, port). `entropy` and `clock` are for tests."""

    def __init__(self, servers: Iterable[tuple[str, int]], limits: Limits = Limits(),
                 entropy: random.Random | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.servers = [_Server(address, port) for address, port in servers]
        self.limits = limits
        self.entropy = entropy or random.SystemRandom()
        self.clock = clock
        self.cache: OrderedDict[tuple[str, str], tuple[float, Answer | DnsError]] = OrderedDict()
        self.running: dict[tuple[str, str], asyncio.Task] = {}
        self.counters = {"asked": 0, "cached": 0, "strays": 0, "tcp": 0, "failed": 0}

    async def lookup(self, name: str, kind: str) -> Answer:
        """Find the records of `name`. Raises DnsError when nothing can be known now; a name nobody can have does not exist."""
        name = name.lower().removesuffix(".")
        if not sayable(name):
            return Answer(exists=False)
        key = (name, kind)
        known = self._known(key)
        if isinstance(known, Answer):
            return known
        if known is not None:
            raise DnsError(*known.args)
        task = self.running.get(key)
        if task is None:
            if len(self.running) >= self.limits.running:
                raise DnsError("too many lookups under way")
            task = self.running[key] = asyncio.create_task(self._find(key))
            task.add_done_callback(lambda task: self._found(key, task))
        return await asyncio.shield(task)

    def close(self) -> None:
        """Give up what is under way and close the sockets."""
        for task in self.running.values():
            task.cancel()
        for server in self.servers:
            server.close()

    def retire(self) -> None:
        """Another one takes the questions to come: those who ask here still hear answers, and each socket closes behind its last one."""
        for server in self.servers:
            server.retire()

    def _known(self, key: tuple[str, str]) -> Answer | DnsError | None:
        entry = self.cache.get(key)
        if entry is None:
            return None
        if entry[0] <= self.clock():
            del self.cache[key]
            return None
        self.cache.move_to_end(key)
        self.counters["cached"] += 1
        return entry[1]

    def _found(self, key: tuple[str, str], task: asyncio.Task) -> None:
        del self.running[key]
        if task.cancelled():
            return
        error = task.exception()       # looked at, so that nobody complains when all who waited are gone
        if error is None:
            answer = task.result()
            cap = self.limits.ttl if answer.records else self.limits.negative_ttl
            self._keep(key, min(answer.ttl, cap), answer)
        elif isinstance(error, DnsError):
            self.counters["failed"] += 1
            self._keep(key, self.limits.failure_ttl, error)

    def _keep(self, key: tuple[str, str], seconds: float, value: Answer | DnsError) -> None:
        if seconds > 0:
            self.cache[key] = (self.clock() + seconds, value)
            if len(self.cache) > self.limits.entries:
                self.cache.popitem(last=False)

    async def _find(self, key: tuple[str, str]) -> Answer:
        """Ask, and follow aliases that the answers leave open."""
        name, kind = key
        ttl = float("inf")
        try:
            async with asyncio.timeout(self.limits.deadline):
                for _ in range(CHAIN_LIMIT):
                    try:
                        answer = await self._ask(name, kind)
                        return replace(answer, ttl=min(answer.ttl, ttl))
                    except Alias as alias:
                        name, ttl = alias.args[0].lower(), min(ttl, alias.args[1])
                        if not sayable(name):
                            return Answer(ttl=ttl, exists=False)
        except TimeoutError:
            raise DnsError(f"no answer for {key[0]} {kind} within {self.limits.deadline:g} s") from None
        raise DnsError(f"{key[0]} is an alias without end")

    async def _ask(self, name: str, kind: str) -> Answer:
        """Ask server after server, round after round, the silent ones last; the last round goes by TCP."""
        reason = "no name server is known"
        for turn in range(self.limits.rounds):
            silent = False
            for server in sorted(self.servers, key=lambda server: server.bad_until > self.clock()):
                try:
                    return await self._try(server, name, kind, self.limits.timeout * 2 ** turn, turn + 1 == self.limits.rounds)
                except (DnsError, OSError, TimeoutError) as error:
                    silent = silent or not isinstance(error, Refusal)
                    reason = f"{server.address}: {str(error) or 'no answer'}"
                    server.bad_until = self.clock() + PENALTY
            if not silent:             # they all spoke, and would say the same again
                break
        raise DnsError(f"{name} {kind}: {reason}")

    async def _try(self, server: _Server, name: str, kind: str, seconds: float, last: bool) -> Answer:
        question = self._question(name, kind, edns=not last)
        self.counters["asked"] += 1
        wire = None
        if not last:
            async with asyncio.timeout(seconds):
                wire = await server.by_datagram(question, self.entropy, self.counters)
        if wire is None or truncated(wire):
            wire = await self._by_stream(server, question, seconds)
        try:
            answer = read_answer(question, wire)
        except Refusal as refusal:
            if str(refusal) != "FORMERR" or last:
                raise
            # RFC 6891 7: an old server that does not know EDNS
            question = self._question(name, kind, edns=False)
            answer = read_answer(question, await self._by_stream(server, question, seconds))
        server.bad_until = 0.0
        return answer

    async def _by_stream(self, server: _Server, question: Question, seconds: float) -> bytes:
        self.counters["tcp"] += 1
        async with asyncio.timeout(seconds * 2):
            wire = await _by_stream(server.address, server.port, question)
        if not answers(question, wire):
            raise DnsError("the answer is not to our question")
        return wire

    def _question(self, name: str, kind: str, edns: bool) -> Question:
        return make_question(name, kind, self.entropy.getrandbits(16), self.entropy.getrandbits(len(name)), edns)


class _Server:
    """One name server and the sockets to it."""

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port
        self.bad_until = 0.0
        self.uses = USES
        self.sockets: list[_Socket] = []
        self.opening = asyncio.Lock()  # hundreds of questions at once must not open hundreds of sockets

    async def by_datagram(self, question: Question, entropy: random.Random, counters: dict[str, int]) -> bytes | None:
        """Return the reply, or None when the question had better go by TCP. Waits as long as the caller does."""
        socket = await self._socket(entropy, counters)
        return await socket.ask(question)

    async def _socket(self, entropy: random.Random, counters: dict[str, int]) -> _Socket:
        """Choose a socket by chance; those that were used enough, or are gone, make room for new ones."""
        for worn in [socket for socket in self.sockets if socket.left <= 0 or socket.closed]:
            self.sockets.remove(worn)
            worn.retire()
        async with self.opening:
            if len(self.sockets) < SOCKETS:
                loop = asyncio.get_running_loop()
                _, socket = await loop.create_datagram_endpoint(
                    lambda: _Socket(counters, self.uses), remote_addr=(self.address, self.port))
                self.sockets.append(socket)
                return socket
        return entropy.choice(self.sockets)

    def retire(self) -> None:
        """Close what nobody waits for; a new socket serves one question."""
        self.uses = 1
        for socket in self.sockets:
            socket.left = 0
            socket.retire()

    def close(self) -> None:
        for socket in self.sockets:
            socket.transport.abort()


class _Socket(asyncio.DatagramProtocol):
    """One connected UDP socket: the kernel lets only the server's address and port through."""

    def __init__(self, counters: dict[str, int], uses: int) -> None:
        self.counters = counters
        self.left = uses
        self.closed = False
        self.strays = 0
        self.pending: dict[int, tuple[Question, asyncio.Future]] = {}

    def connection_made(self, transport) -> None:
        self.transport = transport

    async def ask(self, question: Question) -> bytes | None:
        if question.id in self.pending or self.closed:
            return None
        self.left -= 1
        future = asyncio.get_running_loop().create_future()
        self.pending[question.id] = (question, future)
        try:
            self.transport.sendto(question.wire())
            return await future
        finally:
            del self.pending[question.id]
            if self.left <= 0 and not self.pending:
                self.retire()

    def datagram_received(self, data: bytes, address) -> None:
        entry = self.pending.get(int.from_bytes(data[:2], "big"))
        if entry is not None and answers(entry[0], data):
            if not entry[1].done():
                entry[1].set_result(bytes(data))
            return
        self.strays += 1
        self.counters["strays"] += 1
        if self.strays >= STRAYS:      # somebody is guessing: TCP cannot be guessed so easily
            self.left = 0
            self._finish(None)

    def error_received(self, error: Exception) -> None:
        self._finish(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._finish(error or ConnectionAbortedError("socket closed"))

    def retire(self) -> None:
        """Close as soon as nobody waits here."""
        if not self.pending and not self.closed:
            self.closed = True
            self.transport.abort()

    def _finish(self, error: Exception | None) -> None:
        for _, future in self.pending.values():
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(OSError(str(error)))


async def _by_stream(address: str, port: int, question: Question) -> bytes:
    """Ask over TCP (RFC 7766); one question, one connection."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        wire = question.wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
        size, = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise DnsError("the connection ended before the answer") from None
    finally:
        writer.transport.abort()


def read_servers(text: str) -> list[tuple[str, int]]:
    """Read the nameserver lines of a resolv.conf; without one, this machine is asked (resolv.conf(5))."""
    lines = (line.split() for line in text.splitlines())
    return [(words[1], 53) for words in lines if len(words) > 1 and words[0] == "nameserver"] or [("127.0.0.1", 53)]


def name_servers(configured: Iterable[str]) -> list[tuple[str, int]]:
    """The servers of the settings ("192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53"), else those of /etc/resolv.conf."""
    found = []
    for text in configured:
        with_port = re.search(r"\]:\d+$|^[^:]+:\d+$", text)
        found.append(split(text if with_port else f"[{text.strip('[]')}]:53"))
    if found:
        return found
    try:
        return read_servers(Path("/etc/resolv.conf").read_text(errors="replace"))
    except OSError:
        return read_servers("")
