"""up, status, down and the supervisor between them, with real processes and stand-in daemons."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

from tests.suite_kit import FAKE, PATIENCE, Suite, alive, free_base, run, wait_for

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """One suite for the tests that leave it as it was."""
    with Suite(tmp_path_factory.mktemp("suite") / "state") as suite:
        yield suite


@pytest.fixture
def own(tmp_path):
    """A suite for one test alone."""
    with Suite(tmp_path / "state") as suite:
        yield suite


def asked_pid(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as peer:
        return int(peer.makefile().readline())


def test_the_json_line_is_as_promised(suite):
    facts = suite.facts
    assert facts["ready"] is True and facts["state"] == str(suite.state)
    assert facts["ports"]["smtp"] == suite.base + 25 and facts["ports"]["submission"] == suite.base + 587
    assert set(facts["accounts"]) == {"alice@example.test", "bob@example.test", "postmaster@example.test"}
    assert facts["ipc"]["queue"] == f"ipc://{suite.state}/run/queue.ipc"
    ssl.create_default_context(cafile=facts["ca"])


def test_every_daemon_is_its_own_process(suite):
    daemons = suite.status()["daemons"]
    assert set(daemons) == {"auth", "queue", "smtpin"} and all(row["answers"] for row in daemons.values())
    for name, row in daemons.items():
        assert Path(f"/proc/{row['pid']}/comm").read_text().strip() == f"fm-{name}"
    assert len({row["pid"] for row in daemons.values()}) == 3


def test_a_daemon_holds_only_its_own_sockets(suite):
    def listening(pid):
        inodes = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return {int(line.split()[1].split(":")[1], 16) for line in lines if f"socket:[{line.split()[9]}]" in inodes}

    daemons = suite.status()["daemons"]
    assert suite.base + 25 in listening(daemons["smtpin"]["pid"])
    assert listening(daemons["queue"]["pid"]) == set()


def test_status_for_people(suite):
    text = suite.fancymail("status").stdout
    assert "supervisor" in text and "fm-" not in text and "no answer" not in text


def test_a_second_suite_on_the_same_state_is_refused(suite):
    done = run(FAKE, "up", "--demo", "--state", suite.state, "--detach", check=False)
    assert done.returncode == 1 and "is running already (pid" in done.stderr


def test_taken_ports_are_named(suite, tmp_path):
    done = run(FAKE, "up", "--demo", "--state", tmp_path / "other", "--port-base", suite.base, "--only", "smtpin", "--detach",
               check=False)
    assert done.returncode == 1 and f"127.0.0.1:{suite.base + 25}" in done.stderr + done.stdout and "--port-base" in done.stderr


def test_secrets_of_the_demo_are_private(suite):
    for name in ("demo.json", "fancymail.toml", "tls/key.pem", "keys/queue.key"):
        assert stat.S_IMODE((suite.state / name).stat().st_mode) == 0o600, name
    assert suite.facts["accounts"]["alice@example.test"] not in suite.log()


def test_the_certificate_is_for_the_names_that_we_use(suite):
    context = ssl.create_default_context(cafile=suite.facts["ca"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(suite.state / "tls" / "cert.pem", suite.state / "tls" / "key.pem")
    for name in ("localhost", "mail.example.test", "127.0.0.1", "::1"):
        ours, theirs = (ssl.MemoryBIO(), ssl.MemoryBIO()), None
        client, theirs = context.wrap_bio(ours[0], ours[1], server_hostname=name), server.wrap_bio(ours[1], ours[0], server_side=True)
        for side in (client, theirs, client, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        assert client.getpeercert()["subject"] == ((("commonName", "mail.example.test"),),)


def test_what_dies_comes_back_and_loses_no_connection(own):
    port, pid = own.facts["ports"]["smtp"], own.status()["daemons"]["smtpin"]["pid"]
    assert asked_pid(port) == pid
    os.kill(pid, signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as waiting:     # accepted by the kernel, by nobody else
        os.kill(pid, signal.SIGKILL)
        assert int(waiting.makefile().readline()) != pid
    row = wait_for(lambda: (row := own.status()["daemons"]["smtpin"])["answers"] and row, "smtpin answers again")
    assert row["restarts"] == 1 and row["pid"] != pid
    assert 'ended child=smtpin reason="signal SIGKILL"' in own.log()


def test_a_daemon_that_dies_again_and_again_waits_longer(own):
    for restarts in (1, 2, 3):
        own.fmctl("--timeout", "0.5", "send", "queue", "die", check=False)
        wait_for(lambda: own.status()["daemons"]["queue"]["restarts"] == restarts, f"restart {restarts}")
    assert [line.rpartition("restart=")[2] for line in own.log().splitlines() if "ended child=queue" in line] == ["0", "0.25", "0.5"]


def test_what_comes_back_reads_the_settings_that_stand_there_now(own):
    file = own.state / "fancymail.toml"
    assert own.fmctl("send", "queue", "hostname").stdout.split()[-1] == "mail.example.test"
    file.write_text(file.read_text().replace("mail.example.test", "mx.example.test"))
    own.fmctl("--timeout", "0.5", "send", "queue", "die", check=False)
    wait_for(lambda: own.status()["daemons"]["queue"]["restarts"] == 1, "a restart")
    assert own.fmctl("send", "queue", "hostname").stdout.split()[-1] == "mx.example.test"


def test_sighup_reaches_every_daemon(own):
    os.kill(own.status()["pid"], signal.SIGHUP)
    for name in ("auth", "queue", "smtpin"):
        wait_for(lambda: f" {name} info reloaded" in own.log(), f"{name} reloads")
    assert all(row["answers"] and not row["restarts"] for row in own.status()["daemons"].values())


def test_a_broken_file_keeps_the_old_settings(own):
    file = own.state / "fancymail.toml"
    file.write_text(file.read_text() + '\n[log]\nlevle = "debug"\n')
    done = own.fmctl("reload", check=False)
    assert done.returncode == 1 and "log.levle: unknown option; did you mean 'level'?" in done.stderr
    os.kill(own.status()["pid"], signal.SIGHUP)
    wait_for(lambda: own.log().count("settings refused") == 3, "three refusals")
    assert all(row["answers"] for row in own.status()["daemons"].values())


def test_down_stops_in_order_and_leaves_nothing(own):
    facts = own.status()
    pids = [facts["pid"], *(row["pid"] for row in facts["daemons"].values())]
    own.fancymail("down")
    assert not [pid for pid in pids if alive(pid)]
    ended = [line.split("child=")[1].split()[0] for line in own.log().splitlines() if " supervisor info ended child=" in line]
    assert ended == ["smtpin", "queue", "auth"]
    assert own.fancymail("status", check=False).returncode == 3 and own.fancymail("down", check=False).returncode == 3


def test_who_does_not_stop_is_killed(tmp_path):
    config = tmp_path / "more.toml"
    config.write_text("[server]\nstop-timeout = 0.3\n")
    suite = Suite(tmp_path / "state", "--config", str(config), only="queue")
    pid = suite.status()["daemons"]["queue"]["pid"]
    suite.fmctl("send", "queue", "hang")
    suite.down()
    assert not alive(pid) and "killing daemons=queue" in suite.log()


def test_no_orphans_when_the_supervisor_is_killed(own):
    facts = own.status()
    os.kill(facts["pid"], signal.SIGKILL)
    for row in facts["daemons"].values():
        wait_for(lambda: not alive(row["pid"]), "the daemons end with their parent")
    assert own.fancymail("status", check=False).returncode == 3


def test_a_second_start_knows_the_same_passwords(tmp_path):
    first = Suite(tmp_path / "state", only="auth")
    first.down()
    second = Suite(tmp_path / "state", only="auth")
    second.down()
    assert first.facts["accounts"] == second.facts["accounts"]


def test_in_the_foreground_ctrl_c_ends_it(tmp_path):
    command = [*FAKE, "up", "--demo", "--state", str(tmp_path / "state"), "--only", "auth,queue", "--json", "--port-base", str(free_base())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    facts = json.loads(process.stdout.readline())
    assert facts["ready"] is True
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and rest == ("", "")


def test_a_daemon_that_cannot_start_ends_the_start(tmp_path):
    config = tmp_path / "more.toml"
    config.write_text("[server]\nstart-timeout = 1.5\n")
    (tmp_path / "state" / "run" / "queue.ipc").mkdir(parents=True)          # nothing can be bound there
    done = run(FAKE, "up", "--demo", "--state", tmp_path / "state", "--port-base", free_base(), "--config", config, "--only", "queue",
               "--detach", check=False)
    assert done.returncode == 1 and "no answer from queue within 1.5 s" in done.stdout
    assert run(FAKE, "status", "--state", tmp_path / "state", check=False).returncode == 3


@pytest.mark.parametrize("text, reason", [
    ('[server]\nhostnam = "x"\n', "server.hostnam: unknown option; did you mean 'hostname'?"),
    ("[server]\nhost\n", "is not TOML")])
def test_a_wrong_configuration_is_explained(tmp_path, text, reason):
    state = tmp_path / "state"
    state.mkdir()
    (state / "fancymail.toml").write_text(text)
    done = run(FAKE, "up", "--state", state, check=False)
    assert done.returncode == 1 and reason in done.stderr
    done = run(FAKE, "up", "--demo", "--state", state, check=False)
    assert done.returncode == 1 and "is a configuration of your own" in done.stderr


def test_an_unknown_daemon_is_refused(tmp_path):
    done = run(FAKE, "up", "--state", tmp_path / "state", "--only", "qeue", check=False)
    assert done.returncode == 2 and "there is no daemon 'qeue'" in done.stderr
