"""Every conversation of docs/ipc.md, executed; the programs of its last section, run."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from fancymail.base.settings.paths import Paths
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.mailbox.daemon import MailboxServer
from fancymail.servers.queue.daemon import QueueServer
from fancymail.servers.smtpout import SmtpOutServer
from tests.docs.conversation import Player, blocks
from tests.servers_kit import operator, running
from tests.suite_kit import wait_for

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/ipc.md").read_text()


async def remote_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An SMTP server that takes everything but mail for `refused`."""
    writer.write(b"220 remote.test\r\n")
    content = False
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            if content:
                content = line != b".\r\n"
                if content:
                    continue
            verb = line[:4].upper()
            reply = {b"EHLO": b"250 remote.test", b"DATA": b"354 go on", b"QUIT": b"221 bye"}.get(verb, b"250 2.0.0 fine")
            writer.write((b"550 5.1.1 unknown here" if b"refused@" in line else reply) + b"\r\n")
            content = verb == b"DATA"
    writer.close()


@pytest.fixture
async def house(tmp_path):
    """The four daemons that the page talks to, and somebody to send mail to."""
    remote = await asyncio.start_server(remote_server, "127.0.0.1", 0)
    tables = {"server": {"hostname": "mail.example.test", "default-domain": "example.test"},
              "smtpout": {"private-networks": True,
                          "transports": {"*": {"host": "127.0.0.1", "port": remote.sockets[0].getsockname()[1], "tls": "never"}}}}
    async with contextlib.AsyncExitStack() as stack:
        for daemon in (AuthServer, QueueServer):
            await stack.enter_async_context(running(daemon, tmp_path, tables))
        with operator(tmp_path, "auth") as auth:
            await auth.call("domain-add", "example.test")
            await auth.call("account-add", "alice@example.test", "wonderland")
        yield stack, tables
    remote.close()


@pytest.mark.timeout(60)
async def test_every_conversation_of_the_page(house, tmp_path):
    stack, tables = house
    player = Player(tmp_path, lambda name: Paths(tmp_path).endpoints(name)[0])
    played = 0
    for name, text in blocks(PAGE):
        daemon = {"mailbox": MailboxServer, "smtpout": SmtpOutServer}.get(name)
        async with running(daemon, tmp_path, tables) if daemon else contextlib.nullcontext():
            await player.play(name, text)
        played += 1
    assert played == PAGE.count("```ipc ") >= 6


def suite_with_archive(tmp_path):
    from tests.live.suite import Suite
    return Suite(tmp_path / "state", config="[queue.queues.incoming]\n[queue.queues.outgoing]\n[queue.queues.archive]\n", only="auth,queue")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    suite = suite_with_archive(tmp_path_factory.mktemp("attach"))
    yield suite
    suite.down()


def consume(archive, command: list[str], tmp_path, **more) -> None:
    """Run an example, push two messages, and see it print both and remove them."""
    said = open(tmp_path / "said", "w+")
    program = subprocess.Popen([*command, archive.ipc["queue"].removeprefix("ipc://"), "archive"], stdout=said, stderr=subprocess.STDOUT, **more)
    try:
        wait_for(lambda: "ok" in (tmp_path / "said").read_text() or program.poll() is not None, "the subscription")
        for size in (111, 222):
            with archive.operator("queue") as queue:
                path = queue.call("slot", "archive")[0].decode()
                Path(path).write_bytes(b"x" * size)
                queue.call("push", "archive", path)
            wait_for(lambda: f"message {size} octets" in (tmp_path / "said").read_text() or program.poll() is not None, "the message")
            assert not Path(path).exists()
    finally:
        program.kill()
        program.wait()
        print((tmp_path / "said").read_text())


def test_the_python_example_consumes_a_queue(archive, tmp_path):
    consume(archive, [sys.executable, str(ROOT / "docs/examples/attach.py")], tmp_path)


def test_the_javascript_example_consumes_a_queue(archive, tmp_path, node_with_zeromq):
    consume(archive, ["node", str(ROOT / "docs/examples/attach.js")], tmp_path, env=node_with_zeromq)


@pytest.mark.parametrize("name", ["attach.py", "attach.js"])
def test_examples_are_short(name):
    assert (ROOT / "docs/examples" / name).read_text().count("\n") < 40
