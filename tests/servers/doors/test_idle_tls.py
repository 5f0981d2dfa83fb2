"""An idle TLS connection costs at most 30 kB: 250 of them, opened by another process, measured by the memory of this one's child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[3]

SERVER = """
import asyncio, sys, uvloop
from pathlib import Path
from fancymail.base.log import Log
from fancymail.base.settings.log import Log as LogSettings
from fancymail.base.settings.tls import Tls
from fancymail.servers.doors.listener import Listener
from fancymail.servers.doors.tls import Certificates
from tests.servers.doors.lines import LineSession, make_certificate

def resident():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))

async def main(folder):
    make_certificate(folder, "mail.example.test")
    certificates = Certificates(Tls(certificate="cert.pem", key="cert.key"), folder)
    listener = Listener("lines", LineSession, log=Log("test", LogSettings(), None), certificates=certificates, implicit_tls=True)
    print(listener.open("127.0.0.1:0"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(len(listener.connections), resident(), flush=True)

uvloop.run(main(Path(sys.argv[1])))
"""

CLIENT = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
def dial():
    plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = context.wrap_socket(plain)
    tls.sendall(b"x" * 50000 + b"\\r\\n")  # has been at work before it idles: that memory must be given back
    left = len(b"hello\\r\\n") + 50002
    while left:
        left -= len(tls.recv(65536)) or sys.exit("the server hung up")
    return tls
held = []
for line in sys.stdin:
    held += [dial() for _ in range(int(line))]
    print(len(held), flush=True)
"""


@pytest.fixture
def pair(tmp_path):
    """A server and a client process, each answering a line with a line."""
    def start(code, argument):
        return subprocess.Popen([sys.executable, "-c", code, argument], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                cwd=HOUSE, env=os.environ | {"PYTHONPATH": str(HOUSE)})
    server = start(SERVER, str(tmp_path))
    client = start(CLIENT, server.stdout.readline().strip())
    yield server, client
    for process in (client, server):
        process.kill()
        process.communicate()


def ask(process, line="") -> list[int]:
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return [int(word) for word in process.stdout.readline().split()]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
def test_idle_tls_connection_takes_at_most_30_kB(pair):
    server, client = pair
    ask(client, 50)                     # what is allocated once does not count
    held, before = ask(server)
    assert held == 50
    ask(client, 250)
    held, after = ask(server)
    assert held == 300
    each = (after - before) / 250
    print(f"{each / 1000:.1f} kB for an idle TLS connection")
    assert each <= 30_000
