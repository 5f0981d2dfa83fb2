"""The engines of a cluster for tests: a PostgreSQL, a NATS and an S3 of our own, on free ports of this machine, in temporary folders.

`postgres()` is one server per test process, without syncs, with an empty schema per test; `Postgres`, `Nats` and `S3` can be stopped, killed and
started again by tests of faults. Where Debian's packages are not installed the tests say so and are skipped; as root the server
runs as user postgres, since it refuses root.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from secrets import token_hex

import asyncpg
import pytest

from fancymail.storage.postgres.database import Database
from fancymail.storage.waiting import Waiter

BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
NATS = shutil.which("nats-server") or next((path for path in ("/usr/sbin/nats-server",) if os.access(path, os.X_OK)), None)
KILLED = {"fsync": "off", "full_page_writes": "off"}           # may be killed: what it committed is with the kernel; no power is cut here
QUICK = KILLED | {"synchronous_commit": "off"}
START = 30.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port: int, process: subprocess.Popen, seconds: float = START) -> None:
    """Return when somebody listens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)                # a foreign server is waited for, nothing is asserted
    raise RuntimeError(f"{process.args[0]} does not listen on {port}")


class Engine:
    """A server that can die and come back on the same port with what it kept."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen | None = None

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and return when it listens."""
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        answers(self.port, self.process)

    def kill(self) -> None:
        """As if the power went."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                pass
            self.process.wait(30)
            self.process = None


class Postgres(Engine):
    """A cluster of PostgreSQL's with one database."""

    def __init__(self, folder: Path, options: dict[str, str]) -> None:
        if BINARIES is None:
            pytest.skip("no PostgreSQL here (apt install postgresql)")
        super().__init__(folder)
        self.options = options
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        subprocess.run([*self._as(), BINARIES / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
                        "--no-sync"], check=True, stdout=subprocess.DEVNULL)

    def command(self) -> list[str]:
        settings = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200",
                    "shared_buffers": "64MB", **self.options}
        return [*self._as(), str(BINARIES / "postgres"), "-D", str(self.folder / "data"),
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]

    def start(self) -> None:
        """Start it, again as long as those who served the clients of one that was killed are not all gone; return when it has recovered."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            ready = [BINARIES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
            if not subprocess.run(ready).returncode and self.process.poll() is None:
                return
            time.sleep(0.1)
        raise RuntimeError("PostgreSQL does not start")

    def stop(self) -> None:
        self._end(signal.SIGINT)        # "fast": it ends its clients' sessions

    def dsn(self, schema: str = "") -> str:
        """How to connect; with a schema of its own everything is new."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres" + (f"?search_path={schema}" if schema else "")

    def schema(self) -> str:
        """Make an empty schema; the address that leads into it."""
        name = f"t{token_hex(8)}"
        self.sql(f"CREATE SCHEMA {name}")
        return self.dsn(name)

    def sql(self, text: str) -> str:
        """Have psql say something."""
        return subprocess.run([BINARIES / "psql", "-qAtX", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", text],
                              check=True, capture_output=True, text=True).stdout

    @staticmethod
    def _as() -> list[str]:
        return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


class Nats(Engine):
    """A NATS server."""

    def command(self) -> list[str]:
        if NATS is None:
            pytest.skip("no NATS here (apt install nats-server)")
        return [NATS, "-a", "127.0.0.1", "-p", str(self.port)]

    def url(self) -> str:
        """How to connect."""
        return f"nats://127.0.0.1:{self.port}"


class S3(Engine):
    """moto's S3. It keeps everything in memory, and forgets when it ends; `Lasting` does not."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def url(self, bucket: str) -> str:
        """Make a bucket; how to connect to it."""
        import urllib.request
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}/{bucket}", method="PUT"), timeout=30).close()
        return f"s3://{bucket}?endpoint=http://127.0.0.1:{self.port}&access-key-id=test&secret-access-key=test"

    def pause(self) -> None:
        """It answers nobody."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        os.killpg(self.process.pid, signal.SIGCONT)


class LastingS3(S3):
    """An S3 that may be killed: what was written is there when it has started again."""

    def command(self) -> list[str]:
        where = f"--chdir={Path(__file__).parents[1]}"
        return ["env", where, sys.executable, "-m", "tests.lasting_s3", str(self.port), str(self.folder / "requests")]


def _ours(engine: Engine, folder: Path) -> Engine:
    engine.start()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(engine.kill)
    return engine


def open_folder() -> Path:
    """A folder that other users may enter; whoever makes it removes it."""
    folder = Path(tempfile.mkdtemp(prefix="fancymail-"))
    folder.chmod(0o755)
    return folder


@cache
def postgres() -> Postgres:
    """The PostgreSQL of this test process."""
    folder = open_folder()
    return _ours(Postgres(folder / "postgres", QUICK), folder)


@cache
def nats() -> Nats:
    """The NATS of this test process."""
    folder = open_folder()
    return _ours(Nats(folder), folder)


@cache
def s3() -> S3:
    """The S3 of this test process."""
    folder = open_folder()
    return _ours(S3(folder), folder)


def bucket() -> str:
    """The address of an empty bucket."""
    return s3().url(f"b{token_hex(8)}")


class Quarrelsome(Database):
    """A database in which others are often first: every fifth statement or commit fails as 40001, twice at most in the same work.

    Only where the whole transaction is an engine's own: what a test put into `with transaction()` is done once."""

    def __init__(self, *values, **named) -> None:
        super().__init__(*values, **named, isolation="serializable")
        self.turn = self.conflicts = self.left = 0

    def retried(self, work):
        outermost = not self.depth
        if outermost:
            self.left = 2
        try:
            return super().retried(work)
        finally:
            if outermost:
                self.left = 0

    async def _run(self, connection, sql, values):
        self._quarrel()
        return await super()._run(connection, sql, values)

    async def _commit(self, connection):
        self._quarrel()
        await super()._commit(connection)

    def _quarrel(self) -> None:
        self.turn += 1
        if self.turn % 5 == 0 and self.left:
            self.left -= 1
            self.conflicts += 1
            raise asyncpg.SerializationError("could not serialize access (made up)")


@contextmanager
def database(kind: str = "postgres", dsn: str = "") -> Iterator[Database]:
    """An empty database: "postgres", or "conflicts" (SERIALIZABLE, with made up 40001)."""
    waiter = Waiter()
    db = (Quarrelsome if kind == "conflicts" else Database)(dsn or postgres().schema(), waiter)
    try:
        yield db
    finally:
        db.close()
        waiter.close()
