"""The configuration, lent to a daemon that cannot open it: the whole file, nothing else, and never a wait without end."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from fancymail.servers.containment import lending


@pytest.fixture
def lender(tmp_path, monkeypatch):
    """A supervisor that answers one question, and a daemon that may not open the file."""
    path = tmp_path / "fancymail.toml"
    lender = lending.Lender(lambda: path)
    line = lender.line("queue")
    monkeypatch.setattr(lending, "_lender", line)
    monkeypatch.setattr(lending, "PATIENCE", 0.2)
    monkeypatch.setattr(Path, "read_bytes", lambda self: (_ for _ in ()).throw(PermissionError(13, "shut in")))
    lender.file = path
    yield lender
    line.close()
    lender.close()


def read_while_served(lender) -> bytes:
    """The daemon asks, the supervisor's loop answers."""
    ours = lender.lines["queue"]
    ours.setblocking(True)
    server = threading.Thread(target=lender.serve, args=(ours,))
    server.start()
    try:
        return lending.read(lender.file)
    finally:
        server.join()


def test_the_file_of_now_is_lent(lender):
    lender.file.write_text("old")
    os.replace(_written(lender.file.with_suffix(".new"), "x" * 100_000), lender.file)
    assert read_while_served(lender) == b"x" * 100_000


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_no_file_is_an_error(lender):
    with pytest.raises(PermissionError):
        read_while_served(lender)


def test_a_supervisor_that_is_silent_is_an_error(lender):
    with pytest.raises(TimeoutError):
        lending.read(lender.file)


def test_an_answer_that_came_too_late_is_none_to_the_next_question(lender):
    lender.file.write_text("old")
    with pytest.raises(TimeoutError):
        lending.read(lender.file)
    lender.serve(lender.lines["queue"])
    os.replace(_written(lender.file.with_suffix(".new"), "new"), lender.file)
    before = len(os.listdir("/proc/self/fd"))
    assert read_while_served(lender) == b"new"
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("word", [b"/etc/shadow", b"settings\0/etc/shadow", b"settings ", b"x" * 60])
def test_other_words_get_nothing(lender, word):
    lender.file.write_text("x")
    line = lending._lender
    line.send(word)
    lender.serve(lender.lines["queue"])
    line.setblocking(False)
    with pytest.raises(BlockingIOError):
        socket.recv_fds(line, 16, 1)


def test_who_is_gone_is_forgotten(lender):
    lending._lender.close()
    lender.serve(lender.lines["queue"])
    assert not lender.lines


def test_without_a_supervisor_the_error_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(lending, "_lender", None)
    monkeypatch.setattr(Path, "read_bytes", lambda self: (_ for _ in ()).throw(PermissionError(13, "shut in")))
    with pytest.raises(PermissionError):
        lending.read(tmp_path / "x")
