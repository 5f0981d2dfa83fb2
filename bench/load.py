"""The mail that servers get: Postfix's smtp-source and smtp-sink, run from its unpacked package, so that all get the same from the same program."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.peers.peer import free_port, wait_for_port

LOCAL, REMOTE = "alice@example.test", "someone@elsewhere.test"


class Load:
    """smtp-source and smtp-sink."""

    def __init__(self, root: Path) -> None:
        self.programs = Path(root) / "usr/sbin"
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(Path(root) / "usr/lib/postfix")}

    def send(self, port: int, messages: int, connections: int, size: int, *, sessions: bool = False, recipient: str = LOCAL) -> None:
        """Send messages; `sessions`: each over a connection of its own. Returns when the last one is accepted."""
        command = [str(self.programs / "smtp-source"), "-s", str(connections), "-m", str(messages), "-l", str(size), "-f", "x@sender.test",
                   "-t", recipient, *([] if sessions else ["-d"]), f"127.0.0.1:{port}"]
        subprocess.run(command, check=True, timeout=300, env=self.environment)

    @contextlib.contextmanager
    def sink(self) -> Iterator[int]:
        """Run smtp-sink; yields its port."""
        port = free_port()
        process = subprocess.Popen([str(self.programs / "smtp-sink"), "-u", "nobody", f"127.0.0.1:{port}", "1000"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment)
        try:
            wait_for_port(port)
            yield port
        finally:
            process.kill()
            process.wait()
