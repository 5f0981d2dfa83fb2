"""Give up for good what a daemon has no use for: root's capabilities and what set-uid programs would give (capabilities(7), prctl(2)).

Used by owners.py, cell.py, landlock.py, seccomp.py. A daemon that stays root keeps no more than the right to open its own files, whoever owns them.
"""

from __future__ import annotations

import ctypes
import os

CAP_DAC_OVERRIDE, CAP_FOWNER = 1, 3
KEPT = 1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER
VERSION = 0x20080522                            # _LINUX_CAPABILITY_VERSION_3
PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2
PR_SET_NAME, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 15, 38, 47, 4

_libc = ctypes.CDLL(None, use_errno=True)


def drop_capabilities() -> None:
    """Keep of root's capabilities what opens files. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()              # effective, permitted, inheritable, and the same for the upper 32
    if _libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), f"capabilities: {os.strerror(ctypes.get_errno())}")
    kept = (ctypes.c_uint32 * 6)(sets[0] & KEPT, sets[1] & KEPT)
    _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if _libc.capset(header, kept):
        raise OSError(ctypes.get_errno(), f"capabilities: {os.strerror(ctypes.get_errno())}")


def become(uid: int, gid: int) -> None:
    """Be another user for good, in no group but its own. Raises OSError; afterwards root cannot be had back."""
    parent, number = os.getppid(), ctypes.c_int()
    _libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(number.value), 0, 0, 0)       # who becomes another is told no more that its parent died
    if number.value and os.getppid() != parent:
        os._exit(0)


def no_new_privileges() -> None:
    """Give up what set-uid programs would give. Raises OSError."""
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")


def set_name(name: str) -> None:
    """Name this process; the kernel keeps 15 octets."""
    _libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)
