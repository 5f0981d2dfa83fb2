"""fmctl against running daemons: the stand-ins for what any daemon can do, the real queue for its tools."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fancymail.ipc.sync import SyncClient

from tests.suite_kit import FMCTL, PATIENCE, Suite, run

pytestmark = pytest.mark.live

CONTENT = b"Subject: test\r\n\r\nHello.\r\n"


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    with Suite(tmp_path_factory.mktemp("fmctl") / "state", only="auth,queue") as suite:
        yield suite


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    """A real fm-queue, alone."""
    with Suite(tmp_path_factory.mktemp("queue") / "state", only="queue", real=True) as suite:
        yield suite


@pytest.fixture
def waiting(queue):
    """Three messages in the queue `incoming`; what is left of them is dropped in the end."""
    with SyncClient(queue.facts["ipc"]["queue"]) as client:
        paths = [path.decode() for path in client.call("slot", "incoming", 3)]
        for path in paths:
            Path(path).write_bytes(CONTENT)
        client.call("push", "incoming", *paths)
        yield [path.rpartition("/")[2] for path in paths]
        client.call("drop", "incoming", "all")


def test_send_in_both_notations(suite):
    assert suite.fmctl("send", "queue", "ping").stdout == "ok: queue\n"
    assert suite.fmctl("send", "queue", "alert: incoming").stdout == "ok\n"
    assert suite.fmctl("send", "queue", "alert", "incoming").stdout == "ok\n"


def test_send_as_json(suite):
    assert json.loads(suite.fmctl("--json", "send", "queue", "ping").stdout) == {"verb": "ok", "params": ["queue"]}
    done = suite.fmctl("--json", "send", "queue", "nonsense", check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["params"][1] == "5.5.1"


def test_an_answer_of_several_messages_is_printed_whole(suite):
    lines = suite.fmctl("send", "queue", "help").stdout.splitlines()
    assert lines[0].startswith("ok: ") and lines[-1] == "ok" and len(lines) == int(lines[0][4:]) + 2


def test_an_error_is_said_and_told_by_the_exit_code(suite):
    done = suite.fmctl("send", "queue", "subscribe: a", check=False)
    assert (done.returncode, done.stdout) == (1, "") and "callback, is missing" in done.stderr and "5.5.4" in done.stderr


def test_a_daemon_that_does_not_run_is_named_at_once(tmp_path):
    begun = time.monotonic()
    done = run(FMCTL, "--state", tmp_path, "send", "queue", "ping", check=False)
    assert done.returncode == 1 and "fm-queue does not run" in done.stderr and time.monotonic() - begun < 8


def test_ping(suite):
    rows = json.loads(suite.fmctl("--json", "ping").stdout)
    assert [(row["daemon"], row["answer"]) for row in rows] == [("auth", "ok"), ("queue", "ok")]
    assert suite.fmctl("ping", "pop3", check=False).returncode == 1


def test_help_of_a_verb(suite):
    text = suite.fmctl("help", "queue", "push").stdout
    assert text.startswith("push: queue ; slots...") and "Said by: mailbox, operator, smtpin, smtpout" in text
    assert "knows no verb 'psuh'" in suite.fmctl("help", "queue", "psuh", check=False).stderr


def test_stats_and_metrics(suite):
    stats = json.loads(suite.fmctl("--json", "stats").stdout)
    assert set(stats) == {"auth", "queue"} and stats["queue"]["daemon"] == "queue"
    page = suite.fmctl("metrics").stdout
    assert 'fancymail_up{daemon="queue"} 1\n' in page and page.count("# TYPE fancymail_resident_octets gauge") == 1


def test_metrics_are_served(suite):
    port = suite.base
    command = [*FMCTL, "--state", str(suite.state), "metrics", "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    try:
        assert "serving" in process.stderr.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b'fancymail_up{daemon="auth"} 1\n' in answer.read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/other", timeout=PATIENCE)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_shell(suite):
    said = "ping\n\nhelp ping\nsubscribe: a\nslot 'x\nnonsense\nquit\nping\n"
    done = suite.fmctl("shell", "queue", input=said)
    lines = done.stdout.splitlines()
    assert lines == ["ok: queue", "ping", "    Answer at once, with the daemon's name."]
    assert len(done.stderr.splitlines()) == 3 and "No closing quotation" in done.stderr


def test_alerts_are_printed(queue):
    process = subprocess.Popen([*FMCTL, "--state", str(queue.state), "--json", "listen", "queue", "incoming", "--count", "1"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    assert "listening to fm-queue: incoming" in process.stderr.readline()
    with SyncClient(queue.facts["ipc"]["queue"]) as client:
        path = client.call("slot", "incoming")[0].decode()
        Path(path).write_bytes(CONTENT)
        client.call("push", "incoming", path)
        out, _ = process.communicate(timeout=PATIENCE)
        client.call("drop", "incoming", "all")
    alert = json.loads(out)
    assert (alert["verb"], alert["params"]) == ("alert", ["incoming"])
    assert not list((queue.state / "run").glob("fmctl-*")), "the callback socket is removed"


def test_a_topic_that_cannot_be(queue):
    done = queue.fmctl("listen", "queue", "nowhere", check=False)
    assert done.returncode == 1 and "no such queue" in done.stderr


def test_the_queue_is_listed(queue, waiting):
    rows = json.loads(queue.fmctl("--json", "queue", "list").stdout)
    assert {row["id"] for row in rows} == set(waiting) and {row["state"] for row in rows} == {"ready"}
    assert json.loads(queue.fmctl("--json", "queue", "totals").stdout)[0]["ready"] == 3
    assert all(id in queue.fmctl("queue", "list").stdout for id in waiting)
    assert json.loads(queue.fmctl("--json", "queue", "list", "--larger", "100000").stdout) == []
    assert json.loads(queue.fmctl("--json", "queue", "list", "--older", "1d").stdout) == []


def test_a_message_is_held_released_and_dropped(queue, waiting):
    assert "1 held" in queue.fmctl("queue", "hold", waiting[1]).stdout
    held = json.loads(queue.fmctl("--json", "queue", "list", "--state", "held").stdout)
    assert [row["id"] for row in held] == [waiting[1]]
    assert json.loads(queue.fmctl("--json", "queue", "show", waiting[1]).stdout)["state"] == "held"
    assert json.loads(queue.fmctl("--json", "queue", "release", "--state", "held").stdout) == {"ok": True, "count": 1}
    assert queue.fmctl("queue", "drop", waiting[0], input="n\n", check=False).returncode == 1
    assert "1 dropped" in queue.fmctl("queue", "drop", "--yes", waiting[0]).stdout
    assert queue.fmctl("queue", "show", waiting[0], check=False).returncode == 1


@pytest.mark.parametrize("words, reason", [
    (["hold"], "say which messages"), (["hold", "abc", "--state", "ready"], "either ids or conditions"),
    (["list", "--older", "soon"], "is no duration"), (["list", "--state", "lost"], "is not one of")])
def test_what_is_asked_wrongly(queue, words, reason):
    done = queue.fmctl("queue", *words, check=False)
    assert done.returncode == 2 and reason in done.stderr


def test_ctrl_c_ends_listening(queue):
    process = subprocess.Popen([*FMCTL, "--state", str(queue.state), "listen", "queue", "incoming"], stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    assert select.select([process.stderr], [], [], PATIENCE)[0] and "listening" in process.stderr.readline()
    process.send_signal(2)
    assert process.wait(timeout=PATIENCE) == 0


def test_check(tmp_path):
    assert "is good" in run(FMCTL, "--state", tmp_path, "check").stdout
    (tmp_path / "fancymail.toml").write_text("[sevrer]\n[log]\nlevel = 3\n")
    done = run(FMCTL, "--state", tmp_path, "check", check=False)
    assert done.returncode == 1 and "did you mean 'server'" in done.stderr and "log.level" in done.stderr
