"""bin/fm-NAME: one daemon alone, in the foreground."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fancymail.ipc.sync import SyncClient
from tests.suite_kit import CHECKOUT, PATIENCE, REAL, run, wait_for

pytestmark = pytest.mark.live
FM_QUEUE = [sys.executable, "-c", "import sys; sys.argv[0] = 'fm-queue'; from fancymail.servers.running.launch import launch; launch('queue')"]


@pytest.fixture
def daemon(tmp_path):
    """fm-queue alone, ready."""
    process = subprocess.Popen([*FM_QUEUE, "--state", str(tmp_path)], stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(CHECKOUT)})
    with SyncClient(f"ipc://{tmp_path}/run/queue.ipc") as client:
        wait_for(lambda: json.loads(client.call("stats", timeout=PATIENCE)[0])["ready"], "it is ready")
    yield process
    process.kill()
    process.communicate()


def test_it_logs_to_the_terminal_and_ends_cleanly(daemon, tmp_path):
    daemon.send_signal(signal.SIGTERM)
    _, said = daemon.communicate(timeout=PATIENCE)
    assert daemon.returncode == 0 and "queue info ready" in said and "queue info ended" in said
    assert said == (tmp_path / "log" / "fancymail.log").read_text()


def test_two_of_a_kind_are_refused(daemon, tmp_path):
    done = run(FM_QUEUE, "--state", tmp_path, check=False)
    assert done.returncode == 1 and "queue is already running here" in done.stderr


def test_a_wrong_configuration_is_explained(tmp_path):
    Path(tmp_path, "fancymail.toml").write_text("[queue]\nrecyle = true\n")
    done = run(FM_QUEUE, "--state", tmp_path, check=False)
    assert done.returncode == 1 and "queue.recyle: unknown option; did you mean 'recycle'?" in done.stderr


def test_help():
    assert "The mail queue" in run(FM_QUEUE, "--help").stdout


def test_a_suite_is_not_started_beside_it(daemon, tmp_path):
    done = run(REAL, "up", "--state", tmp_path, "--only", "queue", check=False)
    assert done.returncode == 1 and "fm-queue runs already by itself" in done.stderr
