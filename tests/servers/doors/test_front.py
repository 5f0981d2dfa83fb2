"""What the daemons that clients connect to share: settings that change while they run. Shown by fm-pop3, alone."""

from __future__ import annotations

import asyncio
import ssl

from fancymail.base.settings import parse_settings
from fancymail.servers.pop3 import Pop3Daemon
from fancymail.servers.running import sockets
from tests.servers.doors.lines import make_certificate
from tests.servers_kit import running


def tables(**own) -> dict:
    return {"log": {"console": "never"}, "pop3": {"listen-pop3": ["127.0.0.1:0"], "listen-pop3s": [], "drain": 0.2, **own}}


async def greeting(daemon, words: bytes = b"") -> bytes:
    """Connect, say something and return the first line."""
    port, = daemon.listeners[0]._doors.values()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(words)
    try:
        async with asyncio.timeout(5):
            return await reader.readline()
    finally:
        writer.close()


async def test_a_reload_takes_balancers_and_bounds(tmp_path):
    """Whoever is no balancer any more cannot name clients; how many sessions there may be counts from now on."""
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 110\r\n"
    async with running(Pop3Daemon, tmp_path, tables()) as daemon:
        assert (await greeting(daemon)).startswith(b"+OK")
        daemon.reloaded(parse_settings(tables(proxies=["127.0.0.1/8"], connections=17), "(test)"))
        assert await greeting(daemon, b"QUIT\r\n") == b"" and (await greeting(daemon, header)).startswith(b"+OK")
        daemon.caps.sessions += 17
        assert (await greeting(daemon)).startswith(b"-ERR")
        daemon.caps.sessions -= 17
        daemon.reloaded(parse_settings(tables(), "(test)"))
        assert (await greeting(daemon)).startswith(b"+OK")


async def test_a_door_for_tls_without_a_certificate_keeps_nobody_waiting(tmp_path):
    """Its socket is the supervisor's and listens in any case: who comes is sent away, and let in once there is a certificate."""
    listener = sockets.bind("127.0.0.1:0")
    port = listener.getsockname()[1]
    sockets.adopt(f"127.0.0.1:{port}", listener)
    own = tables(**{"listen-pop3s": [f"127.0.0.1:{port}"]})
    async with running(Pop3Daemon, tmp_path, own) as daemon, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        (tmp_path / "tls").mkdir(exist_ok=True)
        make_certificate(tmp_path / "tls", "localhost", stem="cert")
        (tmp_path / "tls" / "cert.key").rename(tmp_path / "tls" / "key.pem")
        daemon.reloaded(parse_settings(own, "(test)"))
        context = ssl.create_default_context(cafile=tmp_path / "tls" / "cert.pem")
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        assert (await reader.readline()).startswith(b"+OK")
        writer.close()
    sockets.keep_only([])
