"""The first and the last steps of a forked child, and giving up root for good.

Used by the supervisor. Linux's prctl is called through the C library: a child that would outlive its parent gets SIGTERM,
and `ps`, `top` and `pgrep` show a daemon under its own name.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import signal
import sys
from collections.abc import Iterable

from fancymail.base.settings import Paths
from fancymail.servers.containment import privileges

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def become_child(name: str, parent: int, signals: Iterable[int], descriptors: Iterable[int]) -> None:
    """Cut what ties a child to its parent's ways, and tie its life to the parent's.

    An own process group keeps Ctrl-C at a terminal for the supervisor, which stops the daemons in order.
    """
    signal.set_wakeup_fd(-1)
    for number in signals:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)        # held back since before the fork
    os.setpgid(0, 0)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.pop("NOTIFY_SOCKET", None)      # the supervisor speaks for all
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    privileges.set_name(name)
    die_with(parent)


def die_with(parent: int) -> None:
    """Have SIGTERM sent to us when the parent is gone; it may be gone already."""
    _libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def leave(code: int) -> None:
    """End a child without running what its parent meant to run at its own end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    os._exit(code)


def identity(user: str, group: str) -> tuple[int, int]:
    """Return (uid, gid) of the configured names. Raises LookupError."""
    try:
        account = pwd.getpwnam(user)
        return account.pw_uid, grp.getgrnam(group).gr_gid if group else account.pw_gid
    except KeyError as error:
        raise LookupError(f"server.user or server.group: {error.args[0]}") from None


def give_state(paths: Paths, uid: int, gid: int) -> None:
    """Make the folders of the suite and give them, and the files that root makes there, to the account that it will run as."""
    paths.create()
    folders = [paths.state, paths.keys, paths.tls, paths.queues, paths.mail, paths.blobs, paths.log.parent, paths.run]
    for folder in folders:
        os.chown(folder, uid, gid)
    for file in [paths.config, paths.demo, paths.log, *paths.keys.iterdir(), *paths.tls.glob("*.pem"), *paths.run.glob("*.sock")]:
        if file.exists() and file.lstat().st_nlink == 1 and not file.is_symlink():      # whoever was here may have planted another's name
            os.chown(file, uid, gid, follow_symlinks=False)


def drop_root(user: str, uid: int, gid: int) -> None:
    """Become `uid` for good, with its groups. Raises OSError; afterwards root cannot be had back."""
    os.initgroups(user, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.environ["HOME"] = pwd.getpwuid(uid).pw_dir
