"""The units of etc/systemd: valid for this machine's systemd, and run by one that is booted in a container of its own.

The container's root is this machine's, with a layer of memory over it: nothing that happens there stays. Its network is its own, so that
the suite has the real ports. Needs root and systemd-nspawn (Debian: systemd-container).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fancymail.servers.containment import landlock
from fancymail.servers.running.launch import DAEMONS
from tests.suite_kit import CHECKOUT, wait_for

UNITS = CHECKOUT / "etc" / "systemd"
STATE = "/var/lib/fancymail"
CALLS = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"         # which nspawn keeps from all in it unless told
TARGET = "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"
PYTHON = "/opt/environment/bin/python"
WHERE = f"[Service]\nEnvironment=PYTHONPATH=/opt/fancymail PYTHONDONTWRITEBYTECODE=1\nExecStart=\nExecStart={PYTHON} -c \"%s\" %s\n"
START = "import sys; sys.argv[0] = '%s'; from fancymail.%s"
PROGRAMS = {        # unit: what it starts, found where the container has this checkout and its packages
    "fancymail.service": (START % ("fancymail", "cli.suite import main; main()"), f"up --state {STATE}"),
    "fm@.service": (START % ("fm-%i", "servers.running.launch import launch; launch('%i')"), f"--state {STATE} --quiet"),
    "fancymail-metrics.service": (START % ("fmctl", "cli.fmctl import main; main()"), f"--state {STATE} metrics --listen 127.0.0.1:9725")}
BEGIN = f"""set -e
rm -rf {STATE} /etc/systemd/system/*.service.d/own-users.conf
id fancymail >/dev/null 2>&1 || useradd --system --home-dir {STATE} --shell /usr/sbin/nologin fancymail
install -d -m 700 -o fancymail -g fancymail {STATE}
printf '[server]\\nhostname = "mail.example.test"\\ndefault-domain = "example.test"\\n' > {STATE}/fancymail.toml
chown fancymail {STATE}/fancymail.toml
systemctl daemon-reload
"""
MAIL = """
import poplib, smtplib, time
with smtplib.SMTP("127.0.0.1", 25, timeout=10) as client:
    client.sendmail("x@sender.test", ["alice@example.test"], "Subject: under systemd\\r\\n\\r\\nhello\\r\\n")
count = 0
while not count:
    reader = poplib.POP3("127.0.0.1", 110, timeout=10)
    reader.user("alice@example.test")
    reader.pass_("correct horse")
    count = reader.stat()[0]
    found = reader.retr(1)[1] if count else []
    [reader.dele(number + 1) for number in range(count)]
    reader.quit()
print(found)
"""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_units_are_valid(tmp_path):
    """Not a word from systemd: an unknown key or group of calls is ignored by it, and said."""
    shutil.copytree(UNITS, tmp_path, dirs_exist_ok=True)
    for unit in tmp_path.glob("*.service"):
        unit.write_text(unit.read_text().replace("/opt/fancymail", str(CHECKOUT)))
    names = ["fancymail.service", "fancymail-metrics.service", "fancymail.target", *(f"fm@{name}.service" for name in DAEMONS)]
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(["systemd-analyze", "verify", *names], env=environment, capture_output=True, text=True)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if str(tmp_path) in line]
    assert done.returncode == 0 and not complaints, done.stderr


class Machine:
    """A booted systemd. `run` runs something in it; `folder` is where its root is laid together."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        layers = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, self.root], check=True)
        self._furnish(self.root / "etc" / "systemd" / "system")
        self.said = open(folder / "said", "w+")
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", "--keep-unit", "--register=no", "--private-network",
             "--kill-signal=SIGRTMIN+3", f"--system-call-filter={CALLS}", f"--bind-ro={CHECKOUT}:/opt/fancymail",
             f"--bind-ro={sys.prefix}:/opt/environment", "systemd.unit=trial.target"],
            stdin=subprocess.DEVNULL, stdout=self.said, stderr=subprocess.STDOUT)
        wait_for(lambda: self.nspawn.poll() is not None or "trial.target" in (folder / "said").read_text(), "it boots")
        if self.nspawn.poll() is not None:
            pytest.skip(f"systemd does not boot in a container here: {(folder / 'said').read_text()[-300:]}")
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text()
        self.leader = children.split()[0]

    @staticmethod
    def _furnish(units: Path) -> None:
        shutil.copytree(UNITS, units, dirs_exist_ok=True, ignore=lambda folder, names: {"own-users.conf"} & set(names))
        (units / "trial.target").write_text(TARGET)
        for unit, (program, words) in PROGRAMS.items():
            (units / f"{unit}.d").mkdir(exist_ok=True)
            (units / f"{unit}.d" / "where.conf").write_text(WHERE % (program, words))

    def run(self, *words: str, check: bool = True, **more) -> str:
        """Run a command inside; what it says."""
        command = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        done = subprocess.run([*command, "PYTHONPATH=/opt/fancymail", *words], capture_output=True, text=True, timeout=60, **more)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.log()[-3000:]}"
        return done.stdout + done.stderr

    def fmctl(self, *words: str, **more) -> str:
        program = START % ("fmctl", "cli.fmctl import main; main()")
        return self.run(PYTHON, "-c", program, "--state", STATE, *words, **more)

    def begin(self) -> None:
        """A state folder as docs/install.md has it made, and no unit that runs."""
        self.run("sh", "-c", BEGIN)

    def log(self) -> str:
        path = self.root.joinpath(STATE[1:], "log", "fancymail.log")
        return path.read_text() if path.exists() else "no log"

    def down(self) -> None:
        """Power it off; its root was never there."""
        self.nspawn.terminate()
        self.nspawn.wait(60)
        self.said.close()


@pytest.fixture(scope="module")
def machine():
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        pytest.skip("not root, or systemd-nspawn is not installed")
    if os.path.realpath(sys.executable).startswith(("/root/", "/home/")):
        pytest.skip("this Python is in somebody's home, which the units keep from the daemons")
    folder = Path(tempfile.mkdtemp(prefix="fancymail-boot-"))
    running = None
    try:
        running = Machine(folder)
        yield running
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no root can be laid over this machine's: {error}")
    finally:
        if running is not None:
            running.down()
        for place in (folder / "root", folder):
            subprocess.run(["umount", "-l", place], capture_output=True)
        folder.rmdir()


def page_of_metrics(machine: Machine) -> str:
    """What Prometheus reads, once it is served."""
    get = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9725/metrics', timeout=20).read().decode())"
    return wait_for(lambda: "refused" not in (said := machine.run(PYTHON, "-c", get, check=False)) and said, "the page of metrics")


def settle_in(machine: Machine) -> None:
    """A domain, and somebody who lives there."""
    machine.fmctl("domain", "add", "example.test")
    machine.fmctl("account", "add", "alice@example.test", "--password-stdin", input="correct horse\n")


def mail_goes_through(machine: Machine) -> bool:
    """A message is sent to alice, and read."""
    return "b'hello'" in machine.run(PYTHON, "-c", MAIL)


def shut_in(machine: Machine) -> list[str]:
    """What the daemons miss of their containment; nothing where the kernel has all of it."""
    return [line for line in machine.log().splitlines() if " contained " in line and " missing=" in line and landlock.version() >= 6]


@pytest.mark.parametrize("users", ["one", "own"])
def test_the_suite(machine, users):
    machine.begin()
    if users == "own":
        for unit in ("fancymail", "fancymail-metrics"):
            machine.run("cp", f"/opt/fancymail/etc/systemd/{unit}.service.d/own-users.conf", f"/etc/systemd/system/{unit}.service.d/")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "fancymail", "fancymail-metrics")
    settle_in(machine)
    assert mail_goes_through(machine) and not shut_in(machine)
    numbers = {line.split()[0] for line in machine.run("ps", "-eo", "uid,comm").splitlines() if " fm-" in line}
    assert len(numbers) == (1 if users == "one" else len(DAEMONS)) and "0" not in numbers
    assert 'daemon="smtpin"' in page_of_metrics(machine)
    machine.run("systemctl", "reload", "fancymail")
    wait_for(lambda: machine.log().count(" info reloaded") >= len(DAEMONS), "every daemon reloads")
    assert mail_goes_through(machine)
    machine.run("systemctl", "stop", "fancymail", "fancymail-metrics")
    assert "Result=success" in machine.run("systemctl", "show", "fancymail", "--property=Result")


def test_each_daemon_by_itself_and_the_page_of_metrics(machine):
    machine.begin()
    units = [f"fm@{name}" for name in DAEMONS]
    machine.run("systemctl", "start", *units, "fancymail-metrics")
    settle_in(machine)
    assert mail_goes_through(machine) and not shut_in(machine)
    assert 'daemon="smtpin"' in page_of_metrics(machine)
    pid = machine.run("systemctl", "show", "fm@queue", "--property=MainPID", "--value").strip()
    machine.run("kill", "-9", pid)
    wait_for(lambda: machine.run("systemctl", "show", "fm@queue", "--property=MainPID", "--value").strip() not in ("0", pid), "another one")
    wait_for(lambda: "active" in machine.run("systemctl", "is-active", "fm@queue", check=False).split(), "it is ready")
    assert mail_goes_through(machine)
    machine.run("systemctl", "stop", *units, "fancymail-metrics")
