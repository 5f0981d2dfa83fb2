"""Who holds a lock is asked without taking it, and by who may only read."""

from __future__ import annotations

import fcntl
import os
import signal

import pytest
from click.testing import CliRunner

from fancymail.base.settings import Paths
from fancymail.cli import fmctl, pidfile, suite


def test_a_lock_is_held_until_its_holder_lets_go(tmp_path):
    path = tmp_path / "x.pid"
    assert not pidfile.is_held(path) and pidfile.holder(path) is None and not path.exists()
    descriptor = pidfile.take(path)
    pidfile.write(descriptor)
    assert pidfile.is_held(path) and pidfile.holder(path) == os.getpid() and pidfile.take(path) is None
    os.close(descriptor)
    assert not pidfile.is_held(path) and pidfile.holder(path) is None


def test_who_asks_is_not_taken_for_the_holder(tmp_path):
    path = tmp_path / "x.pid"
    path.touch(0o400)
    with open(path) as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert not pidfile.is_held(path) and pidfile.holder(path) is None


@pytest.fixture
def paths(tmp_path):
    paths = Paths(tmp_path)
    paths.create()
    return paths


def test_a_suite_that_is_starting_is_not_taken_for_the_one_before(paths):
    """Killed, it left a number that is somebody else's by now, to whom `down` would send SIGTERM."""
    paths.pid_file.write_text("1\n")
    lock = suite._take_lock(paths)
    assert pidfile.holder(paths.pid_file) == os.getpid()
    os.close(lock)


def test_down_ends_a_suite_whose_configuration_is_broken_by_now(paths, monkeypatch):
    lock, killed = suite._take_lock(paths), []
    paths.config.write_text("[server]\nhostnam = 1\n")
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)) or os.close(lock))
    done = CliRunner().invoke(suite.main, ["down", "--state", str(paths.state)])
    assert (done.exit_code, done.output, killed) == (0, f"stopped (pid {os.getpid()})\n", [(os.getpid(), signal.SIGTERM)])


def test_somebody_elses_suite_is_not_ours_to_end(paths, monkeypatch):
    def kill(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")
    lock = suite._take_lock(paths)
    monkeypatch.setattr(os, "kill", kill)
    done = CliRunner().invoke(suite.main, ["down", "--state", str(paths.state)])
    assert done.exit_code == 1 and "Error: " in done.output and "Operation not permitted" in done.output
    os.close(lock)


@pytest.mark.parametrize("main, words", [(suite.main, "status"), (suite.main, "down"), (fmctl.main, "ping queue"), (fmctl.main, "queue list")])
def test_a_state_folder_that_cannot_be_read_is_told_in_a_line(paths, main, words):
    for path in (paths.pid_file, paths.lock("queue")):
        path.mkdir()
    options = ["--state", str(paths.state)]
    done = CliRunner().invoke(main, [*options, *words.split()] if main is fmctl.main else [*words.split(), *options])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit) and "Is a directory" in done.output


@pytest.mark.parametrize("words", ["reload", "stats"])
def test_where_nothing_runs_nothing_can_be_asked(paths, words):
    done = CliRunner().invoke(fmctl.main, ["--state", str(paths.state), words])
    assert done.exit_code == 1 and f"no daemon runs in {paths.state}" in done.output
