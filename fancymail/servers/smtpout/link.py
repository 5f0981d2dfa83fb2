"""One connection to a host that takes mail: the socket and TLS around an SMTP client engine.

Made by servers/smtpout/destination.py. `open_link` connects and brings the session up, `Link.hand_over` sends one message. Content goes
out in pieces with back-pressure; the engine's deadlines are kept here. It knows no routes, no queue, and logs nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from fancymail.protocol.smtp.answers import Outcome
from fancymail.protocol.smtp.client import SmtpClient
from fancymail.protocol.smtp.session import Ended, Event, Failed, Profile, Ready, Timeouts, WantContent
from fancymail.protocol.smtp.transaction import Transaction

NEVER = float("inf")
WRITE_LIMIT = 512 * 1024             # octets that may wait in the socket before the content pauses
PIECE = 16 * 1024                    # octets from which a piece of the content is written by itself


class LinkFailed(Exception):
    """No session with this host. kind: connect, or that of the engine's Failed; `outcome` is for all recipients."""

    def __init__(self, kind: str, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.kind, self.outcome = kind, outcome


@dataclass(frozen=True, slots=True)
class Security:
    """The TLS of a link: the context, and the name for SNI and for the certificate."""

    context: ssl.SSLContext
    name: str


class Link(asyncio.Protocol):
    """Octets between the socket and the engine, events for whoever waits."""

    def __init__(self, engine: SmtpClient, security: Security) -> None:
        self.engine, self.security = engine, security
        self.loop = asyncio.get_running_loop()
        self.messages = 0
        self.tls_version = ""
        self.transport: asyncio.Transport | None = None
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future | None = None
        self._pieces: Iterator[bytes] | None = None      # what is still to be given of the content
        self._giving = self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._due = NEVER               # when the timer looks, and when the engine's phase is over
        self._epoch = -1
        self._upgrade: asyncio.Task | None = None

    # asyncio's side

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(WRITE_LIMIT)
        self.turn()

    def data_received(self, data: bytes) -> None:
        self.engine.receive(data)
        self.turn()

    def eof_received(self) -> bool:
        self.engine.receive_eof()
        self.turn()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.engine.receive_eof()
        self.turn()
        if self._timer:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._giving:
            self._give()
            self.turn()

    # the engine's side

    def turn(self) -> None:
        """Take what the engine says: events for the waiter, octets for the socket, a deadline for the clock."""
        engine = self.engine
        while event := engine.next_event():
            if type(event) is WantContent:
                self._giving = True
                self._give()
            else:
                self._events.append(event)
        self._write()
        if engine.deadline_epoch != self._epoch:
            self._arm()
        if engine.want_tls and self._upgrade is None:
            self._upgrade = self.loop.create_task(self._start_tls())
        if engine.closing and self.transport:
            # what is still unsent belongs to a session that has failed: it must not get out later
            self.transport.abort()
        if self._events and self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def event(self) -> Event:
        """Wait for the next event; there is always one, since every phase has a deadline."""
        while not self._events:
            self._waiter = self.loop.create_future()
            await self._waiter
        return self._events.popleft()

    async def ready(self) -> None:
        """Wait until the session is up. Raises LinkFailed."""
        event = await self.event()
        if self._events:               # the host ended it in the same breath
            event = self._events.popleft()
        if isinstance(event, Failed):
            raise LinkFailed(event.kind, event.outcome)
        assert isinstance(event, Ready)

    async def hand_over(self, transaction: Transaction, content: Iterable[bytes]) -> Ended:
        """Send one message. `content` may raise OSError or ValueError: then the message is not finished, and the link is spent."""
        self.messages += 1
        self._pieces = iter(content)
        try:
            self.engine.send(transaction)
            self.turn()
            event = await self.event()
        finally:
            self._pieces, self._giving = None, False
        assert isinstance(event, Ended)
        return event

    def _give(self) -> None:
        """Give the content, as soon as the host wants it, until the socket has enough for now: nobody has to be woken for that."""
        engine = self.engine
        try:
            while not (self._paused or engine.ended):
                piece = next(self._pieces, None)
                if piece is None:
                    self._giving = False
                    engine.content_end()
                    return
                engine.content(piece)
                if len(piece) > PIECE:
                    self._write()
        except (OSError, ValueError) as error:
            self._giving = False
            engine.abort(f"the content cannot be read: {error}")

    def _write(self) -> None:
        data = self.engine.to_send()
        if data and self.transport:
            self.transport.write(data)

    async def _start_tls(self) -> None:
        engine = self.engine
        try:
            self.transport = await self.loop.start_tls(
                self.transport, self, self.security.context, server_hostname=self.security.name or None,
                ssl_handshake_timeout=engine.timeouts.tls)
        except (OSError, ssl.SSLError, TimeoutError, ValueError) as error:
            engine.tls_failed(tls_reason(error))
        else:
            if engine.want_tls:
                self.transport.set_write_buffer_limits(WRITE_LIMIT)
                self._note_tls()
                engine.tls_started(None)
        self._upgrade = None
        self.turn()

    def _note_tls(self) -> None:
        secured = self.transport.get_extra_info("ssl_object")
        self.tls_version = secured.version() if secured else ""

    def _arm(self) -> None:
        """Take over the engine's deadline. A later one needs no new timer: the old one looks again."""
        self._epoch, seconds = self.engine.deadline_epoch, self.engine.deadline
        self._due = self.loop.time() + seconds if seconds else NEVER
        if self._due < self._timer_at:
            self._wind()

    def _wind(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer, self._timer_at = self.loop.call_at(self._due, self._tick), self._due

    def _tick(self) -> None:
        self._timer, self._timer_at = None, NEVER
        if self._due <= self.loop.time() + 0.001:       # uvloop counts in milliseconds and may come a little early
            self._due = NEVER
            self.engine.expire()
            self.turn()
        elif self._due < NEVER:
            self._wind()

    @cached_property
    def limits(self) -> dict[str, str]:
        """What the host said of its limits once the session was up (RFC 9422 4)."""
        pairs = (word.partition("=") for word in self.engine.extensions.get("LIMITS", "").upper().split())
        return {name: value for name, _, value in pairs}

    @property
    def usable(self) -> bool:
        """Whether another message can go over it."""
        return self.engine.at_rest and not self._events

    def bye(self) -> None:
        """Say QUIT; nobody waits for the answer but the deadline."""
        self.engine.quit()
        self.turn()

    def drop(self) -> None:
        """Leave at once."""
        if self._upgrade:
            self._upgrade.cancel()
        if self.transport:
            self.transport.abort()


async def open_link(address: str, port: int, profile: Profile, timeouts: Timeouts, security: Security, seconds: float) -> Link:
    """Connect to exactly this address and bring the session up. Raises LinkFailed; leaves nothing open then."""
    loop = asyncio.get_running_loop()
    link = Link(SmtpClient(profile, timeouts), security)
    implicit = {"ssl": security.context, "server_hostname": security.name, "ssl_handshake_timeout": timeouts.tls} if profile.secured else {}
    try:
        async with asyncio.timeout(seconds + (timeouts.tls if profile.secured else 0)):
            await loop.create_connection(lambda: link, address, port, **implicit)
    except (ssl.SSLError, ValueError) as error:
        raise LinkFailed("tls", Outcome("deferred", "4.7.5", f"TLS handshake failed: {tls_reason(error)}", True)) from None
    except (OSError, TimeoutError) as error:
        text = f"cannot connect to {address} port {port}: {connect_reason(error)}"
        raise LinkFailed("connect", Outcome("deferred", "4.4.1", text, True)) from None
    if profile.secured:
        link._note_tls()
    try:
        await link.ready()
    except BaseException:
        link.drop()
        raise
    return link


def tls_reason(error: Exception) -> str:
    """Why a handshake failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or type(error).__name__).lower().replace("_", " ")
    return str(error) or type(error).__name__


def connect_reason(error: Exception) -> str:
    """Why there is no connection, in a few words."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
