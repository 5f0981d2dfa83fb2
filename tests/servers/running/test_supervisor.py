"""The supervisor's small decisions; what it does with processes is in tests/cli/test_suite.py."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from fancymail.base.settings import Paths, parse_settings
from fancymail.servers.running import supervisor as running
from fancymail.servers.running.child import become_child
from fancymail.servers.running.launch import DAEMONS, daemon_class, daemon_of, instances
from fancymail.servers.running.supervisor import LONGEST_DELAY, STABLE, STAGES, Child, Supervisor, listeners_of


def test_delays_double_up_to_the_longest():
    child, delays = Child("queue"), []
    for moment in range(12):
        child.started = moment
        delays.append(child.died(moment + 0.1))
    assert delays[:5] == [0.0, 0.25, 0.5, 1.0, 2.0] and delays[-1] == LONGEST_DELAY
    assert child.pid == 0 and child.due == 11.1 + LONGEST_DELAY


def test_a_stable_life_forgives():
    child = Child("queue", started=0.0, deaths=7)
    assert child.died(STABLE) == 0.0 and child.deaths == 1


@pytest.fixture
def supervisor(tmp_path):
    paths = Paths(tmp_path)
    paths.create()
    supervisor = Supervisor(parse_settings({}, "x"), paths, ["queue", "auth"])
    yield supervisor
    supervisor.lender.close()
    supervisor.log.close()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_machine_that_has_no_process_left_is_asked_again(supervisor, monkeypatch, number):
    """That would be no reason to end the daemons that run."""
    def fork():
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(os, "fork", fork)
    for _ in range(3):
        supervisor._start_due()
    child = supervisor.children["queue"]
    assert child.pid == 0 and child.due > child.started and child.restarts == 0
    child.due = 0.0
    monkeypatch.setattr(os, "fork", lambda: 12345)
    supervisor._start_due()
    assert child.pid == 12345 and child.due is None


def test_a_signal_without_a_name_ends_a_daemon_and_not_the_suite(supervisor):
    child = supervisor.children["queue"]
    child.pid, child.due = 12345, None
    supervisor._died(child, -(signal.SIGRTMIN + 6))
    assert child.pid == 0 and child.due is not None
    assert f"signal {signal.SIGRTMIN + 6}" in supervisor.paths.log.read_text()


def test_a_stop_that_meets_a_daemon_at_its_birth_is_not_lost(supervisor, monkeypatch):
    """Until it has taken off the supervisor's handlers these would note the signal in a list that nobody reads."""
    def born(*values) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        become_child(*values)
    monkeypatch.setattr(running, "become_child", born)
    before = {number: signal.getsignal(number) for number in running.SIGNALS}
    try:
        supervisor._catch_signals()
        pid = supervisor._fork("newborn", lambda: 0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(running.SIGNALS)
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        for end in supervisor.pipe:
            os.close(end)


def test_listeners_come_from_the_section():
    settings = parse_settings({"smtpin": {"listen-smtp": ["127.0.0.1:1"], "listen-submission": [], "listen-submissions": [],
                                          "listen-lmtp": ["unix:run/x.sock", "127.0.0.1:2"]}}, "x")
    assert listeners_of(settings, "smtpin") == ["127.0.0.1:1", "unix:run/x.sock", "127.0.0.1:2"]
    assert listeners_of(settings, "queue") == [] and listeners_of(settings, "nothing") == []


def test_a_daemon_may_have_several_processes():
    settings = parse_settings({"imap": {"processes": 3}}, "x")
    assert instances(settings, ["queue", "imap", "pop3"]) == ["queue", "imap", "imap-2", "imap-3", "pop3"]
    assert [daemon_of(name) for name in ("imap", "imap-2", "imap-12")] == ["imap"] * 3 and daemon_of("fm-x") == "fm-x"


def test_every_daemon_stops_in_some_stage():
    assert sorted(name for stage in STAGES for name in stage) == sorted(DAEMONS)


@pytest.mark.parametrize("name", DAEMONS)
def test_every_daemon_is_found(name):
    assert daemon_class(name).name == name


def test_another_is_not():
    with pytest.raises(LookupError, match="there are auth, queue"):
        daemon_class("os")
