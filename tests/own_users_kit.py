"""Running a suite whose daemons are users of their own, wherever this checkout and its Python are.

Both are often in root's home, which is closed to others. `opened()` is a command to put in front: it runs the rest in a mount namespace of its
own in which the folders on the way may be searched by all. Used by tests/live/test_own_users.py and tests/servers/containment/test_owners.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import msgspec
import pytest

import fancymail
from fancymail.servers.containment import acl

SCRIPT = """
while [ "$1" != -- ]; do                # lay an open folder over each closed one, with all that is in it
    closed=$1; shift
    aside=$(mktemp -d) && mount --rbind "$closed" "$aside" && mount -t tmpfs -o mode=755 tmpfs "$closed" || exit 1
    ls -A "$aside" | while IFS= read -r name; do
        if [ -d "$aside/$name" ]; then mkdir "$closed/$name"; elif [ -f "$aside/$name" ]; then : > "$closed/$name"; else continue; fi
        mount --rbind "$aside/$name" "$closed/$name"
    done
    umount -l "$aside" && rmdir "$aside"
done
shift
exec "$@"
"""


BECOME = "import os; os.setgroups([]); os.setresgid(60720, 60720, 60720); os.setresuid(60720, 60720, 60720)"


@cache
def missing() -> str:
    """Why daemons cannot be users of their own on this machine at all; empty when they can."""
    if os.geteuid():
        return "only root can become somebody else"
    if subprocess.run([sys.executable, "-c", BECOME], capture_output=True).returncode:
        return "this root cannot become user 60720"
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.setxattr(folder, acl.DEFAULT, acl.packed(7, {1: 7}, 0))
    except OSError as error:
        return f"no access lists in the temporary directory: {error}"
    return ""


@cache
def opened() -> list[str]:
    """The command in front; empty where all can be reached. Skips the test where that cannot be had."""
    if reason := missing():
        pytest.skip(reason)
    needed = [Path(os.path.realpath(module.__file__)) for module in (os, msgspec, fancymail)] + [Path(os.path.realpath(sys.executable))]
    closed = sorted({str(parent) for path in needed for parent in path.parents if not parent.stat().st_mode & 0o001})
    if not closed:
        return []
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh", *closed, "--"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip(f"{', '.join(closed)} is root's alone, and no namespace of mounts can be had")
    return command
