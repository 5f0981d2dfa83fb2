"""What the rules of the queue refuse, as the error of a verb. Used by daemon.py and operating.py."""

from __future__ import annotations

from fancymail.core.intake import Refusal
from fancymail.ipc.message import IpcError
from fancymail.storage.ports.queue import IndexFailed


class refusals:
    """`with refusals():` turns what the rules refuse into the error of a verb."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, Refusal):
            raise IpcError(error.status, error.text) from None
        if isinstance(error, (IndexFailed, OSError)):
            raise IpcError("4.3.0", f"the queue's disk refuses: {error}") from error
