"""What a service manager such as systemd is told (sd_notify(3)): by `fancymail up`, or by a daemon that was started alone."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Tell the service manager, when there is one: `READY=1`, `STOPPING=1`. One that does not listen changes nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
