"""Listening sockets by address: bound here, inherited, or passed by systemd."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fancymail.servers.running import sockets


@pytest.fixture(autouse=True)
def forgotten():
    """Nothing is inherited from another test."""
    yield
    sockets.keep_only([])


def close(listener: socket.socket) -> None:
    listener.close()


@pytest.mark.parametrize("address, host, port", [
    ("127.0.0.1:25", "127.0.0.1", 25), ("[::1]:25", "::1", 25), ("*:25", "", 25), ("localhost:0", "localhost", 0)])
def test_split(address, host, port):
    assert sockets.split(address) == (host, port)


@pytest.mark.parametrize("address", ["25", "host", "host:", "host:x", "host:65536", "host:-1", "", ":", "host:٢٥"])
def test_what_is_no_address(address):
    with pytest.raises(ValueError):
        sockets.split(address)


def test_canonical_spelling():
    assert sockets.canonical("/run/x.sock") == sockets.canonical("unix:/run/x.sock")
    assert sockets.canonical("[::1]:25") == "[::1]:25" and sockets.canonical("127.0.0.1:025") == "127.0.0.1:25"


def test_bind_and_connect():
    listener = sockets.bind("127.0.0.1:0")
    assert not listener.getblocking()
    with socket.create_connection(listener.getsockname(), timeout=10):
        listener.setblocking(True)
        listener.accept()[0].close()
    close(listener)


def test_the_taken_address_is_in_the_error():
    listener = sockets.bind("127.0.0.1:0")
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(OSError, match=address) as caught:
        sockets.bind(address)
    assert caught.value.errno == 98
    close(listener)


def test_a_name_that_is_none_is_told_in_words():
    with pytest.raises(OSError, match=r"not known: \[::zz\]:25"):
        sockets.bind("[::zz]:25")


def test_an_inherited_socket_is_found_and_others_are_closed():
    kept, other = sockets.bind("127.0.0.1:0"), sockets.bind("127.0.0.1:0")
    addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in (kept, other)]
    for address, listener in zip(addresses, (kept, other)):
        sockets.adopt(address, listener)
    sockets.keep_only(addresses[:1])
    assert sockets.listening(addresses[0]) is kept and other.fileno() == -1


def test_a_unix_socket_below_the_state_folder(tmp_path):
    (tmp_path / "run").mkdir()
    listener = sockets.bind("unix:run/lmtp.sock", tmp_path)
    path = tmp_path / "run" / "lmtp.sock"
    assert path.is_socket() and path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(OSError, match="in use"):      # a living one is not taken away
        sockets.bind("unix:run/lmtp.sock", tmp_path)
    close(listener)
    close(sockets.bind("unix:run/lmtp.sock", tmp_path))      # a dead one is
    sockets.remove_path("unix:run/lmtp.sock", tmp_path)
    assert not path.exists()


def test_a_file_in_the_place_of_a_socket_stays(tmp_path):
    (tmp_path / "precious").write_text("mail")
    with pytest.raises(OSError):
        sockets.bind(f"unix:{tmp_path}/precious")
    assert (tmp_path / "precious").read_text() == "mail"


def test_a_long_state_folder_reaches_its_socket_through_the_link(tmp_path):
    deep, short = tmp_path / ("d" * 100), tmp_path / "s"
    deep.mkdir()
    short.mkdir()
    (deep / "run").symlink_to(short)
    close(sockets.bind("unix:run/lmtp.sock", deep))
    assert (short / "lmtp.sock").exists()


SYSTEMD = """
import os, socket
from fancymail.servers.running import sockets
os.environ["LISTEN_PID"] = str(os.getpid())
sockets.adopt_systemd()
port = int(os.environ["PORT"])
listener = sockets.listening(f"127.0.0.1:{port}")
print(listener.fileno(), listener.getsockname()[1] == port, "LISTEN_FDS" in os.environ)
"""


def test_systemd_passes_sockets():
    listener = sockets.bind("127.0.0.1:0")
    port = listener.getsockname()[1]
    environment = os.environ | {"LISTEN_FDS": "1", "PORT": str(port), "PYTHONPATH": str(Path(__file__).parents[3])}
    os.set_inheritable(listener.fileno(), True)
    handing_over = f"import os, sys; os.dup2({listener.fileno()}, 3); os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    command = [sys.executable, "-c", handing_over, SYSTEMD]
    done = subprocess.run(command, close_fds=False, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "3 True False\n", done.stderr
    close(listener)


def test_what_was_passed_to_somebody_else_is_left_alone(monkeypatch):
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "5")
    sockets.adopt_systemd()
    assert os.environ["LISTEN_FDS"] == "5"
