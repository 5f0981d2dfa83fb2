"""Started as root, everything becomes the configured account once the ports are bound."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.suite_kit import Suite

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")]
USER = "nobody"


@pytest.fixture
def folder():
    """A folder that the other account may enter; pytest's own are root's alone."""
    path = Path(tempfile.mkdtemp(prefix="fancymail-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_root_is_given_up(folder):
    reads = subprocess.run([sys.executable, "-c", "import os; os.setuid(int(os.sys.argv[1])); open(os.__file__)",
                            str(pwd.getpwnam(USER).pw_uid)], capture_output=True)
    if reads.returncode != 0:
        pytest.skip(f"{USER} may not read this Python")
    config = folder / "config.toml"
    config.write_text(f'[server]\nuser = "{USER}"\n')
    suite = Suite(folder / "state", "--config", str(config))
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
