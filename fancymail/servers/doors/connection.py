"""One connection: a channel, perhaps TLS, and one engine with one session that decides.

Made by listener.py for every accepted socket. The loop is always the same: receive, ask the engine for events, let the
session handle each (its answer may come later), write what the engine has to send once, arm the deadline. Reading stops while
a decision is pending and much is buffered, and while the peer does not read what we write. It holds no task and no timer per
command, no whole message, and no octet that was sent in plain text before TLS.
"""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fancymail.protocol import proxy
from fancymail.protocol.engine import Engine, ProtocolError
from fancymail.servers.doors.channel import NEVER, Channel
from fancymail.servers.doors.deflate import Deflate, DeflateError
from fancymail.servers.doors.tls import TlsError, TlsInfo, TlsStream

if TYPE_CHECKING:
    from fancymail.servers.doors.listener import Listener

INBOX_HIGH = 64 * 1024           # with more than this unparsed, a pending decision stops reading
FLUSH = 16 * 1024                # replies larger than this leave at once, so that pipelined RETRs never pile up
CHUNK = 256 * 1024               # octets of a file that are in memory at once


class Later:
    """An answer that comes later, from somebody who needs no task for it: the session says it to the engine, then calls `come`."""

    __slots__ = ("come",)

    come: Callable[[], None]                      # set by the connection: it goes on in the same turn of the loop


class Session(ABC):
    """What a daemon does with the events of one connection. Subclasses set `engine` and answer in `handle`."""

    engine: Engine

    @abstractmethod
    def handle(self, event) -> Awaitable | Later | None:
        """Decide about one event through the engine's methods; return an awaitable, or a Later, when the answer comes later."""

    def closed(self) -> None:
        """The connection is gone: release what is held. Called exactly once; a pending awaitable still runs to its end."""

    def drain(self) -> None:
        """The daemon goes away: an idle session may say so and set engine.closing."""


class Connection(Channel):
    """Drives one engine over one socket. Everything happens in the event loop's thread."""

    __slots__ = ("listener", "peer", "peer_port", "local_port", "loopback", "tls", "session", "counted",
                 "_stream", "_deflate", "_early", "_deciding", "_epoch")

    def __init__(self, listener: Listener, sock: socket.socket, peer: str, peer_port: int, local_port: int) -> None:
        super().__init__(listener.loop, sock)
        self.listener = listener
        self.peer = peer                          # address as text; "" for a unix socket
        self.peer_port = peer_port
        self.local_port = local_port
        self.loopback = listener.is_loopback(peer)
        self.tls: TlsInfo | None = None
        self.session: Session | None = None
        self.counted: str | None = None           # the key under which the caps count it
        self._stream: TlsStream | None = None
        self._deflate: Deflate | None = None
        self._phase = self._deliver
        self._early = b""                         # an incomplete PROXY header
        self._deciding: asyncio.Future | Later | None = None
        self._epoch = 0

    # -- the phases before the session -------------------------------------------------------------------------------

    def start(self, behind_proxy: bool) -> None:
        """Begin: the PROXY header when the peer is a trusted balancer, then implicit TLS, then the session."""
        self._read_on()
        if behind_proxy:
            self._phase = self._proxy
            self._due = self._loop.time() + self.listener.PROXY_SECONDS
            self._arm()
        else:
            self._greet()

    def _proxy(self, data: memoryview) -> None:
        self._early += data
        try:
            header = proxy.parse(self._early)
        except ProtocolError as error:
            self._drop("proxy_failed", str(error))
            return
        if header is None:
            return
        rest, self._early = self._early[header.length:], b""
        if header.source:
            self.peer, self.peer_port = header.source, header.source_port
            self.local_port = header.destination_port
            self.loopback = self.listener.is_loopback(self.peer)
            if not self.listener.admit(self):
                return
        self._due = NEVER
        self._phase = self._deliver
        self._greet()
        if rest and not self.closed:
            self._phase(memoryview(rest))

    def _greet(self) -> None:
        if self.listener.implicit_tls:
            self._handshake()
        else:
            self._open()

    def _handshake(self) -> None:
        certificates = self.listener.certificates
        if certificates is None:
            self._drop("handshakes_failed", "no certificate")
            return
        self._stream = certificates.stream()
        self._phase = self._decrypt
        self._due = self._loop.time() + certificates.handshake      # for the whole handshake, however slowly it trickles
        self._arm()

    def _open(self) -> None:
        try:
            self.session = self.listener.make_session(self)
        except Exception as error:
            self._broken(error)
            return
        self.advance()

    # -- reading -----------------------------------------------------------------------------------------------------

    def _ended(self) -> None:
        """The peer sends no more. What it sent before is still answered (half-close)."""
        self._eof = True
        self._read_off()
        if self.session is None:
            self.abort()
            return
        try:
            self.session.engine.receive_eof()
        except Exception as error:
            self._broken(error)
            return
        self.advance()

    def _decrypt(self, data: memoryview) -> None:
        stream = self._stream
        established = stream.established
        try:
            plain = stream.receive(data)
        except TlsError as error:
            self._transmit(stream.outgoing())     # the alert
            self._drop("handshakes_failed" if not established else "tls_broken", str(error))
            return
        self._transmit(stream.outgoing())
        if not established and stream.established:
            self._secured()
        if plain and not self.closed:
            self._deliver(plain)
        if stream.ended and not self.closed and not self._ending:
            self._ended()

    def _secured(self) -> None:
        self.tls = self._stream.info()
        self._due = NEVER
        self.listener.counters["handshakes"] += 1
        if self.session is None:
            self._open()
        else:
            self._epoch = -1
            self.session.engine.tls_started(self.tls)
            self.advance()

    def _deliver(self, data: memoryview | bytes) -> None:
        if self._deflate is not None:
            self._deflate.receive(data)
            self._inflate()
            return
        self.session.engine.receive(data)
        self.advance()

    def _inflate(self) -> None:
        """Give the engine what the peer compressed, a piece at a time; the rest waits as it came while there is enough to decide about."""
        try:
            while not (self.closed or self._ending or self._stalled):
                if self._deciding is not None and len(self.session.engine.inbox) > INBOX_HIGH:
                    break
                plain = self._deflate.take()
                if not plain and not self._deflate.waiting:
                    break
                self.session.engine.receive(plain)
                self.advance()
        except DeflateError as error:
            self._drop("deflate_broken", str(error))

    # -- deciding ----------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Let the session handle events until there are none, or one waits for its answer, or the peer must read first.

        Sessions call it when they said something that answers no event: news, the end."""
        session = self.session
        if session is None:
            return
        engine = session.engine
        try:
            while self._deciding is None and not self._stalled and not self.closed and not engine.closing:
                event = engine.next_event()
                if event is None:
                    break
                answer = session.handle(event)
                if type(answer) is Later:
                    self._deciding, answer.come = answer, self._answered
                elif answer is not None:
                    self._deciding = asyncio.ensure_future(answer)
                    self._deciding.add_done_callback(self._decided)
                elif engine.out and (len(engine.out[-1]) > FLUSH or len(engine.out) > 256):
                    self.flush()
        except Exception as error:
            self._broken(error)
            return
        self._settle()

    def _decided(self, answer: asyncio.Future) -> None:
        self._deciding = None
        error = None if answer.cancelled() else answer.exception()
        if self.closed:
            if error is not None and not isinstance(error, ConnectionError):
                self.listener.report(self, error)
        elif answer.cancelled() or isinstance(error, ConnectionError):
            self.abort()
        elif error is not None:
            self._broken(error)
        else:
            self._answered()

    def _answered(self) -> None:
        self._deciding = None
        self._epoch = -1                          # the time that we took is not the peer's: its deadline begins anew
        self.advance()

    def _settle(self) -> None:
        """After events: send, and see what comes next: the end, TLS, or more octets within the deadline."""
        if self.closed or self._ending:
            return
        engine = self.session.engine
        if engine.out:
            self.write(engine.to_send())
            if self.closed:
                return
        if self._deciding is None:
            if engine.closing:
                self.close()
                return
            if engine.want_tls:
                self._start_tls(engine)
                return
            if engine.want_deflate:
                self._start_deflate(engine)
            if self._eof and not self._stalled and (self._deflate is None or not self._deflate.waiting):
                self.close()
                return
            if self._deflate is not None and self._deflate.waiting and not self._stalled:
                self._loop.call_soon(self._inflate)
        if self._stalled or self._deciding is not None and len(engine.inbox) > INBOX_HIGH:
            self._read_off()
        elif not self._reading:
            self._read_on()
        if engine.deadline_epoch != self._epoch:
            self._watch(engine)

    def start_tls(self) -> None:
        """Ask for the handshake once what the engine has to send is flushed; engines do it themselves by `want_tls`."""
        self.session.engine.want_tls = True

    def _start_tls(self, engine: Engine) -> None:
        """The go-ahead is written. Octets that came before it were sent by whoever sits on the wire (CVE-2011-0411)."""
        if engine.inbox or self._stream is not None or self.listener.certificates is None:
            self._drop("starttls_refused", "octets in plain text behind the command" if engine.inbox else "TLS cannot begin")
            return
        engine.want_tls = False
        self._handshake()
        self._read_on()

    def _start_deflate(self, engine: Engine) -> None:
        """The go-ahead is written in plain; from now on both sides compress (RFC 4978 3). Octets that came too early cannot be told apart."""
        engine.want_deflate = False
        if engine.inbox:
            self._drop("deflate_broken", "octets behind COMPRESS")
        else:
            self._deflate = Deflate()

    def flush(self) -> None:
        """Write what the engine has to send."""
        if self.session is not None and self.session.engine.out:
            self.write(self.session.engine.to_send())

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send octets, through TLS when it is up. Nothing is copied: do not change a memoryview until it is sent."""
        if self.closed or self._ending or not data:
            return
        if self._deflate is not None:
            data = self._deflate.compress(data)
        if self._stream is None:
            self._transmit(data)
            return
        try:
            self._transmit(self._stream.encrypt(data))
        except TlsError as error:
            self._drop("tls_broken", str(error))

    def _relieved(self) -> None:
        if self._deciding is not None:
            self._read_on()
        elif self.session is not None:
            self.advance()

    async def send_file(self, fd: int, offset: int, length: int, transform: Callable[[bytes], bytes | None] | None = None,
                        size: int = CHUNK) -> None:
        """Send a part of a file in chunks of `size`, each through `transform`, as fast as the peer takes them.

        What the engine has to send goes first. A transform that returns None has seen enough. Raises OSError when the file is
        shorter than was said: the connection must not go on then, since the peer would take the next reply for content.
        Raises ConnectionResetError when the peer is gone.
        """
        self.flush()
        while length > 0:
            chunk = os.pread(fd, min(size, length), offset)
            if not chunk:
                raise OSError(f"a file ends {length} octets early")
            offset, length = offset + len(chunk), length - len(chunk)
            if length:
                os.posix_fadvise(fd, offset, size, os.POSIX_FADV_WILLNEED)       # the disk works while the peer reads
            if transform is not None and (chunk := transform(chunk)) is None:
                return
            self.write(chunk)
            await self.drained()
            await asyncio.sleep(0)                # a fast peer must not keep the loop from the others

    # -- deadlines ---------------------------------------------------------------------------------------------------

    def _watch(self, engine: Engine) -> None:
        """Take over the engine's deadline, which was armed anew. A later one needs no new timer: the old one looks again."""
        self._epoch = engine.deadline_epoch
        self._due = NEVER if engine.deadline is None else self._loop.time() + engine.deadline
        if self._due < self._timer_at:
            self._arm()

    def _expire(self) -> None:
        if self._ending:
            self.abort()
        elif self.session is None or self._stream is not None and not self._stream.established:
            self._drop("handshakes_failed" if self._stream is not None else "proxy_failed", "too slow")
        elif self._deciding is not None:
            self._epoch = -1                      # we are the slow ones
        else:
            self.listener.counters["expired"] += 1
            try:
                self.session.engine.expire()
            except Exception as error:
                self._broken(error)
                return
            self._stalled = False
            self._settle()

    # -- the end -----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """The daemon goes away: let the session say so if it can at this point."""
        if self.session is None:
            self.abort()
        elif not self.closed and not self._ending:
            self.session.drain()
            if self._deciding is None:
                self._settle()

    def close(self) -> None:
        """Close when all that was written is sent."""
        if not self.closed and not self._ending:
            if self._stream is not None:
                self._transmit(self._stream.finish())
            self._finish()

    def _unread(self) -> bool:
        return self.session is not None and bool(self.session.engine.inbox) or super()._unread()

    def _gone(self) -> None:
        self._stream, self._phase = None, _ignore   # a bound method would make a cycle
        session, self.session = self.session, None  # and so would the two that know each other
        self.listener.gone(self)
        if session is not None:
            try:
                session.closed()
            except Exception as error:
                self.listener.report(self, error)
            session.engine.release()

    def _drop(self, counter: str, reason: str) -> None:
        self.listener.counters[counter] += 1
        self.listener.log.info("dropped", peer=self.peer, port=self.local_port, reason=reason)
        self.abort()

    def _broken(self, error: BaseException) -> None:
        """A bug of ours: log it, say the protocol's own error if we may, and end this connection, never the daemon."""
        self.listener.report(self, error)
        if self.closed:
            return
        if self.session is not None and self._deciding is None and not self._ending and not isinstance(error, OSError):
            self.session.engine.out.append(self.listener.failure)
            self.flush()
        self.close() if not isinstance(error, OSError) else self.abort()


def _ignore(data: memoryview) -> None:
    """Where octets go when the connection is closed."""
