"""The shape that every protocol engine has: octets in, events out, decisions in, octets out.

Called by servers/doors/listener.py (or by a test, or by a client driver). An engine does no I/O and reads no clock: `deadline` is a
duration in seconds that the driver arms again whenever `deadline_epoch` changes, and `expire()` is what the driver calls when it ran out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod


class ProtocolError(Exception):
    """The peer broke the protocol in a way that ends the session."""


class Engine(ABC):
    """Buffers of one session. Subclasses parse in `next_event` and append to `self.out`.

    Rules for subclasses: an event that needs a decision sets `self.busy`; while busy, next_event returns None; the answering
    method clears it. `closing` asks the driver to close once to_send() is flushed. `want_tls` asks it to start the handshake
    after the flush (STARTTLS): then `tls_started` is called, or the connection ends. `want_deflate` (COMPRESS) is cleared by the driver, which
    deflates and inflates all that follows.
    """

    deadline: float | None = None     # seconds allowed for the current phase
    deadline_epoch = 0                # changes whenever the deadline must be armed anew
    closing = False
    want_tls = False
    want_deflate = False
    busy = False

    def __init__(self) -> None:
        self.inbox = bytearray()
        self.out: list[bytes] = []
        self.eof = False

    def receive(self, data: bytes) -> None:
        """Take octets from the peer; parsing happens in next_event."""
        self.inbox += data

    def receive_eof(self) -> None:
        """The peer will send no more."""
        self.eof = True

    @abstractmethod
    def next_event(self):
        """Return the next thing to decide, or None when more octets or a pending decision are needed."""

    def to_send(self) -> bytes:
        """Take all octets that wait to be sent."""
        if not self.out:
            return b""
        data = b"".join(self.out)
        self.out.clear()
        return data

    def arm(self, seconds: float | None) -> None:
        """Begin a phase that may last `seconds`."""
        self.deadline = seconds
        self.deadline_epoch += 1

    def expire(self) -> None:
        """The deadline ran out: say so in the protocol's terms and close."""
        self.closing = True

    def release(self) -> None:
        """The connection is gone: let go of what keeps this object alive by itself. What was asked may still be answered, to no effect."""

    def tls_started(self, info) -> None:
        """The handshake after want_tls is done; forget what was said in plain text."""
        self.want_tls = False
