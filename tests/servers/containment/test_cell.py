"""Each daemon's process from inside: what it may touch, by a table written by hand, and that everything else is refused."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fancymail.base.settings import Paths
from fancymail.ipc.security import KeyRing
from fancymail.servers.containment import landlock, seccomp
from fancymail.servers.queue.daemon import QueueServer
from fancymail.servers.running.launch import DAEMONS
from tests.servers.containment.probe import SLOT, probes
from tests.servers_kit import running

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(landlock.version() < 6 or not seccomp.available(), reason="this kernel cannot do all of it")

EVERYBODY = {"kill-self", "unix", "settings", "log"}
FRONTS = {"smtpin", "pop3", "imap"}
MAY = {                                             # what one daemon may do and not every other
    "accounts": {"auth"}, "through-link": {"auth"},
    "tcp": {"auth", "queue", "mailbox", "smtpout"}, "listen": {"auth", "queue", "mailbox", "smtpout"}, "udp": {"smtpout"},
    "certificate": FRONTS, "index": {"queue"}, "list-queues": {"queue"}, "shard": {"mailbox", "pop3", "imap"},
    "blob": {"mailbox", "pop3", "imap"},
    "list-blobs": {"mailbox", "pop3", "imap"}, "change-blob": {"mailbox", "pop3", "imap"}, "remove-blob": {"mailbox"},
    "read-incoming": {"queue", "mailbox"}, "list-incoming": {"queue", "mailbox"}, "write-incoming": {"queue", "mailbox", "smtpin", "smtpout"},
    "remove-incoming": {"queue", "mailbox", "smtpin", "smtpout"}, "read-outgoing": {"queue", "smtpout"}, "list-outgoing": {"queue"},
    "write-outgoing": {"queue", "mailbox", "smtpin", "smtpout"},
    "remove-outgoing": {"queue", "mailbox", "smtpin", "smtpout"}, "read-archive": {"queue"}, "list-archive": {"queue"},
    "write-archive": {"queue"}, "remove-archive": {"queue"}, **{f"key-{name}": {name} for name in DAEMONS}}
PROBES = list(probes(Paths("/nowhere"), 0))


def furnished(state: Path) -> Paths:
    """A state folder in which everything lies that is tried for."""
    paths = Paths(state)
    paths.create()
    KeyRing(paths.keys).create()
    paths.config.write_text('[queue.queues.incoming]\n[queue.queues.outgoing]\n[queue.queues.archive]\n[log]\nconsole = "never"\n')
    blob = paths.blobs / "ab" / ("ab" * 32)
    files = [paths.accounts, paths.demo, paths.private_key, paths.certificate, paths.log, paths.mail / "shard-0.db", blob]
    files += [paths.queues / "index.db", *(paths.queues / queue / SLOT for queue in ("incoming", "outgoing", "archive")), paths.run / "other.ipc"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
    (paths.queues / "incoming" / "planted").symlink_to(paths.accounts)
    return paths


def tried(paths: Paths, name: str, mode: str, *chosen: str) -> dict[str, str]:
    """What a process of the daemon hears when it tries."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-m", "tests.servers.containment.probe", str(paths.state), name, mode, str(server.getsockname()[1]), *chosen]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", DAEMONS)
def test_what_each_daemon_may_touch(tmp_path, name):
    expected = {probe for probe in PROBES if probe in EVERYBODY or name in MAY.get(probe, ())}
    found = tried(furnished(tmp_path), name, "shut")
    assert {probe for probe, answer in found.items() if answer == "ok"} == expected
    refused = {answer for answer in found.values() if answer != "ok"}
    assert refused <= {"EPERM", "EACCES", "ENOSYS", "EXDEV", "ENOENT"} and found["exec"] in ("EPERM", "EACCES")


def test_the_same_succeeds_for_who_is_not_shut_in(tmp_path):
    """The table can fail: without containment the process does nearly all of it."""
    if os.getuid():
        pytest.skip("needs root")
    found = tried(furnished(tmp_path), "smtpin", "free", "shadow", "accounts", "key-auth", "index", "blob", "spawn", "fork", "tcp", "udp",
                  "rename-self", "memory", "list-incoming", "read-incoming", "doors", "through-link", "symlink", "empty-log")
    assert {probe for probe, answer in found.items() if answer != "ok"} == set()


@pytest.mark.parametrize("mode, answer", [("shut", "EPERM"), ("free", "ok")])
async def test_a_daemon_is_no_operator(tmp_path, mode, answer):
    """It has the operator's uid and can reach the operator's doors: they know it by its name, which it cannot change."""
    paths = furnished(tmp_path)
    (paths.queues / "index.db").unlink()
    async with running(QueueServer, tmp_path):
        assert (await asyncio.to_thread(tried, paths, "smtpin", mode, "operator"))["operator"] == answer
