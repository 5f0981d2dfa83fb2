"""Started as root, everything becomes the configured account once the ports are bound."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from fancymail.base.settings import Paths
from fancymail.servers.running.child import give_state
from tests.own_users_kit import opened
from tests.suite_kit import Suite

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")]
USER = "nobody"


class Opened(Suite):
    """A suite whose programs everybody can read."""

    @property
    def prefix(self) -> list[str]:
        return opened()


@pytest.fixture
def folder():
    """A folder that the other account may enter; pytest's own are root's alone."""
    path = Path(tempfile.mkdtemp(prefix="fancymail-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_root_is_given_up(folder):
    config = folder / "config.toml"
    config.write_text(f'[server]\nuser = "{USER}"\n')
    suite = Opened(folder / "state", "--config", str(config))
    try:
        pids = [suite.pid(name) for name in ("supervisor", "auth", "queue", "smtpin")]
        expected = str(pwd.getpwnam(USER).pw_uid)
        for pid in pids:
            line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
            assert line.split()[1:] == [expected] * 4, "real, effective, saved and filesystem uid"
        assert (suite.state / "log" / "fancymail.log").stat().st_uid == int(expected)
        suite.kill("queue")
        suite.wait_answers()
        assert suite.status()["daemons"]["queue"]["restarts"] == 1
    finally:
        suite.down()


def test_an_account_that_is_not_there_is_named(folder):
    config = folder / "config.toml"
    config.write_text('[server]\nuser = "no-such-user"\n')
    with pytest.raises(AssertionError, match="server.user or server.group"):
        Suite(folder / "state", "--config", str(config))


def test_what_was_planted_stays_roots(folder):
    """Whoever had the folder before may have put other people's files under names that are given away."""
    others = folder / "others"
    others.touch()
    paths = Paths(folder / "state")
    paths.create()
    (paths.keys / "auth.key").hardlink_to(others)
    (paths.keys / "queue.key").symlink_to(others)
    (paths.keys / "imap.key").touch()
    give_state(paths, 60720, 60720)
    assert (paths.keys / "imap.key").stat().st_uid == 60720 and others.stat().st_uid == 0
