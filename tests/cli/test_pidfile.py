"""Who holds a lock is asked without taking it, and by who may only read."""

from __future__ import annotations

import fcntl
import os

from fancymail.cli import pidfile


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
