"""Whether the daemons of a suite can be users of their own here; `owners` says who they are, or why not.

Called by `fancymail up` and by bin/fm-NAME before anything is forked or begun. What could stand in the way is tried by a child that becomes
such a user: a checkout in a folder that is root's alone is no use to anybody else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

import fancymail
from fancymail.base.settings import Paths, Settings
from fancymail.servers.containment import acl, privileges
from fancymail.servers.containment.owners import Owners, User, users_of
from fancymail.servers.containment.reach import Reach, certificate_files

NEEDED = {"chown": 0, "dac_override": 1, "fowner": 3, "setgid": 6, "setuid": 7}        # capabilities(7)
CANNOT, LIMIT = 1, 4096


class NoOwners(OSError):
    """The daemons cannot have users of their own, and `own-users = "require"`."""


def owners(settings: Settings, paths: Paths, reaches: Mapping[str, Reach], lent: bool) -> tuple[Owners | None, str]:
    """Return the daemons' users, ready to be become, or None and why not. lent: the supervisor reads files for them. Raises NoOwners, LookupError."""
    if settings.server.own_users == "off":
        return None, "off in the settings"
    users = {} if os.geteuid() else users_of(settings, iter(reaches))
    reason = obstacle(settings, paths, users, lent)
    if reason and settings.server.own_users == "require":
        raise NoOwners(f"own-users: {reason}")
    if reason:
        return None, reason
    found = Owners(settings, paths, reaches, users)
    found.prepare()
    return found, ""


def obstacle(settings: Settings, paths: Paths, users: Mapping[str, User], lent: bool) -> str:
    """Why it cannot be; empty when it can."""
    if os.geteuid():
        return "not started as root"
    if settings.server.user:
        return f"all become {settings.server.user}"
    if missing := [name for name, bit in NEEDED.items() if not _capabilities() >> bit & 1]:
        return f"root without {', '.join(missing)}"
    if not _keeps_lists(paths.state):
        return f"no access lists on the filesystem of {paths.state}"
    needed = _programs(paths, [] if lent else certificate_files(settings, paths))
    return next((reason for user in users.values() if (reason := _tried(user, needed))), "")


def _capabilities() -> int:
    with open("/proc/self/status") as status:
        return next((int(line.split()[1], 16) for line in status if line.startswith("CapEff")), 0)


def _keeps_lists(folder: Path) -> bool:
    try:
        with tempfile.TemporaryDirectory(dir=folder) as trial:
            os.setxattr(trial, acl.DEFAULT, acl.packed(7, {1: 7}, 0))
            return True
    except OSError:
        return False


def _programs(paths: Paths, certificates: list[Path]) -> list[Path]:
    """What every daemon opens, or has to pass through, whoever it is."""
    code = [Path(module.__file__) for module in (os, fancymail, msgspec, zmq) if module.__file__]
    outside = [Path(os.path.realpath(place)) for place in (paths.state, paths.run, paths.queues, paths.mail, paths.keys, paths.log.parent)]
    others = [file for file in certificates if file.exists() and not file.is_relative_to(paths.state)]
    return [*code, *others, *(place.parent for place in outside if place == paths.state or not place.is_relative_to(paths.state))]


def _tried(user: User, needed: list[Path]) -> str:
    """Become the user in a child and look at everything; return what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os._exit(_look(user, needed, writing))
    os.close(writing)
    with open(reading, "rb") as said:
        reason = said.read(LIMIT)
    return reason.decode(errors="replace") if os.waitpid(child, 0)[1] else ""


def _look(user: User, needed: list[Path], writing: int) -> int:
    with suppress(OSError):
        try:
            privileges.become(user.uid, user.gid)
            for path in needed:
                if path.is_dir():
                    os.stat(f"{path}/.")                # whether it may be searched: pathlib would leave the dot out
                else:
                    os.close(os.open(path, os.O_RDONLY))
            return 0
        except OSError as error:
            os.write(writing, f"user {user.uid}: {error}".encode())
    return CANNOT
