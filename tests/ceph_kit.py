"""A Ceph of our own with its S3 gateway: one monitor, one manager, one OSD on a file, radosgw; cephx on, loopback only, in a temporary folder.

For the long form of the tests (bin/test --slow), as a real S3 in place of moto. Debian: apt-get install --no-install-recommends ceph-mon ceph-mgr
ceph-osd radosgw (it starts nothing by itself where there is no systemd; else systemctl disable --now ceph.target). Needs root, and a gigabyte
of memory. `Gateway` may be killed and started again; what it answered for is in the OSD.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import time
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster_kit import Engine, answers, free_port, open_folder

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
KEY = "test"                    # both keys of the user who has the buckets
PATIENCE = 120.0
CONFIG = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{port}/0]
public addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = {folder}
admin socket = {folder}/$name.$pid.asok
log file = {folder}/$name.log
keyring = {folder}/$name.keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd memory target = 939524096
bluestore block size = 4294967296
[mon.a]
mon data = {folder}/mon
keyring = {folder}/mon/keyring
[mgr.x]
mgr data = {folder}/mgr
[osd.0]
osd data = {folder}/osd
[client.rgw]
rgw dns name = 127.0.0.1
"""


class Daemon:
    """One daemon of Ceph's in the foreground, in a process group of its own."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def end(self) -> None:
        """Kill it."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(30)


class Gateway(Engine):
    """radosgw in front of a cluster: an S3."""

    def __init__(self, cluster: Ceph) -> None:
        super().__init__(cluster.folder)
        self.cluster = cluster

    def command(self) -> list[str]:
        return ["radosgw", "-f", "-c", str(self.cluster.config), "-n", "client.rgw", f"--rgw-frontends=beast endpoint=127.0.0.1:{self.port}"]

    def start(self) -> None:
        """Start it, and return when it listens: the first time it makes its pools before."""
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        answers(self.port, self.process, PATIENCE)

    def url(self, bucket: str) -> str:
        """Make a bucket; how to connect to it."""
        import boto3
        endpoint = f"http://127.0.0.1:{self.port}"
        client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=KEY, region_name="us-east-1")
        client.create_bucket(Bucket=bucket)
        client.close()
        return f"s3://{bucket}?endpoint={endpoint}&access-key-id={KEY}&secret-access-key={KEY}"


class Ceph:
    """Monitor, manager and OSD."""

    def __init__(self, folder: Path) -> None:
        if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
            pytest.skip(f"no Ceph here: {', '.join(missing)} (apt install --no-install-recommends ceph-mon ceph-mgr ceph-osd radosgw)")
        if os.geteuid():
            pytest.skip("a Ceph of our own needs root")
        self.folder, self.config, self.fsid = folder, folder / "ceph.conf", str(uuid4())
        self.port, self.daemons = free_port(), []
        self.config.write_text(CONFIG.format(fsid=self.fsid, port=self.port, folder=folder))

    def start(self) -> None:
        """From nothing to a cluster that takes objects: about half a minute. What fails is ended."""
        try:
            self._monitor()
            self._key("mgr.x", "mon", "allow profile mgr", "osd", "allow *", "mds", "allow *")
            self._run_daemon("ceph-mgr", "x", "mgr")
            self._osd()
            self._key("client.rgw", "mon", "allow rw", "osd", "allow rwx")
        except BaseException:
            self.end()
            raise

    def user(self) -> None:
        """Who may make buckets."""
        keys = (f"--access-key={KEY}", f"--secret-key={KEY}")
        self._say("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test", *keys)

    def end(self) -> None:
        """Kill all; the folder is whoever's made it."""
        for daemon in reversed(self.daemons):
            daemon.end()
        self.daemons.clear()

    def _monitor(self) -> None:
        folder, admin, map_ = self.folder, self.folder / "client.admin.keyring", self.folder / "monmap"
        (folder / "mon").mkdir()
        everything = [word for part in ("mon", "osd", "mgr", "mds") for word in ("--cap", part, "allow *")]
        self._say("ceph-authtool", "--create-keyring", admin, "--gen-key", "-n", "client.admin", *everything)
        shutil.copy(admin, folder / "first")
        self._say("ceph-authtool", folder / "first", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._say("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", f"[v2:127.0.0.1:{self.port}]", map_)
        self._say("ceph-mon", "-c", self.config, "--mkfs", "-i", "a", "--monmap", map_, "--keyring", folder / "first")
        self.daemons.append(Daemon("ceph-mon", "-f", "-c", str(self.config), "-i", "a"))
        answers(self.port, self.daemons[-1].process)

    def _osd(self) -> None:
        name = str(uuid4())
        self._ceph("osd", "new", name)
        (self.folder / "osd").mkdir()
        self._key("osd.0", "mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *")
        self._say("ceph-osd", "-c", self.config, "-i", "0", "--mkfs", "--osd-uuid", name)
        self._run_daemon("ceph-osd", "0")
        deadline = time.monotonic() + PATIENCE
        while "1 up" not in self._ceph("osd", "stat"):
            if time.monotonic() > deadline:
                raise RuntimeError("the OSD does not come up")
            time.sleep(0.2)             # a foreign server is waited for, nothing is asserted

    def _run_daemon(self, program: str, id: str, folder: str = "") -> None:
        if folder:
            (self.folder / folder).mkdir()
        self.daemons.append(Daemon(program, "-f", "-c", str(self.config), "-i", id))

    def _key(self, name: str, *caps: str) -> None:
        (self.folder / f"{name}.keyring").write_text(self._ceph("auth", "get-or-create", name, *caps))

    def _ceph(self, *words: str) -> str:
        return self._say("ceph", "--connect-timeout", "30", *words)

    def _say(self, program: str, *words) -> str:
        config = () if program in ("ceph-authtool", "monmaptool") or "-c" in words else ("-c", self.config)
        done = subprocess.run([program, *map(str, (*config, *words))], capture_output=True, text=True, timeout=PATIENCE, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(map(str, words))}: {done.stderr.strip()[-500:]}")
        return done.stdout


@cache
def ceph() -> Gateway:
    """The gateway of this test process."""
    folder = open_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    cluster = Ceph(folder)
    atexit.register(cluster.end)
    cluster.start()
    gateway = Gateway(cluster)
    atexit.register(gateway.kill)
    gateway.start()
    cluster.user()
    return gateway
