"""Connections to hosts: kept for the next message, never more to one address than it bears, none to hosts that are dead.

    link = await pool.borrow(target, route)      # Busy, or LinkFailed
    ... link.hand_over(...) ...
    pool.give_back(link, good=True)

Used by servers/smtpout/destination.py. Whoever waits for a connection waits for a bounded time in a bounded line, per address: a tarpit
holds what is at its own door and nothing else.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from fancymail.base.settings.smtpout import SmtpOut
from fancymail.core.mx import Target
from fancymail.core.routing import Route
from fancymail.core.schedule import DeadHosts, Window
from fancymail.protocol.smtp.answers import Outcome
from fancymail.protocol.smtp.credentials import Credentials
from fancymail.protocol.smtp.session import TLS_MAY, TLS_NEVER, TLS_REQUIRE, Profile, Timeouts

from .link import Link, LinkFailed, Security, open_link

GATES = 10_000                       # addresses of which a window is remembered
STALL = 5.0                          # seconds without a success after which a line does not move
PLAIN_MEMORY = 3600.0                # seconds for which it is remembered that a host's TLS does not work
DEADLY = ("connect", "timeout", "lost")

Key = tuple[str, str, str]


class Busy(Exception):
    """There was no room for another connection in time."""


@dataclass(slots=True)
class Gate:
    """The door to one address: its window, the links at rest, who waits, and when it last took something (seconds)."""

    window: Window
    moved: float
    idle: list[tuple[Key, Link, asyncio.TimerHandle]] = field(default_factory=list)
    line: deque[asyncio.Future] = field(default_factory=deque)

    @property
    def unused(self) -> bool:
        return not (self.window.used or self.idle or self.line)


class Contexts:
    """The TLS contexts of the routes' kinds of TLS. Raises OSError or ssl.SSLError for a bad file of authorities."""

    def __init__(self, authorities: str) -> None:
        self.anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.anyone.check_hostname = False
        self.anyone.verify_mode = ssl.CERT_NONE          # RFC 7435: encryption to whoever it is beats plain text
        if authorities:
            self.proven = ssl.create_default_context(cafile=authorities)

    @cached_property
    def proven(self) -> ssl.SSLContext:
        """The system's authorities, read when the first route asks who it is: they take 40 ms and some megabytes."""
        return ssl.create_default_context()

    def __getitem__(self, tls: str) -> ssl.SSLContext:
        return self.proven if tls in ("verify", "implicit") else self.anyone


class Pool:
    """All connections of the daemon."""

    def __init__(self, settings: SmtpOut, hostname: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.hostname = hostname
        self.gates: dict[tuple[str, int], Gate] = {}
        self.dead = DeadHosts(settings.dead_host)
        self.plain: dict[tuple[str, int], float] = {}
        self.lent: dict[Link, tuple[Gate, Key, Target]] = {}
        self.apply(settings)
        self.room = settings.connections
        self.hall: deque[asyncio.Future] = deque()       # who waits because of all connections together

    def apply(self, settings: SmtpOut) -> None:
        """Take new settings; links that exist stay as they are. Raises OSError or ssl.SSLError for a bad file of authorities."""
        self.contexts = Contexts(settings.tls_authorities)
        self.settings = settings
        self.timeouts = Timeouts(
            greeting=settings.command_timeout, hello=settings.command_timeout, mail=settings.command_timeout,
            rcpt=settings.command_timeout, auth=settings.command_timeout, rset=settings.command_timeout,
            data=settings.command_timeout, tls=min(settings.command_timeout, 60.0), block=settings.content_timeout, final=settings.final_timeout)

    async def borrow(self, target: Target, route: Route) -> Link:
        """Get a link with a session that is up. Raises Busy or LinkFailed."""
        gate, patience = self._gate(target), self.loop.time() + self.settings.waiting_time
        while True:
            await self._enter(gate, target, patience)
            try:
                key = (target.host, route.tls, route.user)
                link = self._rested(gate, key) or await self._open(target, route)
            except BaseException as error:
                again = isinstance(error, LinkFailed) and self._crowded(gate, key, error) and self.loop.time() < patience
                if isinstance(error, LinkFailed):
                    gate.window.failed()
                    if not again:
                        self._note_failure(gate, target, error)
                self._leave(gate)
                if not again:
                    raise
                continue
            self.dead.answered(target.address, target.port)
            self.lent[link] = (gate, key, target)
            return link

    def give_back(self, link: Link, good: bool) -> None:
        """Return a link; `good`: the host took what it was given, or said no in an orderly way."""
        gate, key, _ = self.lent.pop(link)
        if good:
            gate.moved = self.loop.time()
            gate.window.succeeded()
        else:
            gate.window.failed()
        if not link.usable:
            link.drop()
        elif link.messages < self.settings.messages_per_connection and (self.settings.idle or gate.line):
            timer = self.loop.call_later(max(self.settings.idle, 1.0), self._tired, gate, link)
            gate.idle.append((key, link, timer))
        else:
            link.bye()
        self._leave(gate)

    def close(self) -> None:
        """End all links."""
        for gate in self.gates.values():
            for _, link, timer in gate.idle:
                timer.cancel()
                link.bye()
        for link in list(self.lent):
            link.drop()

    def relieve(self) -> None:
        """Others need the room: send those away who stand far back in a line that does not move."""
        for gate in self.gates.values():
            if self.loop.time() - gate.moved < STALL:
                continue
            for turn in list(gate.line)[self.settings.waiting_per_host:]:
                _send_away(turn)

    def count(self) -> int:
        """Connections at the moment, those at rest included."""
        return sum(gate.window.used + len(gate.idle) for gate in self.gates.values())

    # room

    def _gate(self, target: Target) -> Gate:
        gate = self.gates.get((target.address, target.port))
        if gate is None:
            if len(self.gates) >= GATES:
                for key in [key for key, known in self.gates.items() if known.unused]:
                    del self.gates[key]
            gate = self.gates[target.address, target.port] = Gate(Window(self.settings.connections_per_host), self.loop.time())
        return gate

    async def _enter(self, gate: Gate, target: Target, patience: float) -> None:
        """Wait for room at the address, and for room at all."""
        while True:
            if reason := self._dead(target):
                raise LinkFailed("dead", Outcome("deferred", "4.4.1", f"not tried again yet: {reason}", True))
            if gate.window.open and self.room > 0:
                gate.window.used += 1
                self.room -= 1
                return
            if gate.window.open:
                await self._stand(self.hall, patience)
                if not gate.window.open or self._dead(target):      # we cannot use the room: it is for the next in the hall
                    _wake(self.hall)
            else:
                await self._stand(gate.line, patience)

    def _dead(self, target: Target) -> str:
        return self.dead.reason(target.address, target.port, self.loop.time())

    async def _stand(self, line: deque[asyncio.Future], patience: float) -> None:
        turn = self.loop.create_future()
        line.append(turn)
        timer = self.loop.call_at(patience, _send_away, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and not turn.exception():     # it was our turn: the next one must not miss it
                _wake(line)
            raise
        finally:
            timer.cancel()
            with suppress(ValueError):
                line.remove(turn)

    def _leave(self, gate: Gate) -> None:
        gate.window.used -= 1
        self.room += 1
        _wake(gate.line, gate.window.free)               # several, when the window has grown
        _wake(self.hall)

    # links

    def _rested(self, gate: Gate, key: Key) -> Link | None:
        """A link at rest; those that died while resting go."""
        for entry in [entry for entry in gate.idle if entry[0] == key or not entry[1].usable]:
            gate.idle.remove(entry)
            entry[2].cancel()
            if entry[1].usable:
                return entry[1]
            entry[1].drop()
        return None

    def _tired(self, gate: Gate, link: Link) -> None:
        gate.idle = [entry for entry in gate.idle if entry[1] is not link]
        if link.usable:
            link.bye()
        else:
            link.drop()

    async def _open(self, target: Target, route: Route) -> Link:
        """Connect; a host whose TLS is broken gets a second chance in plain text, where policy does not forbid it."""
        door = (target.address, target.port)
        plain = route.tls == "may" and self.plain.get(door, 0.0) > self.loop.time()
        try:
            return await self._connect(target, route, TLS_NEVER if plain else route.tls)
        except LinkFailed as failure:
            if failure.kind != "tls" or route.tls != "may" or plain:
                raise
        if len(self.plain) >= GATES:
            self.plain.clear()
        self.plain[door] = self.loop.time() + PLAIN_MEMORY
        return await self._connect(target, route, TLS_NEVER)

    async def _connect(self, target: Target, route: Route, tls: str) -> Link:
        credentials = Credentials(route.user, route.password.reveal(), secrets.token_urlsafe(18)) if route.user else None
        profile = Profile(
            self.hostname, tls={"may": TLS_MAY, "never": TLS_NEVER}.get(tls, TLS_REQUIRE), secured=tls == "implicit",
            credentials=credentials, auth_in_clear=route.auth_in_clear)
        security = Security(self.contexts[tls], target.host.strip("[]").removeprefix("IPv6:"))
        return await open_link(target.address, target.port, profile, self.timeouts, security, self.settings.connect_timeout)

    def _crowded(self, gate: Gate, key: Key, failure: LinkFailed) -> bool:
        """Whether the host says no only because it has links of ours already: then wait for one of those."""
        if failure.kind not in ("refused", "lost", "connect"):
            return False
        others = [entry[1] for entry in gate.idle if entry[0] != key]
        for link in others:            # at rest, and of no use for us: they take the room away
            self._tired(gate, link)
        return gate.window.used > 1 or bool(gate.idle or others)

    def _note_failure(self, gate: Gate, target: Target, failure: LinkFailed) -> None:
        if failure.kind in DEADLY:
            self.dead.failed(target.address, target.port, self.loop.time(), str(failure))
            for turn in gate.line:     # they would only find the same
                if not turn.done():
                    turn.set_result(None)


def _wake(line: deque[asyncio.Future], count: int = 1) -> None:
    """Give the first who still wait the turn."""
    for turn in line:
        if count <= 0:
            return
        if not turn.done():
            turn.set_result(None)
            count -= 1


def _send_away(turn: asyncio.Future) -> None:
    """Whoever waits has waited long enough."""
    if not turn.done():
        turn.set_exception(Busy())
