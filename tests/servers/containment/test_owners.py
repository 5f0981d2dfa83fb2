"""Each daemon's user, with nothing else to hold it: what its number alone may touch, by a table written by hand. And who these users are."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fancymail.base.settings import Paths
from fancymail.base.settings.load import parse_settings
from fancymail.servers.containment import acl, owners, standing
from fancymail.servers.running.launch import DAEMONS, daemon_class, own_users
from tests.own_users_kit import missing, opened
from tests.servers.containment.test_cell import FRONTS, ROOT, furnished

rooted = pytest.mark.skipif(bool(missing()), reason=missing())

EVERYBODY = {"log", "empty-log"}                    # by its number alone a daemon could empty the log; Landlock keeps it from that
READERS = {"mailbox", "pop3", "imap"}
WRITERS = {"queue", "mailbox", "smtpin", "smtpout"}
MAY = {                                             # what one daemon may do and not every other
    "accounts": {"auth"}, "certificate": FRONTS, "index": {"queue"}, "list-queues": {"queue"}, "shard": READERS, "blob": READERS,
    "list-blobs": READERS, "change-blob": {"mailbox"}, "remove-blob": {"mailbox"}, "symlink": {"mailbox"},
    "read-incoming": {"queue", "mailbox"}, "list-incoming": {"queue", "mailbox"}, "write-incoming": WRITERS, "remove-incoming": WRITERS,
    "read-outgoing": {"queue", "smtpout"}, "list-outgoing": {"queue"}, "write-outgoing": WRITERS, "remove-outgoing": WRITERS,
    "read-archive": {"queue"}, "list-archive": {"queue"}, "write-archive": {"queue"}, "remove-archive": {"queue"},
    **{f"key-{name}": {name} for name in DAEMONS}}
NOBODY = {"kill", "trace", "memory", "mount", "become", "own", "shadow", "settings", "passwords", "read-log", "remove-log", "doors",
          "plant-door", "operator", "through-link"}


@pytest.fixture
def state():
    """A furnished state folder that other users can get to; pytest's own are root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="fancymail-test-"))
    folder.chmod(0o755)
    (folder / "state").mkdir(0o700)
    yield furnished(folder / "state")
    shutil.rmtree(folder)


def tried(paths: Paths, name: str) -> dict[str, str]:
    """What a process with the user of a daemon hears when it tries."""
    probes = sorted({*EVERYBODY, *MAY, *NOBODY})
    command = [*opened(), sys.executable, "-m", "tests.servers.containment.probe", str(paths.state), name, "own", "1", *probes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@rooted
@pytest.mark.parametrize("name", DAEMONS)
def test_what_each_user_may_touch(state, name):
    state.config.chmod(0o600)
    found = tried(state, name)
    assert {probe for probe, answer in found.items() if answer == "ok"} == EVERYBODY | {probe for probe, who in MAY.items() if name in who}
    assert {answer for answer in found.values() if answer != "ok"} <= {"EPERM", "EACCES"}


@rooted
def test_nobodys_link_is_followed(state):
    """What a daemon puts under the name of a folder, or among its files, gets no list of ours: root writes them."""
    outside = state.state.parent / "outside"
    outside.mkdir(0o700)
    (outside / "file").touch(0o600)
    (state.queues / "incoming" / "link").symlink_to(outside / "file")
    shutil.rmtree(state.blobs)
    state.blobs.symlink_to(outside)
    made = _owners(state)
    with pytest.raises(OSError):
        made.prepare()
    assert not {name for path in (outside, outside / "file") for name in os.listxattr(path)}


@rooted
def test_what_was_there_before_is_given_once(state):
    """The first time all files get lists; later only the folders are looked at, and what is made gets its own."""
    made = _owners(state)
    made.prepare()
    slot = state.queues / "outgoing" / ("b" * 26)
    smtpout = made.users["smtpout"].uid
    old = os.umask(0o077)
    os.close(os.open(slot, os.O_CREAT | os.O_WRONLY, 0o660))
    os.umask(old)
    assert _rights(slot)[smtpout] == acl.READ | acl.WRITE and made.users["pop3"].uid not in _rights(slot)
    os.removexattr(slot, acl.ACCESS)
    made.prepare()
    assert acl.ACCESS not in os.listxattr(slot)
    os.removexattr(slot.parent, acl.DEFAULT)
    made.prepare()
    assert _rights(slot)[smtpout] == acl.READ | acl.WRITE


def _owners(paths: Paths) -> owners.Owners:
    settings = parse_settings({}, "(test)")
    reaches = {name: daemon_class(name).reach(settings, paths) for name in DAEMONS}
    return owners.Owners(settings, paths, reaches, owners.users_of(settings, iter(DAEMONS)))


def _rights(path: Path) -> dict[int, int]:
    """User -> rights, as the file's list says."""
    octets = os.getxattr(path, acl.ACCESS)
    entries = [acl.ENTRY.unpack_from(octets, offset) for offset in range(4, len(octets), acl.ENTRY.size)]
    mask = next(rights for kind, rights, _ in entries if kind == acl.MASK)
    return {whose: rights & mask for kind, rights, whose in entries if kind == acl.USER}


def test_users_are_accounts_or_numbers(monkeypatch):
    settings = parse_settings({"server": {"uid-base": 61000}}, "(test)")
    known = {"fancymail-queue": 777}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "", known[name], 778, "", "/", "")))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    assert owners.users_of(settings, iter(("auth", "queue", "mailbox"))) == {"auth": (61000, 61000), "queue": (777, 778), "mailbox": (61002, 61002)}


def test_a_number_that_is_somebodys_is_refused():
    settings = parse_settings({"server": {"uid-base": pwd.getpwnam("nobody").pw_uid}}, "(test)")
    with pytest.raises(LookupError, match="is nobody's"):
        owners.users_of(settings, iter(("auth",)))


@rooted
@pytest.mark.parametrize("tables, reason", [({"own-users": "off"}, "off in the settings"), ({"user": "nobody"}, "all become nobody")])
def test_why_not_is_told(state, tables, reason):
    assert own_users(parse_settings({"server": tables}, "(test)"), state, lent=True) == (None, reason)


@rooted
def test_a_folder_that_is_roots_alone_stands_in_the_way(tmp_path):
    """pytest's folders are: nothing is changed, and with `require` nothing starts."""
    paths = furnished(tmp_path / "state")
    found, reason = own_users(parse_settings({}, "(test)"), paths, lent=True)
    assert found is None and "Permission denied" in reason and acl.DEFAULT not in os.listxattr(paths.mail)
    with pytest.raises(standing.NoOwners, match="Permission denied"):
        own_users(parse_settings({"server": {"own-users": "require"}}, "(test)"), paths, lent=True)


@rooted
def test_so_does_the_nearest_one_alone(state):
    state.state.parent.chmod(0o700)
    found, reason = own_users(parse_settings({}, "(test)"), state, lent=True)
    assert found is None and "Permission denied" in reason
