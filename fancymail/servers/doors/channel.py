"""A non-blocking socket in the event loop: octets in, octets out, back-pressure, one timer, and a gentle end.

The floor below connection.py, which says what the octets mean. One read buffer serves the whole process. What the kernel
does not take waits, bounded; a peer that does not read is dropped; a peer that has octets on their way still gets our last words.
It knows no protocol and makes no log.
"""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from collections import deque
from collections.abc import Callable

from fancymail.servers.doors.tls import READ

WRITE_HIGH = 256 * 1024          # unsent octets that stop reading and deciding
WRITE_LOW = 64 * 1024            # ... until only so many are left
STALL = 60.0                     # seconds in which a peer that is written to must take STALL_OCTETS
STALL_OCTETS = 16 * 1024
LINGER = 2.0                     # seconds for the peer to read our last words before the socket goes
LINGER_OCTETS = 1024 * 1024
NEVER = float("inf")

_buffer = bytearray(READ)        # the one read buffer of the process: whoever keeps octets copies them
_view = memoryview(_buffer)


class Channel:
    """One socket. `_due` is the subclass's own deadline on the loop's clock; `_arm` after setting it."""

    __slots__ = ("closed", "_sock", "_fd", "_loop", "_phase", "_reading", "_eof", "_ending", "_backlog", "_unsent", "_stalled", "_room",
                 "_timer", "_timer_at", "_due", "_stall_due", "_taken", "_lingered", "__weakref__")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.closed = False
        self._sock, self._fd, self._loop = sock, sock.fileno(), loop
        self._reading = self._eof = self._ending = self._stalled = False
        self._backlog: deque[memoryview] | None = None
        self._unsent = self._taken = self._lingered = 0
        self._room: asyncio.Future | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._due = self._stall_due = NEVER

    # -- what subclasses make of it ----------------------------------------------------------------------------------

    _phase: Callable[[memoryview], None]          # what octets that come are for; they are gone when it returns

    @abstractmethod
    def _broken(self, error: BaseException) -> None:
        """A bug showed itself while octets were taken."""

    @abstractmethod
    def _ended(self) -> None:
        """The peer sends no more."""

    @abstractmethod
    def _relieved(self) -> None:
        """The peer reads again; nobody waits in `drained`."""

    @abstractmethod
    def _expire(self) -> None:
        """`_due` has come."""

    @abstractmethod
    def _drop(self, counter: str, reason: str) -> None:
        """Abort, and say why."""

    @abstractmethod
    def _gone(self) -> None:
        """The socket is closed; called once."""

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read_on(self) -> None:
        if not self._reading and not self.closed and not self._eof:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _read_off(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        try:
            count = self._sock.recv_into(_buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if self._ending:
            self._linger(count)
        elif count:
            try:
                self._phase(_view[:count])
            except Exception as error:
                self._broken(error)
        else:
            self._ended()

    # -- writing -----------------------------------------------------------------------------------------------------

    @property
    def stalled(self) -> bool:
        """Whether the peer does not take what is written to it."""
        return self._stalled

    def _transmit(self, data: bytes | memoryview) -> None:
        """Hand octets to the kernel; what it does not take waits."""
        if self.closed or not data:
            return
        if self._backlog is None:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.abort()
                return
            if sent == len(data):
                return
            self._backlog = deque((memoryview(data)[sent:],))
            self._unsent = len(data) - sent
            self._loop.add_writer(self._fd, self._writable)
            self._taken, self._stall_due = 0, self._loop.time() + STALL
            self._arm()
        else:
            self._backlog.append(memoryview(data))
            self._unsent += len(data)
        self._stalled = self._unsent > WRITE_HIGH

    def _writable(self) -> None:
        backlog = self._backlog
        try:
            while backlog:
                sent = self._sock.send(backlog[0])
                self._unsent -= sent
                self._taken += sent
                if sent < len(backlog[0]):
                    backlog[0] = backlog[0][sent:]
                    break
                backlog.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.abort()
            return
        if not backlog:
            self._loop.remove_writer(self._fd)
            self._backlog, self._stall_due = None, NEVER
        self._relieve()

    def _relieve(self) -> None:
        """The peer took something: go on when it took enough."""
        if self._ending:
            if self._backlog is None:
                self._shut()
            return
        if not self._stalled or self._unsent > WRITE_LOW:
            return
        self._stalled = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        else:
            self._relieved()

    async def drained(self) -> None:
        """Wait until the peer took most of what was written. Raises ConnectionResetError when it is gone."""
        if self._stalled and not self.closed:
            self._room = self._loop.create_future()
            try:
                await self._room
            finally:
                self._room = None
        if self.closed or self._ending:
            raise ConnectionResetError("the peer is gone")

    # -- time --------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        due = min(self._due, self._stall_due)
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_at = self._loop.call_at(due, self._tick), due

    def _tick(self) -> None:
        self._timer, self._timer_at = None, NEVER
        if self.closed:
            return
        now = self._loop.time() + 0.001           # uvloop counts in milliseconds and may come a little early
        if now >= self._stall_due:
            if self._taken < STALL_OCTETS:
                self._drop("stalled", "the peer does not read")
                return
            self._taken, self._stall_due = 0, now + STALL
        if now >= self._due:
            self._due = NEVER
            self._expire()
        if not self.closed:
            self._arm()

    # -- the end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Close when all that was written is sent."""
        if self.closed:
            return
        self._ending = True
        self._due = NEVER
        if self._backlog is None:
            self._shut()

    def _shut(self) -> None:
        """All is sent. With octets of the peer unread, closing would reset and could eat our last words: read them first."""
        if self._eof or not self._unread():
            self.abort()
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()
            return
        self._read_on()
        self._due = self._loop.time() + LINGER
        self._arm()

    def _unread(self) -> bool:
        """Whether the peer has sent octets that nobody read."""
        if not self._reading:
            return True
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _linger(self, count: int) -> None:
        """Octets (or the end) of a peer that we have nothing to say to any more, but perhaps still something to send."""
        self._lingered += count
        if count == 0 and self._backlog is not None:
            self._eof = True
            self._read_off()
        elif count == 0 or self._lingered > LINGER_OCTETS:
            self.abort()

    def abort(self) -> None:
        """Close now; what is not sent yet is lost."""
        if self.closed:
            return
        self.closed = True
        self._read_off()
        if self._backlog is not None:
            self._loop.remove_writer(self._fd)
            self._backlog = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sock.close()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._gone()
